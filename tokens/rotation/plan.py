"""What a rotation will do, frozen before anybody is asked: which tokens, the successors' date, the old ones' end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tokens import database
from tokens.address import Address
from tokens.counts import counted, first_few
from tokens.database import Connection
from tokens.errors import Refused, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.expiration import FURTHEST, ExpirationDate
from tokens.gitlab.kind import PROJECT_BOT, State
from tokens.gitlab.membership import MembershipRule, ends_before, rule_of
from tokens.gitlab.needs import ROTATE
from tokens.gitlab.release import read_release
from tokens.gitlab.schema import TOKENS, Schema
from tokens.gitlab.settings import DEFAULT_LIFETIME, Policy, read_policy, read_rules
from tokens.gitlab.succession import PREDECESSOR, why_unknown
from tokens.rotation import handover
from tokens.rotation.candidate import Candidate
from tokens.rotation.columns import check_known
from tokens.rotation.new_owner import NewOwner, OwnerAccount
from tokens.rotation.new_owner import find as find_new_owner
from tokens.rotation.obstacles import (
    Standing,
    check_instance,
    obstacle,
    read_standings,
)

MEMBERSHIPS = f"""
    SELECT count(DISTINCT m.id) AS members
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    JOIN public.members m ON m.user_id = u.id
    WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
      AND {ends_before("CAST(%(end)s AS date)")}
"""  # noqa: S608 - a constant

# GitLab deletes a bot at the end of its membership, while a service account only loses what that gave it.
OF_SERVICE_ACCOUNTS = """
    SELECT count(DISTINCT m.id) AS members
    FROM public.users u
    JOIN public.members m ON m.user_id = u.id
    WHERE u.id = ANY(CAST(%(owners)s AS bigint[]))
      AND u.user_type = 13
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(CAST(%(end)s AS date), CAST('infinity' AS date))
"""

WITHOUT_MEMBERSHIP = """
    SELECT t.id
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
      AND u.user_type = 6
      AND NOT EXISTS (SELECT FROM public.members m WHERE m.user_id = u.id AND m.requested_at IS NULL)
    ORDER BY t.id
