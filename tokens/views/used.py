"""What uses tokens, as people and programs read it: by token, address, route or day."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokens.counts import counted
from tokens.gitlab.rate_limits import BAN, THROTTLE, RateLimit
from tokens.inventory.used import KnownToken
from tokens.selection import Selection
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated, tables
from tokens.terminal.paragraphs import cut, laid_out
from tokens.terminal.printable import printable
from tokens.usage.reading import Usage
from tokens.usage.tally import MOST_DIFFERENT, OTHERS, Burst, CallCount, TokenUse
from tokens.views import document
from tokens.views.logged import Use, use_of
from tokens.views.owner import nobody
from tokens.views.use_of_token import PARTS, parts, parts_as_dict, reasons

DETAILED = 3  # tokens of which everything is shown
MARGIN = 13  # characters before what is said of it
MOST_ADDRESSES = 5  # that are named because GitLab turns them away
ROWS = {"address": "addresses", "route": "routes", "day": "days"}
GONE = "deleted"
"""The state of a token that is in the log and no more in the database."""

NOT_IN_IT = (
    "The log has calls of the REST API alone: a token that is used for GraphQL, or for Git over HTTP, and for nothing "
    "else is not in it."
)


@dataclass(frozen=True)
class Used:
    """What was found.

    Attributes:
        usage: the use of the tokens that are shown, in the order in which they are shown.
        tokens: what the database knows of them; those that it does not know were deleted.
        selected: how many tokens the selection means.
        limits: when GitLab turns an address away; `usage.bursts` are by these.
        logs: the names of what was read.
        notes: what was named and comes to nothing, in sentences.
        by: what has a row: `token`, `address`, `route` or `day`.
        top_refused: whether these are dead tokens that are still tried.
    """

    usage: Usage
    tokens: Mapping[int, KnownToken]
    selected: int
    limits: tuple[RateLimit, ...]
    logs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    by: str = "token"
    top_refused: bool = False

    @property
    def uses(self) -> list[TokenUse]:
        """Of each token."""
        return list(self.usage.by_token.values())

    @property
    def known(self) -> Use:
        """How many of those that are in the database are used."""
        return use_of(self.usage, self.tokens, self.selected)

    @property
    def refused(self) -> int:
        """How many were refused, deleted ones too."""
        return sum(use.refused > 0 for use in self.uses)

    def over(self, address: str) -> list[tuple[RateLimit, Burst]]:
        """The limits that this address has gone beyond, without those that are off."""
        bursts = self.usage.bursts.get(address, ())
        return [
            (limit, burst)
            for limit, burst in zip(self.limits, bursts, strict=False)
            if limit.enabled is not False and _is_over(limit, burst.tries)
        ]


@dataclass(frozen=True)
class CallTotals:
    """Of an address, a route or a day: the calls, the refused ones, and with how many tokens."""

    name: str
    calls: int
    refused: int
    tokens: int


def screen(found: Used, first: int | None, width: int | None) -> Iterator[str]:
    """How far the log reaches, the numbers, and a table not wider than `width`; of few tokens everything."""
    usage = found.usage
    yield laid_out(extent(usage), width)
    yield laid_out(_summary(found), width)
    if found.by != "token":
        rows = rows_by(found)[:first]
        if rows:
            yield ""
            heading: tuple[str, ...] = (found.by.capitalize(), "Calls", "Refused", "Tokens")
            cells: list[tuple[object, ...]] = [
                (printable(row.name), row.calls, row.refused, row.tokens) for row in rows
            ]
            if found.by == "address":
                heading += ("Beyond",)
                limits = (", ".join(limit.name for limit, _ in found.over(row.name)) for row in rows)
                cells = [(*cell, names) for cell, names in zip(cells, limits, strict=True)]
            yield from tables.table(heading, cells, width)
        return
    uses = found.uses[:first]
    if uses:
        yield ""
        yield from _top_refused(found, uses, width) if found.top_refused else _table(found, uses, width)
    if 0 < len(uses) <= DETAILED:
        for use in uses:
            yield ""
            yield f"Token {use.id}"
            for name, text in _details(found, use):
                room = None if width is None else max(width - MARGIN, MARGIN)
                lines = laid_out(text, room).split("\n")
                begins = [f"  {name}".ljust(MARGIN), *[" " * MARGIN] * (len(lines) - 1)]
                for begin, line in zip(begins, lines, strict=True):
                    yield begin + (line if room is None else cut(line, room))


def remarks(found: Used, first: int | None) -> Iterator[str]:
    """What the table does not have, whom GitLab turns away, and what the log cannot know."""
    rows = len(found.uses) if found.by == "token" else len(rows_by(found))
    if first is not None and rows > first:
        yield f"{rows - first:,} more: --first all shows them."
    yield from _turned_away(found)
    if not any(use.refused for use in found.uses) and not found.top_refused:
        yield "No refused call is in it; GitLab names the token of one from 17.2 on."
    yield NOT_IN_IT


def counted_together(uses: Iterable[TokenUse], by: str) -> Iterator[str]:
    """Of how many tokens not all addresses, routes and so on are counted apart, in a sentence each."""
    uses = list(uses)
    for part in PARTS if by == "token" else [ROWS[by]]:
        if number := sum(OTHERS in getattr(use, part) for use in uses):
            yield f"Of {counted(number, 'token')} only the first {MOST_DIFFERENT:,} {part} are counted apart."


def rows_by(found: Used) -> list[CallTotals]:
    """The rows by address, route or day: the most calls first, days in their order."""
    part = ROWS[found.by]
    sums: dict[str, list[int]] = {}
    for use in found.uses:
        counts: Mapping[str, CallCount] = getattr(use, part)
        for name, count in counts.items():
            row = sums.setdefault(name, [0, 0, 0])
            row[0] += count.calls
            row[1] += count.refused
            row[2] += 1
    rows = [CallTotals(name, *numbers) for name, numbers in sums.items()]
    if found.by == "day":
        return sorted(rows, key=lambda row: row.name)
    return sorted(rows, key=lambda row: (-row.calls - row.refused, row.name))


def as_json(found: Used, instance: Instance, selection: Selection, first: int | None) -> Iterator[str]:
    """One document in pieces, a row a line; times in ISO 8601 (UTC), null for what is not known."""
    usage, known = found.usage, found.known
    head = {
        **document.head(instance),
        "selection": selection.as_dict(),
        "notes": list(found.notes),
        "log": {
            "files": list(found.logs),
            "since": usage.since or None,
            "until": usage.until or None,
            "days": usage.days,
            "lines": usage.lines,
            "damaged": usage.damaged,
            "cut": list(usage.cut),
            "twice": list(usage.twice),
        },
        "selected": found.selected,
        "used": known.used,
        "daily": known.daily,
        "daily_by_one_address": known.by_one_address,
        "refused": found.refused,
        "limits": [
            {
                "name": limit.name,
                "enabled": limit.enabled,
                "tries": limit.tries,
                "seconds": limit.seconds,
                "ban_seconds": limit.ban,
            }
            for limit in found.limits
        ],
        "by": found.by,
    }
    yield document.begun(head)
    yield from document.listed(ROWS.get(found.by, "tokens"), as_ndjson(found, first))
    yield "}"


def as_ndjson(found: Used, first: int | None) -> Iterator[str]:
    """A row a line, without a head."""
    if found.by == "token":
        yield from (json.dumps(_document(found, use)) for use in found.uses[:first])
        return
    for row in rows_by(found)[:first]:
        fields = {found.by: row.name, "calls": row.calls, "refused": row.refused, "tokens": row.tokens}
        if found.by == "address":
            fields["over"] = _over(found, row.name)
        yield json.dumps(fields)


def as_csv(found: Used, first: int | None) -> Iterator[str]:
    """The rows with a heading; of a token's addresses and routes how many there are."""
    if found.by != "token":
        yield comma_separated.line([found.by, "calls", "refused", "tokens"])
        for row in rows_by(found)[:first]:
            yield comma_separated.line([row.name, row.calls, row.refused, row.tokens])
        return
    heading = None
    for use in found.uses[:first]:
        fields = _flat(found, use)
        if heading is None:
            heading = list(fields)
            yield comma_separated.line(heading)
        yield comma_separated.line(fields.values())
    if heading is None:
        yield comma_separated.line(_flat(found, TokenUse(0)))


