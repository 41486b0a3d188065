"""What if: a decision of an administrator, read against this instance before anything of it is simulated."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from tokens.counts import counted
from tokens.database import Connection, array_literal
from tokens.errors import UsageError
from tokens.gitlab.inactive_bots import CleanUp
from tokens.gitlab.kind import PROJECT_BOT
from tokens.gitlab.schema import SETTINGS, TOKENS, Schema
from tokens.gitlab.settings import DEFAULT_LIFETIME, Policy
from tokens.selection import EVERYTHING, Selection
from tokens.selection.unmatched import check_names

SIMULATED_TODAY = "CAST(%(simulated_today)s AS date)"
"""The day before the first night, as SQL."""

USERS = """
    SELECT u.id, u.username, u.state, u.user_type
    FROM public.users u
    WHERE lower(u.username) IN (SELECT lower(name) FROM unnest(CAST(%(names)s AS text[])) AS named (name))
    ORDER BY u.id
"""

# GitLab takes the memberships below a group away, too.
MEMBERSHIPS = """
    SELECT m.id
    FROM public.members m
    JOIN ({places}) place ON place.source_type = m.source_type AND place.id = m.source_id
    WHERE m.user_id = CAST(%(user_id)s AS bigint) AND m.requested_at IS NULL
    ORDER BY m.id
"""

# By a membership of a group above, which stays.
INHERITED = """
    SELECT above.path
    FROM public.routes r
    JOIN public.routes above ON above.source_type = 'Namespace' AND starts_with(r.path, above.path || '/')
    JOIN public.members m ON m.source_type = 'Namespace' AND m.source_id = above.source_id
    WHERE lower(r.path) = lower(%(path)s) AND m.user_id = CAST(%(user_id)s AS bigint) AND m.requested_at IS NULL
    ORDER BY length(above.path)
    LIMIT 1
"""


@dataclass(frozen=True)
class Scenario:
    """How far to look, and what an administrator decides today.

    Attributes:
        nights: how many nights from today on (UTC).
        max_lifetime: a new maximum lifetime, in days.
        requires_expiry: whether new tokens must have a date.
        clean_up_days: after how many days inactive bots are deleted.
        keeps_bots: whether they are never deleted.
        disable: whether access tokens are disabled.
        granular_after: from which day on only fine-grained tokens can be made.
        block_users: usernames of those who are blocked.
        remove_member: the username of a member who is removed from `project` or `group`.
    """

    nights: int
    max_lifetime: int | None = None
    requires_expiry: bool | None = None
    clean_up_days: int | None = None
    keeps_bots: bool = False
    disable: bool = False
    granular_after: date | None = None
    block_users: tuple[str, ...] = ()
    remove_member: str | None = None
    project: str | None = None
    group: str | None = None

    @property
    def is_change(self) -> bool:
        """Whether anything is decided at all."""
        return bool(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The decisions by the names of their options, for JSON."""
        named: dict[str, Any] = {
            "max_lifetime": self.max_lifetime,
            "require_expiry": self.requires_expiry,
            "clean_up_days": "never" if self.keeps_bots else self.clean_up_days,
            "disable": self.disable or None,
            "granular_after": self.granular_after and str(self.granular_after),
            "block_user": list(self.block_users) or None,
            "remove_member": self.remove_member,
            "project": self.project,
            "group": self.group,
        }
        return {name: value for name, value in named.items() if value is not None}

    def __str__(self) -> str:
        """The decisions as the end of a sentence that begins with "if"."""
        return ", and ".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.max_lifetime is not None:
            yield f"the maximum lifetime is set to {counted(self.max_lifetime, 'day')}"
        if self.requires_expiry is not None:
            yield f"new tokens {'must' if self.requires_expiry else 'need not'} have a date"
        if self.keeps_bots:
            yield "inactive bots are never deleted"
        elif self.clean_up_days is not None:
            yield f"inactive bots are deleted after {counted(self.clean_up_days, 'day')}"
        if self.disable:
            yield "access tokens are disabled"
        if self.granular_after is not None:
            yield f"only fine-grained tokens can be made from {self.granular_after} on"
        if self.block_users:
            yield f"{', '.join(self.block_users)} {'is' if len(self.block_users) == 1 else 'are'} blocked"
        if self.remove_member is not None:
            yield f"{self.remove_member} is removed from {self.project or self.group}"


@dataclass(frozen=True)
class Resolved:
    """A scenario in ids. `notes` are sentences about what it does and does not do here.

    `removed_user` is who loses access with `removed_members`; None where another membership keeps it. `maximum` is the
    new maximum lifetime, None where it does not change: GitLab revokes nothing then.
    """

    scenario: Scenario
    blocked: tuple[int, ...] = ()
    removed_user: int | None = None
    removed_members: tuple[int, ...] = ()
    maximum: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> Mapping[str, object]:
        """The values that a statement about it may ask for."""
        return {
            "simulated_blocked": array_literal(self.blocked),
            "simulated_removed_user": self.removed_user,
            "simulated_removed_members": array_literal(self.removed_members),
            "simulated_maximum": self.maximum,
            "simulated_granular_after": self.scenario.granular_after and str(self.scenario.granular_after),
        }

    @property
    def blocked_sql(self) -> str:
        return "SELECT unnest(CAST(%(simulated_blocked)s AS bigint[]))" if self.blocked else "NULL"

    @property
    def removed_sql(self) -> str:
        return "NULL" if self.removed_user is None else "CAST(%(simulated_removed_user)s AS bigint)"

    def is_removed(self, member: str) -> str:
        """SQL: whether the membership with this id is one of those that are taken away."""
        if not self.removed_members:
            return "false"
        return f"({member} IN (SELECT unnest(CAST(%(simulated_removed_members)s AS bigint[]))))"

    @property
    def beyond_sql(self) -> str:
        if self.maximum is None:
            return "false"
        return f"(t.expires_at IS NULL OR t.expires_at > {SIMULATED_TODAY} + CAST(%(simulated_maximum)s AS integer))"