"""

LIFETIME = 365  # days that a new token lives, unless it is said otherwise
LONG = 30  # days; what has been dead for longer nobody may miss any more
LONG_EXPIRED = "long-expired"
"""The guard of tokens that expired more than LONG days ago: a successor brings back what nobody has missed since."""

MOST_NAMED = 5


@dataclass(frozen=True)
class Rotation:
    """One token, the date that its successor gets, until when the old one may live on, and whose the successor is.

    Dates are in UTC. `expires_at` None is "never"; without `grace_until` the old token is revoked, with it it keeps its
    own date where that is earlier. `new_owner` is None where the owner stays.
    """

    candidate: Candidate
    expires_at: ExpirationDate | None
    grace_until: ExpirationDate | None
    new_owner: NewOwner | None = None

    @property
    def account(self) -> str:
        """The username of the account that the successor belongs to."""
        return self.candidate.account if self.new_owner is None else self.new_owner.username


@dataclass(frozen=True)
class RotationPlan:
    """The rotations of one run, what a person should know before saying yes, and how bots' memberships are moved.

    `rule` is None where no token is a bot's. `guards` are the words that `--allow` must have for it.
    """

    rotations: tuple[Rotation, ...]
    notes: tuple[str, ...]
    rule: MembershipRule | None
    guards: tuple[str, ...] = ()


def plan(
    address: Address,
    candidates: Sequence[Candidate],
    *,
    expires_in: int,
    grace: int | None,
    release: str | None,
    allow_personal: bool,
    new_owner: str | None = None,
) -> RotationPlan:
    """Plan a successor for each of these tokens, in their order. Changes nothing.

    `expires_in` and `grace` are in days from today (UTC); the instance's maximum lifetime limits the first. `release`
    is GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells. With `new_owner`, a username,
    the tokens are people's, and their successors belong to that service account.

    Raises:
        DatabaseError, Refused: see `tokens.errors`; also where a token cannot or should not be rotated.
        UsageError: a number of days that makes no sense.
    """
    if expires_in < 1:
        raise UsageError("A new token lives for one day at least: use --expires-in with 1 or more days.")
    if grace is not None and grace < 1:
        raise UsageError(
            "A grace of less than a day would leave the old token none: use --grace with 1 or more, or leave it out."
        )
    chosen = {candidate.id: candidate for candidate in candidates}
    with database.reading(address) as connection:
        schema = preflight.check(connection, ROTATE)
        account = None if new_owner is None else find_new_owner(connection, schema, new_owner)
        standings = read_standings(connection, schema, list(chosen))
        reasons = _obstacles(connection, schema, list(chosen), standings, account, allow_personal=allow_personal)
        if reasons:
            raise Refused(_refusal(reasons))
        check_known(connection, list(chosen))
        if any(candidate.granular for candidate in chosen.values()):
            preflight.check_granular_scopes(connection)
        policy = read_policy(connection, schema)
        asked = _day(policy, expires_in, "--expires-in")
        expires_at = asked if policy.last_date is None else min(asked, policy.last_date)
        grace_until = None if grace is None else _day(policy, grace, "--grace")
        has_bots = any(candidate.user_type == PROJECT_BOT for candidate in chosen.values())
        rule = rule_of(release or read_release(connection, schema)) if has_bots else None
        owner = None if account is None else account.new_owner
        rotations = tuple(Rotation(candidate, expires_at, grace_until, owner) for candidate in chosen.values())
        handed_over: tuple[str, ...] = ()
        guards = [LONG_EXPIRED] if any(map(_is_long_expired, chosen.values())) else []
        if account is not None:
            handed_over, against = handover.notes(connection, account, tuple(standings.values()), grace=bool(grace))
            guards += against
        notes = (
            *_notes(policy, rotations, asked),
            *_notes_on_successors(standings.values()),
            *handed_over,
            *_notes_on_memberships(connection, rotations, rule, expires_at),
            *_notes_on_the_record(connection, schema),
        )
    return RotationPlan(rotations, notes, rule, tuple(guards))


def obstacles(
    address: Address, candidates: Sequence[Candidate], *, allow_personal: bool, new_owner: str | None = None
) -> dict[int, str]:
    """Why tokens cannot or should not be rotated, one line each by their ids, for a caller that leaves those out.

    Raises:
        DatabaseError, Refused: see `tokens.errors`; also where no token on the instance can be rotated.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, ROTATE)
        account = None if new_owner is None else find_new_owner(connection, schema, new_owner)
        ids = [one.id for one in candidates]
        standings = read_standings(connection, schema, ids)
        return _obstacles(connection, schema, ids, standings, account, allow_personal=allow_personal)


def _obstacles(
    connection: Connection,
    schema: Schema,
    ids: Sequence[int],
    standings: Mapping[int, Standing],
    account: OwnerAccount | None,
    *,
    allow_personal: bool,
) -> dict[int, str]:
    rules = read_rules(connection, schema)
    check_instance(rules)
    reasons = {}
    for id_ in ids:
        if id_ not in standings:
            reasons[id_] = f"Token {id_} is gone: look for the tokens again."
        elif reason := obstacle(standings[id_], rules, allow_personal=allow_personal, new_owner=account):
            reasons[id_] = reason
    return reasons


def _refusal(reasons: dict[int, str]) -> str:
    first, *others = reasons.values()
    return f"{first} Reasons stand against {len(others):,} more of the tokens." if others else first


def _day(policy: Policy, days: int, option: str) -> ExpirationDate:
    day = policy.today + days
    if day > FURTHEST:
        raise UsageError(f"{option}: {days} days from today is later than {FURTHEST}; choose fewer days.")
    return day


def _is_long_expired(candidate: Candidate) -> bool:
    return candidate.state is State.EXPIRED and (candidate.days is None or candidate.days < -LONG)