def extent(usage: Usage) -> str:
    """From when to when the log has lines."""
    if not usage.since:
        return "The log has no line with a time." if usage.lines else "The log is empty, or has nothing new."
    return (
        f"The log reaches from {_minute(usage.since)} to {_minute(usage.until)} UTC "
        f"({counted(usage.days, 'day')}, {counted(usage.lines, 'line')})."
    )


def _summary(found: Used) -> str:
    if found.top_refused:
        return f"{counted(len(found.uses), 'dead token is', 'dead tokens are')} still being tried."
    known = found.known
    said = f"{known.used:,} of {counted(found.selected, 'token')} {'is' if known.used == 1 else 'are'} used"
    if known.daily:
        said += f", {known.daily:,} of these daily"
        if known.by_one_address:
            said += f" ({known.by_one_address:,} by one address)"
    return f"{said}; {counted(found.refused, 'token was', 'tokens were')} refused."


def _table(found: Used, uses: Sequence[TokenUse], width: int | None) -> list[str]:
    heading = ("Id", "Owner", "Name", "State", "Calls", "A day", "Refused", "Last", "From")
    cells = [
        (
            str(use.id),  # an id is pasted, so its digits are not grouped
            _owner(found, use),
            _name(found, use),
            _state(found, use),
            use.calls,
            _rate(use.calls_a_day(found.usage.days)),
            use.refused,
            _minute(use.last),
            _from(use),
        )
        for use in uses
    ]
    return tables.table(heading, cells, width, spare=("State", "Last", "A day", "Name"), whole=("Last",))


