"""What stands against giving a token a successor: decided purely, from what is read of the tokens and the instance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokens.call import to_type
from tokens.database import Connection
from tokens.errors import Refused
from tokens.gitlab.kind import HUMAN, PROJECT_BOT, SERVICE_ACCOUNT, works
from tokens.gitlab.schema import Schema
from tokens.gitlab.scope_list import scopes_of
from tokens.gitlab.scopes import OF_ADMINISTRATORS
from tokens.gitlab.settings import Rules
from tokens.gitlab.succession import LINE_WORKS, read_succession
from tokens.rotation.candidate import NO_NUMBER, newer_columns
from tokens.rotation.new_owner import ACTIVE, OwnerAccount

STANDINGS = """
    SELECT
      t.id, t.name, COALESCE(t.revoked, false) AS revoked, t.user_id, t.impersonation, {granular} AS granular,
      {sudo} AS sudo, t.scopes, {organization} AS organization_id, COALESCE(u.admin, false) AS admin,
      u.username, COALESCE(u.user_type, 0) AS user_type, u.state, u.id IS NOT NULL AS owned,
      {live_successor} AS live_successor, {idle_successor} AS idle_successor,
      {unfinished_run} AS unfinished_run, {made_by} AS made_by
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
"""

SUCCESSOR = """({line}
        SELECT max(line.id)
        FROM line
        WHERE {condition}
      )"""

OF_AN_INACTIVE_OWNER = f"{works('line')} AND ({LINE_WORKS}) IS NOT TRUE"


@dataclass(frozen=True)
class Standing:
    """One token and its owner, as far as they bear on a rotation.

    `state` is the owner's. `live_successor` is the one that works of the tokens that came of this one, `idle_successor`
    one of another owner, who is not active: it works again once that owner is. `unfinished_run` has made a successor
    that works, and `made_by` this token as one; neither run has come to its end.
    """

    id: int
    name: str
    revoked: bool
    user_id: int
    impersonation: bool
    granular: bool
    sudo: bool
    scopes: str
    organization_id: int | None
    admin: bool
    username: str | None
    user_type: int
    state: str | None
    owned: bool
    live_successor: int | None
    idle_successor: int | None
    unfinished_run: int | None
    made_by: int | None

    def __str__(self) -> str:
        return f"Token {self.id} of {self.username}" if self.username else f"Token {self.id}"


def read_standings(connection: Connection, schema: Schema, ids: Sequence[int]) -> dict[int, Standing]:
    """How the tokens with these ids stand now; one that is gone is not among them."""
    succession = read_succession(connection, schema)

    def successor(condition: str) -> str:
        return SUCCESSOR.format(line=succession.whole, condition=condition) if succession else NO_NUMBER

    statement = STANDINGS.format(
        **newer_columns(schema),
        live_successor=successor(LINE_WORKS),
        idle_successor=successor(OF_AN_INACTIVE_OWNER),
        unfinished_run=succession.unfinished_run if succession else NO_NUMBER,
        made_by=succession.made_by if succession else NO_NUMBER,
    )
    return {row.id: Standing(**row._asdict()) for row in connection.rows(statement, ids=list(ids))}


def obstacle(
    standing: Standing, rules: Rules, *, allow_personal: bool, new_owner: OwnerAccount | None = None
) -> str | None:
    """The first reason against a rotation as one line with what to do, None where there is none.

    With a `new_owner` it is about a person's token whose successor is that account's: who owned it need not work.
    """
    return next(_obstacles(standing, rules, new_owner, allow_personal=allow_personal), None)


def check_instance(rules: Rules) -> None:
    """Refuse an instance on which no token would work."""
    if rules.disabled:
        raise Refused(
            "Personal access tokens are disabled on this instance (disable_personal_access_tokens), so that a new "
            "token would not work: enable them first."
        )


def _obstacles(
    standing: Standing, rules: Rules, new_owner: OwnerAccount | None, *, allow_personal: bool
) -> Iterator[str]:
    if standing.revoked:
        yield f"{standing} is revoked: a revoked token gets no successor; create a new one in GitLab, or leave it out."
    if not standing.owned:
        yield f"{standing} has no owner in this database, so that no successor could work: leave it out."
    elif standing.user_type not in (HUMAN, PROJECT_BOT, SERVICE_ACCOUNT):
        yield f"{standing} belongs to one of GitLab's own accounts, whose tokens GitLab looks after: leave it out."
    if new_owner is not None:
        yield from _against_another_owner(standing, new_owner)
    else:
        yield from _against_the_owner(standing, rules, allow_personal=allow_personal)
    if standing.made_by is not None:
        run = standing.made_by
        yield f"{standing} is a successor of run {run}, which has not come to its end.{_to_resume(run)}"
    elif standing.unfinished_run is not None:
        run = standing.unfinished_run
        yield f"{standing} has a successor of run {run}, which has not come to its end.{_to_resume(run)}"
    elif standing.live_successor is not None:
        yield (
            f"{standing} was rotated already, and its successor {standing.live_successor} works: rotate that one, or "
            "revoke it first."
        )


def _to_resume(run: int) -> str:
    return to_type("to go on if that run has stopped, with its options", "rotate", "--resume", run)


def _against_the_owner(standing: Standing, rules: Rules, *, allow_personal: bool) -> Iterator[str]:
    is_human = standing.user_type == HUMAN
    if is_human and not allow_personal:
        yield f"{standing} is a person's: who gets its successor acts as that person; use --kind personal to allow it."
    if standing.state != ACTIVE:
        yield (
            f"{standing} does not work and neither would its successor, because the account is "
            f"{standing.state or 'without a state'}: activate the account first, or leave the token out."
        )
    # GitLab before 19.5 does not rotate those of bots and service accounts either, but it lets such a successor work.
    if rules.granular_only and is_human and not standing.granular:
        yield (
            f"{standing} is not fine-grained, and this instance allows people no other new tokens "
            "(enforce_granular_tokens): create a fine-grained one in GitLab."
        )
    if standing.sudo and not standing.admin:
        yield (
            f"{standing} may use sudo, which GitLab allows administrators alone, and its owner is none: GitLab itself "
            "would not rotate it; make the account an administrator, or create a token without sudo in GitLab."
        )


def _against_another_owner(standing: Standing, account: OwnerAccount) -> Iterator[str]:
    if standing.user_type != HUMAN:
        yield (
            f"{standing} is no person's, and --new-owner takes people's tokens alone: rotate it without that "
            "option, or leave it out."
        )
    if standing.impersonation:
        yield (
            f"{standing} is an impersonation token, with which an administrator acts as that person: leave it out, and "
            "revoke it in GitLab."
        )
    if standing.granular:
        yield (
            f"{standing} is fine-grained, and what it may do is worded for its owner: create one for "
            f"{account.username} in GitLab."
        )
    scopes = OF_ADMINISTRATORS & {*scopes_of(standing.scopes), *(["sudo"] if standing.sudo else [])}
    if scopes and not account.admin:
        yield (
            f"{standing} has {', '.join(sorted(scopes))}, which GitLab gives administrators alone, and "
            f"{account.username} is none: create a token without that in GitLab, or leave it out."
        )
    if None not in (standing.organization_id, account.organization_id) and (
        standing.organization_id != account.organization_id
    ):
        yield (
            f"{standing} is of organization {standing.organization_id}, and {account.username} of "
            f"{account.organization_id}: choose a service account of the same one."
        )
