"""What GitLab's nightly work will do to tokens, night by night, as things are and with an administrator's decision."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.counts import counted, them
from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import FAULTY, CleanUp, clean_up
from tokens.gitlab.kind import Kind
from tokens.gitlab.needs import LIST
from tokens.gitlab.release import least_of, read_release
from tokens.gitlab.rules import BY_NUMBER, ENDS, Rule
from tokens.gitlab.settings import Policy, Rules, read_policy, read_rules
from tokens.inventory.forecast import Owner, OwnerType
from tokens.inventory.ids import notes_on_selection
from tokens.inventory.nights import RULES_A_DAY, WITHOUT_TOKENS, Nights
from tokens.inventory.scenario import Scenario, resolve
from tokens.selection import EVERYTHING, Selection
from tokens.selection.unmatched import check_names
from tokens.usage.reading import Usage

AT_ONCE = 2000  # rows in one round trip


@dataclass(frozen=True)
class InUse:
    """Of the tokens that stop working, those that the log says are used at all, and daily; how far it reaches back."""

    used: int
    daily: int
    since: str
    days: int


class Difference(StrEnum):
    """What an event owes to the decision: nothing, all, or that it does not come to be on its night."""

    ANYWAY = "anyway"
    CHANGE = "change"
    SPARED = "spared"


@dataclass(frozen=True)
class NightCount:
    """To how many tokens a rule does something in one night; `worked` is whether they work until then."""

    night: date
    rule: Rule
    difference: Difference
    worked: bool
    tokens: int

    @property
    def ends(self) -> bool:
        """Whether these tokens stop working, with the decision."""
        return self.worked and self.rule.effect in ENDS and self.difference is not Difference.SPARED


@dataclass(frozen=True)
class Notices:
    """The tokens about which GitLab sends mail in one night."""

    night: date
    rule: Rule
    tokens: int


@dataclass(frozen=True)
class EndingMemberships:
    """The memberships that end in one night: those of bots, which go with them, and those of others."""

    night: date
    of_bots: int
    of_others: int


@dataclass(frozen=True)
class TokenEvent:
    """What happens to one token in one night.

    `worked` is whether it works until then. `notices` are the nights before it in which GitLab mails `told`, each with
    the notice's name. `owner` is None for a bot that has lost its project or group. `calls_a_day` is None where no log
    has been read, or names no call.
    """

    night: date
    rule: Rule
    difference: Difference
    worked: bool
    id: int
    expires_at: ExpirationDate | None
    kind: Kind
    account: str | None
    owner: str | None
    name: str
    last_used_at: str | None
    state: str
    owner_state: str | None
    notices: tuple[tuple[date, str], ...]
    told: tuple[str, ...]
    calls_a_day: float | None = None


@dataclass(frozen=True)
class OwnerEvents:
    """What happens to the tokens of one owner: in one night, or in all of them (None).

    `anyway`, `change` and `spared` are tokens that work, by what their end owes to the decision; `deleted` are rows
    that GitLab deletes, of dead tokens, too. `of_bot` says that the tokens are a bot's.
    """

    owner: Owner
    of_bot: bool
    night: date | None
    first: date
    anyway: int
    change: int
    spared: int
    deleted: int

    @property
    def dies(self) -> int:
        return self.anyway + self.change


@dataclass
class Simulation:
    """The nights from `first` to `last` (UTC), and what they do to tokens; open as long as its block.

    Attributes:
        scenario: what is decided on `today`.
        counts: events by night, rule and difference.
        notices, memberships: by night, with the decision.
        bots_without_tokens: how many of them the next clean-up deletes.
        notes: sentences about what is not known, and about the decision.
        in_use: what a log says of the tokens that stop working; None without one.
    """

    scenario: Scenario
    today: date
    last: date
    counts: tuple[NightCount, ...]
    notices: tuple[Notices, ...]
    memberships: tuple[EndingMemberships, ...]
    bots_without_tokens: int
    notes: tuple[str, ...]
    in_use: InUse | None
    _asked: "_Asked" = field(repr=False, compare=False)

    @property
    def first(self) -> date:
        return self.today + timedelta(1)

    def dies(self, difference: Difference | None = None) -> int:
        """How many tokens that work stop working, of all or of one difference."""
        if difference is Difference.SPARED:
            spared = (one for one in self.counts if one.worked and one.difference is difference)
            return sum(one.tokens for one in spared if one.rule.effect in ENDS)
        return sum(one.tokens for one in self.counts if one.ends and difference in (None, one.difference))

    def tokens(self, first: int | None) -> Iterator[TokenEvent]:
        """Every event or the first ones: of tokens that work until then, in the order of nights, then of dead ones."""
        return self._asked.tokens(first)

    def owners(self, first: int | None, *, by_night: bool = False) -> Iterator[OwnerEvents]:
        """What happens by owner, most tokens first; with `by_night` in the order of nights."""
        return self._asked.owners(first, by_night=by_night)


@contextmanager
def simulated(
    address: Address,
    selection: Selection,
    scenario: Scenario,
    *,
    release: str | None = None,
    usage: Usage | None = None,
) -> Iterator[Simulation]:
    """What happens to the tokens of `selection`, in one snapshot that is open as long as the block; a standby will do.

    `release` is GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells, and where that is
    not enough the worse case counts. With `usage`, which is what logs say, the tokens that are used most come first.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name that does not exist, or a setting that this release does not have.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        estimate = read_release(connection, schema)
        policy = read_policy(connection, schema)
        rule = clean_up(release, estimate)
        resolved = resolve(connection, schema, scenario, policy, rule)
        least = least_of(release, estimate)
        nights = Nights(schema, selection, resolved, policy, rule, least, usage=usage or Usage())
        asked = _Asked(
            connection, replace(nights, bots={one: _taken(connection, nights, one) for one in nights.worlds})
        )
        counts = tuple(asked.counts())
        without = asked.bots_without_tokens()
        notes = (
            *resolved.notes,
            *asked.notes_on_replacing(),
            *_notes_on_settings(read_rules(connection, schema)),
            *_notes_on_release(rule, policy, scenario),
            *notes_on_selection(connection, schema, selection, nothing=not counts),
        )
        yield Simulation(
            scenario,
            policy.today.as_date,
            (policy.today + scenario.nights).as_date,
            counts,
            tuple(asked.notices()),
            tuple(asked.memberships()),
            without,
            notes,
            None if usage is None else asked.in_use(),
            asked,
        )


