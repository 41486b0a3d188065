"""Calls counted: of each token, and of each address how close together it was refused."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from sys import intern
from typing import Any, NamedTuple

from tokens.usage.line import ApiCall

MOST_DIFFERENT = 1000  # routes, addresses and so on of one token that are counted apart
MOST_ADDRESSES = 20_000  # whose refused tries are watched at a time
MOST_WATCHED = 10_000  # tries of one address that are looked at together
OTHERS = "(others)"

MOST_ALIKE = 50_000  # calls that differ in more than their time, until they are sorted in under their tokens

# Two counts in one number.
SHIFT = 40
ANSWERED_ONLY = (1 << SHIFT) - 1

Alike = list[Any]
"""Of calls that differ in nothing but their time: how many, the first time, the last."""


class CallCount(NamedTuple):
    """Calls with a token that was let in, and those with one that was not."""

    calls: int
    refused: int


@dataclass(frozen=True, slots=True)
class TokenUse:
    """What a log says of one token. Times are in ISO 8601, UTC; days are days in UTC.

    Attributes:
        id: the token's id.
        calls: how often GitLab let it in.
        refused: how often it did not.
        first, last: of its calls and refused tries; empty where no line has a time.
        last_call, last_refused: of either, empty where there was none.
        days, routes, projects, addresses, agents: how many of each; beyond the first 1,000 as "(others)".
        reasons: why it was refused, such as `token_expired`.
        scopes: what refused requests needed and the token did not have.
        statuses: GitLab's answers, such as 200.
    """

    id: int
    calls: int = 0
    refused: int = 0
    first: str = ""
    last: str = ""
    last_call: str = ""
    last_refused: str = ""
    days: Mapping[str, CallCount] = field(default_factory=dict)
    routes: Mapping[str, CallCount] = field(default_factory=dict)
    projects: Mapping[str, CallCount] = field(default_factory=dict)
    addresses: Mapping[str, CallCount] = field(default_factory=dict)
    agents: Mapping[str, CallCount] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    scopes: Mapping[str, int] = field(default_factory=dict)
    statuses: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_used(self) -> bool:
        """Whether GitLab let it in at all."""
        return self.calls > 0

    def is_daily(self, days: int) -> bool:
        """Whether it was let in on five of seven days, of a log of this number of days; one day alone says nothing."""
        return days > 1 and 7 * sum(1 for count in self.days.values() if count.calls) >= 5 * days

    @property
    def is_of_one_address(self) -> bool:
        """Whether all its answered calls came from one address."""
        return sum(1 for count in self.addresses.values() if count.calls) == 1

    def calls_a_day(self, days: int) -> float:
        """How many calls a day, in a log of this number of days."""
        return self.calls / max(days, 1)

    def refused_a_day(self, days: int) -> float:
        """How many refused tries a day."""
        return self.refused / max(days, 1)


@dataclass(frozen=True)
class Limit:
    """This number of tries of one address within these seconds is looked for."""

    tries: int
    seconds: int


@dataclass(frozen=True)
class Burst:
    """The most refused tries of an address within a limit's seconds, and when that was (of the last of them)."""

    tries: int
    at: str


class _Tally:
    """The counts of one token while they grow."""

    __slots__ = (
        "calls",
        "days",
        "first",
        "last",
        "last_call",
        "last_refused",
        "parts",
        "reasons",
        "scopes",
        "statuses",
    )

    def __init__(self) -> None:
        self.calls = 0
        self.first = "~"
        self.last = self.last_call = self.last_refused = ""
        self.days: dict[str, int] = {}
        self.parts: tuple[dict[str, int], ...] = ({}, {}, {}, {})  # routes, projects, addresses, agents
        self.reasons: dict[str, int] = {}
        self.scopes: dict[str, int] = {}
        self.statuses: dict[int, int] = {}


