"""What a rotation will do, frozen before anybody is asked: which tokens, the successors' date, the old ones' end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokens import database
from tokens.address import Address
from tokens.database import Connection
from tokens.errors import Refused, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import PROJECT_BOT, State
from tokens.gitlab.membership import MembershipRule, ends_before, rule_of
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import DEFAULT_LIFETIME, Policy, read_policy
from tokens.plan import read_release
from tokens.rotation.candidate import Candidate
from tokens.rotation.columns import check_known
from tokens.rotation.obstacles import (
    check_instance,
    obstacle,
    read_rules,
    read_standings,
)

FURTHEST = ExpirationDate.typed("9999-12-31")  # what GitLab's own forms and API can show

MEMBERSHIPS = f"""
    SELECT count(DISTINCT m.id) AS members
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    JOIN public.members m ON m.user_id = u.id
    WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
      AND {ends_before("CAST(%(end)s AS date)")}
"""  # noqa: S608 - a constant


@dataclass(frozen=True)
class Rotation:
    """One token, the date that its successor gets, and until when the old one may live on.

    Dates are in UTC. `expires_at` None is "never"; without `grace_until` the old token is revoked, with it it keeps its
    own date where that is earlier.
    """

    candidate: Candidate
    expires_at: ExpirationDate | None
    grace_until: ExpirationDate | None


@dataclass(frozen=True)
class RotationPlan:
    """The rotations of one run, what a person should know before saying yes, and how bots' memberships are moved.

    `rule` is None where no token is a bot's.
    """

    rotations: tuple[Rotation, ...]
    notes: tuple[str, ...]
    rule: MembershipRule | None


def plan(
    address: Address,
    candidates: Sequence[Candidate],
    *,
    expires_in: int,
    grace: int | None,
    release: str | None,
    allow_personal: bool,
) -> RotationPlan:
    """Plan a successor for each of these tokens, in their order. Changes nothing.

    `expires_in` and `grace` are in days from today (UTC); the instance's maximum lifetime limits the first. `release`
    is GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells.

    Raises:
        DatabaseError, Refused: see `tokens.errors`; also where a token cannot or should not be rotated.
        UsageError: a number of days that makes no sense.
    """
    if expires_in < 1:
        raise UsageError("A new token lives for one day at least: say --expires-in with 1 or more days.")
    if grace is not None and grace < 1:
        raise UsageError(
            "A grace of less than a day would leave the old token none: say --grace with 1 or more, or leave it out."
        )
    chosen = {candidate.id: candidate for candidate in candidates}
    with database.reading(address) as connection:
        schema = preflight.check(connection, preflight.ROTATE)
        reasons = _obstacles(connection, schema, list(chosen), allow_personal=allow_personal)
        if reasons:
            raise Refused(_refusal(reasons))
        check_known(connection, list(chosen))
        policy = read_policy(connection, schema)
        asked = _day(policy, expires_in, "--expires-in")
        expires_at = asked if policy.last_date is None else min(asked, policy.last_date)
        grace_until = None if grace is None else _day(policy, grace, "--grace")
        has_bots = any(candidate.user_type == PROJECT_BOT for candidate in chosen.values())
        rule = rule_of(release or read_release(connection, schema)) if has_bots else None
        moved = _count_memberships(connection, list(chosen), rule, expires_at)
    rotations = tuple(Rotation(candidate, expires_at, grace_until) for candidate in chosen.values())
    return RotationPlan(rotations, tuple(_notes(policy, rotations, asked, rule, moved)), rule)


def obstacles(address: Address, candidates: Sequence[Candidate], *, allow_personal: bool) -> dict[int, str]:
    """Why tokens cannot or should not be rotated, one line each by their ids, for whoever leaves those out.

    Raises:
        DatabaseError, Refused: see `tokens.errors`; also where no token on the instance can be rotated.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, preflight.ROTATE)
        return _obstacles(connection, schema, [one.id for one in candidates], allow_personal=allow_personal)


def _obstacles(connection: Connection, schema: Schema, ids: Sequence[int], *, allow_personal: bool) -> dict[int, str]:
    rules = read_rules(connection, schema)
    check_instance(rules)
    standings = read_standings(connection, schema, ids)
    reasons = {}
    for id_ in ids:
        if id_ not in standings:
            reasons[id_] = f"Token {id_} is gone: look for the tokens again."
        elif reason := obstacle(standings[id_], rules, allow_personal=allow_personal):
            reasons[id_] = reason
    return reasons


def _refusal(reasons: dict[int, str]) -> str:
    first, *others = reasons.values()
    return f"{first} Reasons stand against {len(others)} more of the tokens." if others else first


def _day(policy: Policy, days: int, option: str) -> ExpirationDate:
    day = policy.today + days
    if day > FURTHEST:
        raise UsageError(f"{option}: {days} days from today is later than {FURTHEST}; choose fewer days.")
    return day


def _count_memberships(
    connection: Connection, ids: Sequence[int], rule: MembershipRule | None, expires_at: ExpirationDate | None
) -> int:
    if rule is None:
        return 0
    end = expires_at if rule is MembershipRule.UNTIL_TOKEN else None
    return int(connection.row(MEMBERSHIPS, ids=list(ids), end=end and end.literal).members)


def _notes(
    policy: Policy, rotations: Sequence[Rotation], asked: ExpirationDate, rule: MembershipRule | None, moved: int
) -> Iterator[str]:
    limit = policy.last_date
    if limit is not None and asked > limit:
        yield f"This instance allows {policy.maximum_lifetime} days at most: new tokens expire on {limit}, not {asked}."
    elif limit is None and asked > policy.today + DEFAULT_LIFETIME:
        yield (
            f"GitLab itself would give a new token {DEFAULT_LIFETIME} days at most (400 behind a feature flag); these "
            f"expire on {asked}."
        )
    if policy.maintenance:
        yield "GitLab is in maintenance mode, but from here changes go through; a failover may be under way."
    expired = [one for one in rotations if one.candidate.state is State.EXPIRED]
    days = [one.candidate.expires_at for one in expired if one.candidate.expires_at is not None]
    if len(rotations) > 1 and days:
        yield f"{len(expired)} of the tokens have expired, the first on {min(days)}: their successors work again."
    if expired and expired[0].grace_until is not None:
        yield f"{len(expired)} of the old tokens are expired already: a grace does not bring them back."
    if moved:
        become = "lose their end" if rule is MembershipRule.FOREVER else "end with the new token"
        yield f"{moved} membership(s) of bots that end earlier {become}, as GitLab's own rotation leaves them."