def resolve(
    connection: Connection, schema: Schema, scenario: Scenario, policy: Policy, clean_up: CleanUp | None
) -> Resolved:
    """The scenario on this instance.

    Raises:
        UsageError: this release has no such setting, there is no such user, place or membership, or GitLab
            removes nobody like that.
    """
    _check_settings(schema, scenario, clean_up)
    notes = list(_notes(scenario, policy))
    maximum = None if scenario.max_lifetime == policy.maximum_lifetime else scenario.max_lifetime
    blocked = []
    if scenario.block_users:
        check_names(connection, schema, _selection(users=scenario.block_users))
        for row in connection.rows(USERS, names=list(scenario.block_users)):
            if row.state == "active":
                blocked.append(row.id)
            else:
                notes.append(f"{row.username} is {row.state or 'in no state'} already: these tokens do not work today.")
    if scenario.remove_member is None:
        return Resolved(scenario, tuple(blocked), maximum=maximum, notes=tuple(notes))
    path = scenario.project or scenario.group or ""
    place = _selection(
        projects=(scenario.project,) if scenario.project else (), groups=(scenario.group,) if scenario.group else ()
    )
    check_names(connection, schema, _selection(users=(scenario.remove_member,)))
    check_names(connection, schema, place)
    user = connection.row(USERS, names=[scenario.remove_member])
    if user.user_type == PROJECT_BOT:
        raise UsageError(
            f"{user.username} is a bot of a project or group, and GitLab removes no bot from there: its tokens can be "
            "revoked."
        )
    places = place.places(schema)
    members = connection.rows(MEMBERSHIPS.format(places=places.sql), user_id=user.id, **places.parameters)
    if not members:
        raise UsageError(
            f"{user.username} is no direct member of {path}, nor of what lies below: there is nothing to remove. Name "
            "the group above that has the membership."
        )
    inherited = connection.row(INHERITED, path=path, user_id=user.id)
    if inherited is not None:
        notes.append(f"{user.username} stays a member by {inherited.path}, with the role there: no token loses access.")
    else:
        notes.append(f"What {user.username} reaches in {path} by an invited group is not looked at.")
    loses = user.id if inherited is None else None
    return Resolved(scenario, tuple(blocked), loses, tuple(row.id for row in members), maximum, tuple(notes))


def _selection(
    *, users: tuple[str, ...] = (), groups: tuple[str, ...] = (), projects: tuple[str, ...] = ()
) -> Selection:
    return Selection((), EVERYTHING.kinds, EVERYTHING.states, users=users, groups=groups, projects=projects)


def _check_settings(schema: Schema, scenario: Scenario, clean_up: CleanUp | None) -> None:
    """Refuse what this release cannot set."""
    needed = {
        "--max-lifetime": (scenario.max_lifetime is not None, "max_personal_access_token_lifetime", ""),
        "--require-expiry and --no-require-expiry": (
            scenario.requires_expiry is not None,
            "require_personal_access_token_expiry",
            "GitLab 17.2 and later have it",
        ),
        "--disable": (scenario.disable, "disable_personal_access_tokens", ""),
        "--granular-after": (
            scenario.granular_after is not None,
            "personal_access_token_settings",
            "GitLab 18.11 and later have it",
        ),
        "--clean-up-days": (
            scenario.keeps_bots or scenario.clean_up_days is not None,
            "resource_access_tokens_settings",
            "GitLab 18.3 and later have it; from 17.7 on it is 30 days"
            if clean_up is not None
            else "GitLab 18.3 and later have it; this one deletes no inactive bots",
        ),
    }
    for option, (is_given, column, since) in needed.items():
        if is_given and not schema.has(SETTINGS, "id", column):
            raise UsageError(
                f"{option}: this GitLab has no such setting{f' ({since})' if since else ''}: leave it out."
            )
    if scenario.granular_after is not None and not schema.has(TOKENS, "granular"):
        raise UsageError("--granular-after: this GitLab has no fine-grained tokens: leave it out.")


def _notes(scenario: Scenario, policy: Policy) -> Iterator[str]:
    if scenario.max_lifetime is not None and scenario.max_lifetime == policy.maximum_lifetime:
        yield (
            f"The maximum lifetime is {counted(scenario.max_lifetime, 'day')} already: GitLab revokes what is beyond "
            "it only when it changes."
        )
    elif scenario.max_lifetime is not None:
        yield (
            "GitLab revokes tokens beyond the maximum three hours after it is set (GitLab Ultimate alone): without a "
            f"date, or later than {policy.today + scenario.max_lifetime}. It counts as today. A revoked token has no "
            "way back."
        )
    if scenario.requires_expiry is not None:
        yield (
            "Whether new tokens must have a date ends no token that there is. "
            + (
                f"GitLab gives a new one {policy.lifetime} days at most."
                if scenario.requires_expiry
                else f"The limit of {DEFAULT_LIFETIME} days for new tokens goes, too."
            )
        )
    if scenario.granular_after is not None:
        yield (
            "Tokens that are not fine-grained work on, but GitLab replaces them by fine-grained ones alone. Before "
            "GitLab 19.5 that goes for bots and service accounts, too."
        )
    if scenario.disable:
        yield "Feed tokens do not work either while access tokens are disabled. To enable them again brings all back."