def _top_refused(found: Used, uses: Sequence[TokenUse], width: int | None) -> list[str]:
    heading = ("Id", "Owner", "Name", "Refused", "Why", "Expired", "Replaced by", "Last", "From")
    cells = []
    for use in uses:
        token = found.tokens.get(use.id)
        cells.append(
            (
                str(use.id),
                _owner(found, use),
                _name(found, use),
                use.refused,
                printable(next(iter(use.reasons), "").removeprefix("token_")) or _state(found, use),
                (token and token.expires_at) or "",
                "" if token is None or token.replaced_by is None else str(token.replaced_by),
                _minute(use.last_refused),
                _from(use),
            )
        )
    return tables.table(heading, cells, width, spare=("Last", "Name", "Why"), whole=("Last", "Expired"))


def _details(found: Used, use: TokenUse) -> Iterator[tuple[str, str]]:
    """Everything about one token, a kind of thing a line."""
    days = found.usage.days
    if use.calls:
        yield "calls", f"{use.calls:,}, {_rate(use.calls_a_day(days))} a day, last {_minute(use.last_call)}"
    if use.refused:
        why = reasons(use) or "no reason in the log"
        yield "refused", f"{use.refused:,}, last {_minute(use.last_refused)}: {why}"
    if use.scopes:
        missing = ", ".join(f"{printable(scopes)} ({number:,})" for scopes, number in use.scopes.items())
        yield "needed", missing
    yield "first", f"{_minute(use.first)}, on {counted(len(use.days), 'day')}"
    for part, shown in parts(use):
        yield part, "; ".join(shown)