def _notes_on_settings(rules: Rules) -> Iterator[str]:
    if rules.disabled:
        yield "Access tokens are disabled, so none works now. They count here as if they were enabled."


def _notes_on_release(rule: CleanUp | None, policy: Policy, scenario: Scenario) -> Iterator[str]:
    if rule is not None and not rule.certain and (policy.inactive_days is not None or scenario.clean_up_days):
        worse = f" ({FAULTY} take tokens without a date for ended)" if rule.takes_undated else ""
        yield f"GitLab's exact release is not known here: of the clean-ups that it may have the worst counts{worse}."
    if rule is not None and rule.may_block:
        yield "Where a feature flag of this release is off, GitLab blocks inactive bots instead of deleting them."


def _taken(connection: Connection, nights: Nights, world: str) -> tuple[str, str]:
    """The bots that the clean-up takes and their nights, as literals of arrays."""
    if (asked := nights.taken(world)) is None:
        return "{}", "{}"
    statement, values = asked
    row = connection.row(statement, **values)
    return row.bots, row.nights


@dataclass(frozen=True)
class _Asked:
    """Asks one snapshot."""

    connection: Connection
    nights: Nights

    def in_use(self) -> InUse:
        row, usage = self._row(self.nights.in_use()), self.nights.usage
        return InUse(row.used, row.daily, usage.since, usage.days)

    def counts(self) -> Iterator[NightCount]:
        for row in self._rows(self.nights.counts()):
            yield NightCount(
                self._night(row.night),
                BY_NUMBER[row.rule],
                Difference(row.difference),
                row.worked,
                row.tokens,
            )

    def tokens(self, first: int | None) -> Iterator[TokenEvent]:
        # Millions of tokens have a few hundred nights and dates.
        night = lru_cache(maxsize=10_000)(self._night)
        day = lru_cache(maxsize=10_000)(ExpirationDate.stored_or_none)
        statement = self.nights.tokens()
        for row in self.connection.stream(statement, AT_ONCE, **self.nights.values(statement, first)):
            yield TokenEvent(
                night(row.night),
                BY_NUMBER[row.rule],
                Difference(row.difference),
                row.worked,
                row.id,
                day(row.expires_at),
                Kind(row.kind),
                row.account,
                row.owner,
                row.name,
                row.last_used_at,
                row.state,
                row.owner_state,
                tuple((night(at // RULES_A_DAY), BY_NUMBER[at % RULES_A_DAY].name) for at in row.notices),
                tuple(row.told),
                row.calls_a_day,
            )

    def owners(self, first: int | None, *, by_night: bool) -> Iterator[OwnerEvents]:
        statement = self.nights.owners(by_night=by_night)
        for row in self.connection.stream(statement, AT_ONCE, **self.nights.values(statement, first)):
            yield OwnerEvents(
                Owner(OwnerType(row.owner_type), row.owner_id, row.owner),
                row.of_bot,
                None if row.night is None else self._night(row.night),
                self._night(row.first),
                row.anyway,
                row.change,
                row.spared,
                row.deleted,
            )

    def notices(self) -> Iterator[Notices]:
        for row in self._rows(self.nights.notices()):
            yield Notices(self._night(row.night), BY_NUMBER[row.rule], row.tokens)

    def memberships(self) -> Iterator[EndingMemberships]:
        for row in self._rows(self.nights.memberships()):
            yield EndingMemberships(self._night(row.night), row.of_bots, row.of_others)

    def bots_without_tokens(self) -> int:
        if self.nights.selection != EVERYTHING or self.nights.days("changed") is None:
            return 0
        return int(self._row(WITHOUT_TOKENS).bots)

    def notes_on_replacing(self) -> Iterator[str]:
        if self.nights.resolved.scenario.granular_after is None:
            return
        number = self._row(self.nights.irreplaceable()).tokens
        yield (
            f"{counted(number, 'of these tokens is', 'of these tokens are')} not fine-grained, and no other like "
            f"{them(number)} can be made when {'it stops' if number == 1 else 'they stop'} working."
        )

    def _row(self, statement: str) -> Any:
        return self.connection.row(statement, **self.nights.values(statement))

    def _rows(self, statement: str) -> Sequence[Any]:
        return self.connection.rows(statement, **self.nights.values(statement))

    def _night(self, number: int) -> date:
        return (self.nights.policy.today + int(number)).as_date