class Tallies:
    """Counts calls.

    Args:
        limits: of which addresses are watched.
    """

    def __init__(self, limits: Sequence[Limit] = ()) -> None:
        self._by_token: dict[int, _Tally] = {}
        self._limits = limits
        self._tries: OrderedDict[str, list[_Watch]] = OrderedDict()  # who was refused last comes last
        self._bursts: dict[str, tuple[Burst, ...]] = {}
        self.alike: dict[tuple[Any, ...], Alike] = {}
        """Of a day and a call without its time."""

    def add(self, call: ApiCall) -> None:
        """Count this call, too."""
        time = call[0]
        key = (time[:10], call[1:])
        alike = self.alike.get(key)
        if alike is None:
            if len(self.alike) >= MOST_ALIKE:
                self.sort_in()
            self.alike[key] = [1, time, time]
        else:
            alike[0] += 1
            if time > alike[2]:
                alike[2] = time
            elif time < alike[1]:
                alike[1] = time

    def add_alike(self, number: int, first: str, last: str, call: ApiCall) -> None:
        """Count this number of calls like this one, from the first time to the last, all of one day."""
        if len(self.alike) >= MOST_ALIKE:
            self.sort_in()
        alike = self.alike.setdefault((first[:10], call[1:]), [0, first, last])
        alike[0] += number
        alike[1] = min(alike[1], first)
        alike[2] = max(alike[2], last)

    def watch(self, time: str, address: str) -> None:
        """Look how close together a refused call is to others of its address."""
        if not self._limits:
            return
        watches = self._tries.get(address)
        if watches is None:
            if len(self._tries) >= MOST_ADDRESSES:
                self._let_go()
            watches = self._tries[address] = [_Watch(limit.seconds) for limit in self._limits]
        self._tries.move_to_end(address)
        seconds = datetime.fromisoformat(time).timestamp()
        for watch in watches:
            watch.see(seconds, time)

    def sort_in(self) -> None:
        """Add what was counted together to its tokens."""
        for (day, alike), (number, first, last) in self.alike.items():
            token_id, is_refused, reason, scopes, status, route, project, address, agent = alike
            tally = self._by_token.get(token_id)
            if tally is None:
                tally = self._by_token[token_id] = _Tally()
            one = number
            if is_refused:
                one = number << SHIFT
                tally.last_refused = max(last, tally.last_refused)
                if reason is not None:
                    _count(tally.reasons, reason, number)
                if scopes is not None:
                    _count(tally.scopes, scopes, number)
            else:
                tally.last_call = max(last, tally.last_call)
            tally.calls += one
            if first:
                tally.first = min(first, tally.first)
                tally.last = max(last, tally.last)
                tally.days[intern(day)] = tally.days.get(day, 0) + one
            tally.statuses[status] = tally.statuses.get(status, 0) + number
            for part, key in zip(tally.parts, (route, project, address, agent), strict=True):
                if key is not None:
                    _count(part, key, one)
        self.alike.clear()

    def by_token(self) -> dict[int, TokenUse]:
        """What was counted, the token of the most calls and tries first."""
        self.sort_in()
        found = []
        while self._by_token:  # the two together would take half as much again
            found.append(_frozen(*self._by_token.popitem()))
        return {use.id: use for use in sorted(found, key=lambda use: (-use.calls - use.refused, use.id))}

    def bursts(self) -> dict[str, tuple[Burst, ...]]:
        """Of each address that was refused as often as a limit has it, in the order of the limits."""
        while self._tries:
            self._let_go()
        return self._bursts

    def _let_go(self) -> None:
        """Watch the address no more that is idle longest, and keep the most that it was refused if that is much."""
        address, watches = self._tries.popitem(last=False)
        found = tuple(Burst(watch.most, watch.at) for watch in watches)
        if any(burst.tries >= limit.tries for burst, limit in zip(found, self._limits, strict=True)):
            before = self._bursts.get(address, found)
            self._bursts[address] = tuple(
                max(pair, key=lambda one: one.tries) for pair in zip(before, found, strict=True)
            )


class _Watch:
    """The most tries within some seconds."""

    __slots__ = ("at", "most", "seconds", "tries")

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.tries: deque[float] = deque(maxlen=MOST_WATCHED)
        self.most = 0
        self.at = ""

    def see(self, now: float, time: str) -> None:
        tries = self.tries
        tries.append(now)
        while tries[0] <= now - self.seconds:
            tries.popleft()
        if len(tries) > self.most:
            self.most = len(tries)
            self.at = time


def days_between(since: str, until: str) -> int:
    """How many days in UTC two times touch; 0 where one of them is not known."""
    if not since or not until:
        return 0
    return (date.fromisoformat(until[:10]) - date.fromisoformat(since[:10])).days + 1


def counts(packed: Iterable[tuple[str, int]]) -> dict[str, CallCount]:
    """Numbers of `Tallies`, taken apart, the largest first."""
    found = {key: CallCount(number & ANSWERED_ONLY, number >> SHIFT) for key, number in packed}
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1]), item[0])))


def _count(into: dict[str, int], key: str, one: int) -> None:
    before = into.get(key)
    if before is None and len(into) >= MOST_DIFFERENT:
        key = OTHERS
        before = into.get(key)
    if before is None:
        into[intern(key)] = one  # many tokens have the same
    else:
        into[key] = before + one


def _frozen(token_id: int, tally: _Tally) -> TokenUse:
    routes, projects, addresses, agents = (counts(part.items()) for part in tally.parts)
    return TokenUse(
        token_id,
        tally.calls & ANSWERED_ONLY,
        tally.calls >> SHIFT,
        "" if tally.first == "~" else tally.first,
        tally.last,
        tally.last_call,
        tally.last_refused,
        dict(sorted(counts(tally.days.items()).items())),
        routes,
        projects,
        addresses,
        agents,
        _largest_first(tally.reasons),
        _largest_first(tally.scopes),
        dict(sorted(tally.statuses.items())),
    )


def _largest_first(numbers: dict[str, int]) -> dict[str, int]:
    return dict(sorted(numbers.items(), key=lambda item: (-item[1], item[0])))