def _turned_away(found: Used) -> Iterator[str]:
    """The addresses that go beyond a limit, a line each, and the limit in words."""
    addresses = {address for use in found.uses for address, count in use.addresses.items() if count.refused}
    for number, limit in enumerate(found.limits):
        if limit.enabled is False:
            continue
        over = sorted(
            (
                (found.usage.bursts[address][number], address)
                for address in addresses
                if address in found.usage.bursts and _is_over(limit, found.usage.bursts[address][number].tries)
            ),
            key=lambda one: (-one[0].tries, one[1]),
        )
        for burst, address in over[:MOST_ADDRESSES]:
            yield (
                f"{printable(address)} was refused {burst.tries:,} times within {limit.seconds:,} seconds (until "
                f"{_minute(burst.at)}). {_consequence(limit)}"
            )
        if len(over) > MOST_ADDRESSES:
            more = counted(len(over) - MOST_ADDRESSES, "more address", "more addresses")
            yield f"{more} like that: --by address --output json names them."


def _consequence(limit: RateLimit) -> str:
    if limit.name == THROTTLE:
        return f"It will be turned away: GitLab answers more than {limit.tries:,} with status 429."
    if limit.enabled is None:
        return (
            "By Git it may be banned for that: "
            f"gitlab.yml says, which is not read here (rack_attack: {BAN}, {limit.tries:,} failures by default)."
        )
    return (
        f"By Git or at the registry it will be banned for that, for {limit.ban:,} seconds (rack_attack: {BAN}, "
        f"{limit.tries:,} failures)."
    )


def _is_over(limit: RateLimit, tries: int) -> bool:
    """Rack::Attack bans with the last try that is allowed, and throttles after it."""
    return tries >= limit.tries if limit.name == BAN else tries > limit.tries


def _over(found: Used, address: str) -> list[dict[str, Any]]:
    return [
        {"limit": limit.name, "enabled": limit.enabled, "tries": burst.tries, "at": burst.at}
        for limit, burst in found.over(address)
    ]


def _document(found: Used, use: TokenUse) -> dict[str, Any]:
    return {
        **_identity(found, use),
        **_numbers(found, use),
        "days": [{"day": day, "calls": count.calls, "refused": count.refused} for day, count in use.days.items()],
        **parts_as_dict(use),
        "reasons": dict(use.reasons),
        "missing_scopes": dict(use.scopes),
        "statuses": {str(status): number for status, number in use.statuses.items()},
        "over": [
            {"address": address, **one}
            for address, count in use.addresses.items()
            if count.refused
            for one in _over(found, address)
        ],
    }


def _flat(found: Used, use: TokenUse) -> dict[str, Any]:
    return {
        **_identity(found, use),
        **_numbers(found, use),
        **{part: len(getattr(use, part)) for part in PARTS},
        "reasons": " ".join(f"{reason}:{number}" for reason, number in use.reasons.items()),
    }


def _identity(found: Used, use: TokenUse) -> dict[str, Any]:
    token = found.tokens.get(use.id)
    return {
        "id": use.id,
        "kind": token and token.kind,
        "account": token and token.account,
        "owner": token and token.owner,
        "name": token and token.name,
        "state": token.state if token else GONE,
        "expires_at": token and token.expires_at,
        "replaced_by": token and token.replaced_by,
    }


def _numbers(found: Used, use: TokenUse) -> dict[str, Any]:
    days = found.usage.days
    return {
        "calls": use.calls,
        "calls_a_day": round(use.calls_a_day(days), 2),
        "refused": use.refused,
        "refused_a_day": round(use.refused_a_day(days), 2),
        "first": use.first or None,
        "last": use.last or None,
        "last_call": use.last_call or None,
        "last_refused": use.last_refused or None,
    }


def _owner(found: Used, use: TokenUse) -> str:
    token = found.tokens.get(use.id)
    if token is None:
        return f"({GONE})"
    return printable(token.owner or f"({nobody(token.kind)})")


def _name(found: Used, use: TokenUse) -> str:
    token = found.tokens.get(use.id)
    return "" if token is None else printable(token.name)


def _state(found: Used, use: TokenUse) -> str:
    token = found.tokens.get(use.id)
    return GONE if token is None else token.state


def _from(use: TokenUse) -> str:
    """The address of the most calls, and how many others there are."""
    addresses: Iterable[str] = use.addresses
    first, *others = list(addresses) or [""]
    return printable(first) + (f" +{len(others):,}" if others else "")


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