def _notes(policy: Policy, rotations: Sequence[Rotation], asked: ExpirationDate) -> Iterator[str]:
    def beside(day: ExpirationDate) -> str:
        return day.beside(policy.today)

    limit = policy.last_date
    if limit is not None and asked > limit:
        yield (
            f"This instance allows {policy.maximum_lifetime} days at most: new tokens expire on {beside(limit)}, "
            f"not {asked}."
        )
    elif limit is None and asked > policy.today + DEFAULT_LIFETIME:
        yield (
            f"GitLab itself would give a new token {DEFAULT_LIFETIME} days at most (400 behind a feature flag); these "
            f"expire on {beside(asked)}."
        )
    if policy.maintenance:
        yield "GitLab is in maintenance mode, but from here changes go through; a failover may be under way."
    expired = [one for one in rotations if one.candidate.state is State.EXPIRED]
    days = [one.candidate.expires_at for one in expired if one.candidate.expires_at is not None]
    if len(rotations) > 1 and days:
        first = beside(min(days))
        of = counted(len(expired), "of the tokens has", "of the tokens have")
        yield f"{of} expired, the first on {first}: their successors work again."
    long = [one.candidate.expires_at for one in expired if _is_long_expired(one.candidate) and one.candidate.expires_at]
    if long:
        yield (
            f"{counted(len(long), 'token')} expired more than {LONG} days ago, the first on {beside(min(long))}. If "
            "nobody has missed a token since, it is better left dead."
        )
    if expired and expired[0].grace_until is not None:
        of = counted(len(expired), "of the old tokens has", "of the old tokens have")
        yield f"{of} expired already: a grace does not bring them back."


def _notes_on_successors(standings: Iterable[Standing]) -> Iterator[str]:
    for one in standings:
        if one.idle_successor is not None:
            yield (
                f"{one} has a successor already, token {one.idle_successor}, whose owner is not active: it works again "
                "once that owner is. Revoke it, unless somebody needs it."
            )


def _notes_on_memberships(
    connection: Connection,
    rotations: Sequence[Rotation],
    rule: MembershipRule | None,
    expires_at: ExpirationDate | None,
) -> Iterator[str]:
    ids = [one.candidate.id for one in rotations]
    if rule is not None:
        end = expires_at if rule is MembershipRule.UNTIL_TOKEN else None
        moved = connection.row(MEMBERSHIPS, ids=list(ids), end=end and end.literal).members
        become = "will have no end" if rule is MembershipRule.FOREVER else "will end with the new token"
        if moved:
            yield (
                f"{counted(moved, 'membership of a bot', 'memberships of bots')} would end before the new token and "
                f"{become}, as in GitLab's own rotation."
            )
        homeless = [row.id for row in connection.rows(WITHOUT_MEMBERSHIP, ids=list(ids))]
        if homeless:
            yield (
                f"{counted(len(homeless), 'token is of a bot', 'tokens are of bots')} without any membership: GitLab "
                f"will accept the new token, which reaches nothing (id {first_few(homeless, MOST_NAMED)})."
            )
    owners = {one.new_owner.id if one.new_owner else one.candidate.user_id for one in rotations}
    kept = connection.row(OF_SERVICE_ACCOUNTS, owners=sorted(owners), end=expires_at and expires_at.literal).members
    if kept:
        yield (
            f"{counted(kept, 'membership of a service account ends', 'memberships of service accounts end')} before "
            "the new token, and that is left as it is: the token then reaches nothing there any more (GitLab's own "
            "rotation takes that end off in some releases from 17.9 on)."
        )


def _notes_on_the_record(connection: Connection, schema: Schema) -> Iterator[str]:
    gaps = (preflight.hidden_rows(connection, ROTATE), why_unknown(connection, schema))
    yield from filter(None, gaps)
    if not schema.has(TOKENS, PREDECESSOR):
        yield (
            "This GitLab does not record which token replaced which (16.3 and later do): only the journal knows, and "
            "GitLab will not revoke the new token where somebody tries to rotate with the old one."
        )
