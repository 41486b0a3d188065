"""What the instance demands of tokens, in words: one fact a line, for `breakdown` and `doctor` alike."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tokens.call import to_type
from tokens.counts import counted
from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import ENABLING_FLAG, FAULTY, CleanUp, clean_up, what_it_does
from tokens.gitlab.kind import WORKS, Kind, kind_expression
from tokens.gitlab.needs import LIST, Needs
from tokens.gitlab.release import read_release
from tokens.gitlab.schema import SETTINGS, TOKENS, Schema
from tokens.gitlab.settings import (
    DEFAULT_LIFETIME,
    Policy,
    Rules,
    beyond_maximum,
    read_policy,
    read_rules,
    takes_registration_tokens,
)

NEEDS = Needs(reads={SETTINGS: LIST.reads[SETTINGS]})

BEYOND = """
    SELECT {kind} AS kind, count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {works} AND {beyond}
    GROUP BY 1
"""


@dataclass(frozen=True)
class Demands:
    """The settings in force, each None where this release has no such setting.

    Attributes:
        policy: lifetimes, dates and the clean-up of bots.
        requires_expiry, service_accounts_require_expiry: as in the policy.
        rules: which tokens nobody can use or make.
        disabled: whether no access token works.
        has_granular: whether there is a setting about fine-grained tokens.
        registration_tokens: whether runners can register by a registration token.
        has_maintenance: whether there is a maintenance mode.
        clean_up: how this release deletes inactive bots; None if it does not.
        beyond_maximum: active tokens beyond the maximum lifetime by kind; None where they were not counted.
    """

    policy: Policy
    requires_expiry: bool | None
    service_accounts_require_expiry: bool | None
    rules: Rules
    disabled: bool | None
    has_granular: bool
    registration_tokens: bool | None
    has_maintenance: bool
    clean_up: CleanUp | None
    beyond_maximum: Mapping[Kind, int] | None


@dataclass(frozen=True)
class Fact:
    """One line: what it is about, a sentence, and whether it deserves a warning."""

    subject: str
    text: str
    warns: bool = False


def read_demands(connection: Connection, schema: Schema, release: str | None) -> Demands:
    """What the instance demands now, with the tokens that are beyond its maximum where this role may count them.

    `release` is GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells.
    """
    policy, rules = read_policy(connection, schema), read_rules(connection, schema)

    def where_there_is(column: str, value: bool) -> bool | None:
        return value if schema.has(SETTINGS, "id", column) else None

    beyond: Mapping[Kind, int] | None = None
    if policy.maximum_lifetime is not None and not preflight.missing_privileges(connection, LIST):
        statement = BEYOND.format(kind=kind_expression(schema), works=WORKS, beyond=beyond_maximum(schema))
        found = {Kind(row.kind): row.tokens for row in connection.rows(statement)}
        beyond = {kind: found[kind] for kind in Kind if kind in found}
    return Demands(
        policy,
        where_there_is("require_personal_access_token_expiry", policy.requires_expiry),
        where_there_is("service_access_tokens_expiration_enforced", policy.service_accounts_require_expiry),
        rules,
        where_there_is("disable_personal_access_tokens", rules.disabled),
        schema.has(TOKENS, "granular") and schema.has(SETTINGS, "id", "personal_access_token_settings"),
        takes_registration_tokens(connection, schema),
        schema.has(SETTINGS, "id", "maintenance_mode"),
        clean_up(release, read_release(connection, schema)),
        beyond,
    )


def facts(demands: Demands) -> Iterator[Fact]:
    """The lines. A setting that this release does not have is in none of them."""
    yield from _dates(demands)
    if demands.disabled is not None:
        text = "disabled: none of any kind authenticates" if demands.disabled else "enabled"
        yield Fact("access tokens", text, demands.disabled)
    if demands.has_granular:
        yield Fact("legacy tokens", _on_legacy(demands.rules, demands.policy.today))
    if demands.registration_tokens is not None:
        allowed = "can register by registration tokens, which GitLab will remove"
        yield Fact("runners", allowed if demands.registration_tokens else "register by authentication tokens alone")
    yield _on_inactive_bots(demands.policy, demands.clean_up)
    if demands.has_maintenance:
        on = "on: GitLab takes no changes from people, but from here they go through; a failover may be under way"
        yield Fact("maintenance mode", on if demands.policy.maintenance else "off", demands.policy.maintenance)


def _dates(demands: Demands) -> Iterator[Fact]:
    maximum = demands.policy.maximum_lifetime
    if demands.requires_expiry is not None:
        yield Fact("new tokens", "must have a date" if demands.requires_expiry else "may have no date")
    if demands.service_accounts_require_expiry is not None:
        text = "must have a date, too" if demands.service_accounts_require_expiry else "may have no date"
        yield Fact("service accounts", f"their new tokens {text}")
    if maximum is None:
        without = f"none is set; GitLab gives new tokens {DEFAULT_LIFETIME} days at most"
        yield Fact("maximum", without if demands.requires_expiry is not False else "none is set")
        return
    today = demands.policy.today
    last = today + maximum
    yield Fact("maximum", f"{counted(maximum, 'day')}, today until {last.beside(today)}")
    if demands.beyond_maximum is not None:
        yield _on_beyond(demands.beyond_maximum)


def _on_beyond(beyond: Mapping[Kind, int]) -> Fact:
    if not beyond:
        return Fact("beyond it", "no active token")
    counts = ", ".join(f"{tokens:,} {kind}" for kind, tokens in beyond.items())
    what = "GitLab revokes them three hours after that setting is next changed"
    return Fact("beyond it", f"{counts}; {what}{to_type('to see them', 'list', '--beyond-maximum')}", warns=True)


def _on_legacy(rules: Rules, today: ExpirationDate) -> str:
    if rules.granular_after is None:
        return "they can be made beside fine-grained ones"
    since = "since" if rules.granular_only else "from"
    day = rules.granular_after.beside(today)
    return f"{since} {day} only fine-grained tokens can be made; older ones go on working"


def _on_inactive_bots(policy: Policy, rule: CleanUp | None) -> Fact:
    subject = "inactive bots"
    days = policy.inactive_days
    if rule is None or days is None:
        return Fact(subject, "GitLab keeps them")
    text = f"at 00:00 UTC, {counted(days, 'day')} after their last token's end, {what_it_does(rule)}"
    if rule.by_flag:
        text += f", where its feature flag {ENABLING_FLAG} is on"
    if not rule.takes_undated:
        return Fact(subject, text)
    which = "this release" if rule.certain else f"{FAULTY}, which this may be,"
    return Fact(
        subject,
        f"{text}; {which} takes tokens without an expiration date for ended, even those that work: give the tokens of "
        "bots a date, or update GitLab to 17.9.1 or later",
        warns=True,
    )
