"""How a simulation looks: a sentence, why, whose, and token by token; JSON and CSV."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any

from tokens.counts import counted
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.rules import ENDS, Effect
from tokens.inventory.simulation import Difference, OwnerEvents, Simulation, TokenEvent
from tokens.selection import Selection
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated
from tokens.terminal.paragraphs import laid_out
from tokens.terminal.printable import printable
from tokens.terminal.tables import LEAST as LEAST_OF_TEXT
from tokens.terminal.tables import table
from tokens.views import document
from tokens.views.owner import nobody

OWNERS = 10  # beside the tokens
LEAST = 40  # columns of a reason, for which other columns go
TOKEN_FIELDS = (
    "night",
    "rule",
    "effect",
    "difference",
    "works_until_then",
    "id",
    "kind",
    "account",
    "owner",
    "name",
    "expires_at",
    "state",
    "owner_state",
    "last_used_at",
    "notices",
    "told",
    "calls_a_day",
)
OWNER_FIELDS = ("owner_type", "owner_id", "owner", "first", "anyway", "change", "spared", "deleted")
NIGHT_FIELDS = (
    "night",
    "stops",
    "revoked",
    "expires",
    "deleted",
    "because_of_the_change",
    "spared",
    "dead_rows_deleted",
    "loses_access",
    "memberships_of_bots",
    "memberships_of_others",
    "notices",
)


def screen(found: Simulation, by: str, first: int | None, columns: int | None) -> Iterator[str]:
    """What a person wants to know first, then why, then whose and which tokens, `first` of them."""
    for sentence in sentences(found):
        yield laid_out(sentence, columns)
    why = list(_why(found))
    if why:
        yield ""
        heading = ("Tokens", "Effect", "Because of", "First", "Last", "Why")
        yield from table(heading, why, columns, spare=("Because of", "Last"), least=LEAST)
    if by == "night":
        yield from _below(_nights(found, first), NIGHTS_SHOWN, columns, first)
        return
    owners = _owners(found, OWNERS if by == "token" else first, changed=found.scenario.is_change)
    yield from _below(
        owners, OWNERS_SHOWN, columns, OWNERS if by == "token" else first, "other owner" if by == "token" else "owner"
    )
    if by == "token":
        yield from _below(_tokens(found, first), TOKENS_SHOWN, columns, first, "event")


def sentences(found: Simulation) -> Iterator[str]:
    """How many tokens stop working, when the first does, and what the decision has to do with it."""
    scenario = found.scenario
    dies = found.dies()
    nights = f"in the next {counted(scenario.nights, 'night')} (until {found.last})"
    if scenario.is_change:
        yield (
            f"If today {printable(str(scenario))}: {counted(dies, 'token')} {_verb(dies, 'stop')} working {nights}, "
            f"{found.dies(Difference.CHANGE):,} because of it, {found.dies(Difference.ANYWAY):,} anyway."
        )
    else:
        yield f"{counted(dies, 'token')} {_verb(dies, 'stop')} working {nights}."
    soonest = min((one.night for one in found.counts if one.ends), default=None)
    if soonest is not None and dies:
        yield f"The first {_verb(1, 'stop')} on {_near(soonest, found.today)}."
    if found.in_use is not None and dies:
        used, days = found.in_use, counted(found.in_use.days, "day")
        since = f" since {used.since.partition('T')[0]}" if used.since else ""
        yield (
            f"Of these, {used.daily:,} {_verb(used.daily, 'are', 'is')} used daily and {used.used:,} at all, by a log "
            f"of {days}{since}."
        )
    spared = found.dies(Difference.SPARED)
    if spared:
        yield f"{counted(spared, 'token')} would work longer than without it."
    rows = {
        difference: sum(
            one.tokens
            for one in found.counts
            if one.rule.effect is Effect.DELETED and one.difference is difference and not one.worked
        )
        for difference in Difference
    }
    if gone := rows[Difference.ANYWAY] + rows[Difference.CHANGE]:
        because = f", {rows[Difference.CHANGE]:,} of them because of it" if scenario.is_change else ""
        yield f"GitLab deletes {counted(gone, 'dead token')} with {_its(gone)} bots, too{because}."
    if later := rows[Difference.SPARED]:
        yield f"{counted(later, 'dead token')} {_verb(later, 'stay')} longer than without it."
    if found.bots_without_tokens:
        number = found.bots_without_tokens
        yield f"{counted(number, 'bot')} without any token {_verb(number, 'go', 'goes')} in the next night."
    mailed = sum(one.tokens for one in found.notices)
    if mailed:
        yield f"GitLab sends mail about tokens {counted(mailed, 'time')} until then."


def as_json(found: Simulation, instance: Instance, selection: Selection) -> Iterator[str]:
    """One document in pieces: all nights, owners and events, a line each."""
    head = {
        **document.head(instance),
        "selection": selection.as_dict(),
        "change": found.scenario.as_dict(),
        "notes": list(found.notes),
        "first": str(found.first),
        "last": str(found.last),
        "dies": found.dies(),
        "because_of_the_change": found.dies(Difference.CHANGE),
        "anyway": found.dies(Difference.ANYWAY),
        "spared": found.dies(Difference.SPARED),
        "bots_without_tokens": found.bots_without_tokens,
        "in_use": None
        if found.in_use is None
        else {
            "used": found.in_use.used,
            "daily": found.in_use.daily,
            "since": found.in_use.since or None,
            "days": found.in_use.days,
        },
        "rules": [
            {
                "night": str(one.night),
                "rule": one.rule.name,
                "effect": one.rule.effect.value,
                "difference": one.difference.value,
                "works_until_then": one.worked,
                "tokens": one.tokens,
                "at": one.rule.at,
                "source": one.rule.source,
            }
            for one in found.counts
        ],
        "notices": [{"night": str(one.night), "notice": one.rule.name, "tokens": one.tokens} for one in found.notices],
        "memberships": [
            {"night": str(one.night), "of_bots": one.of_bots, "of_others": one.of_others} for one in found.memberships
        ],
    }
    yield document.begun(head)
    yield from document.listed("owners", (json.dumps(_owner(one)) for one in found.owners(None)), ",")
    yield from document.listed("tokens", (json.dumps(_token(one)) for one in found.tokens(None)))
    yield "}"


def as_csv(found: Simulation, by: str, first: int | None) -> Iterator[str]:
    """A row for each event, each owner, or each night; the first ones, or all."""
    if by == "night":
        yield comma_separated.line(NIGHT_FIELDS)
        for night, numbers in islice(by_night(found).items(), first):
            yield comma_separated.line((str(night), *(numbers[name] for name in NIGHT_FIELDS[1:])))
        return
    fields = TOKEN_FIELDS if by == "token" else OWNER_FIELDS
    rows = map(_token, found.tokens(first)) if by == "token" else map(_owner, found.owners(first))
    yield comma_separated.line(fields)
    for row in rows:
        yield comma_separated.line(_flat(row[name]) for name in fields)


def by_night(found: Simulation) -> Mapping[date, Mapping[str, int]]:
    """The numbers of each night on which anything happens, by NIGHT_FIELDS."""
    nights: dict[date, dict[str, int]] = defaultdict(lambda: dict.fromkeys(NIGHT_FIELDS[1:], 0))
    for one in found.counts:
        if not one.worked and one.rule.effect is Effect.REVOKED:
            continue  # it stays as dead as it is
        numbers = nights[one.night]
        if one.difference is Difference.SPARED:
            numbers["spared"] += one.tokens
        elif one.rule.effect is Effect.DELETED and not one.worked:
            numbers["dead_rows_deleted"] += one.tokens
        else:
            numbers[one.rule.effect.value.replace("-", "_")] += one.tokens
            numbers["because_of_the_change"] += one.tokens if one.difference is Difference.CHANGE else 0
    for membership in found.memberships:
        nights[membership.night]["memberships_of_bots"] += membership.of_bots
        nights[membership.night]["memberships_of_others"] += membership.of_others
    for notice in found.notices:
        nights[notice.night]["notices"] += notice.tokens
    return dict(sorted(nights.items()))


TOKENS_SHOWN = (
    "Night",
    "Effect",
    "Because of",
    "Change",
    "Calls/day",
    "Id",
    "Kind",
    "Owner",
    "Name",
    "Used",
    "Mail",
)
OWNERS_SHOWN = ("Owner", "Stop working", "Because of it", "Rows deleted", "First")
NIGHTS_SHOWN = ("Night", "Stop working", "Because of it", "Lose access", "Rows deleted", "Memberships", "Notices")


def _why(found: Simulation) -> Iterator[tuple[object, ...]]:
    """A line for each rule that applies, what works until then first."""
    groups: dict[tuple[object, ...], list[Any]] = defaultdict(list)
    for one in found.counts:
        if one.difference is not Difference.SPARED:
            groups[not one.worked, list(Effect).index(one.rule.effect), one.rule.name].append(one)
    for (_, _, name), counts in sorted(groups.items(), key=lambda item: item[0][:2]):
        rule, worked = counts[0].rule, counts[0].worked
        effect = rule.effect.value if worked else f"{rule.effect} (dead)"
        days = [one.night for one in counts]
        yield sum(one.tokens for one in counts), effect, name, min(days), max(days), rule.means


def _owners(found: Simulation, first: int | None, *, changed: bool) -> Iterator[tuple[object, ...]]:
    for one in found.owners(None if first is None else first + 1):
        because = one.change if changed else 0
        yield _owner_name(one), one.dies, because, one.deleted, one.first


def _tokens(found: Simulation, first: int | None) -> Iterator[tuple[object, ...]]:
    for one in found.tokens(None if first is None else first + 1):
        notices = " ".join(name for _, name in one.notices) or ("none" if one.worked else "")
        yield (
            one.night,
            one.rule.effect.value if one.worked else f"{one.rule.effect} (dead)",
            one.rule.name,
            one.difference.value if found.scenario.is_change else "",
            "" if one.calls_a_day is None else f"{one.calls_a_day:,.1f}",
            str(one.id),
            one.kind.value,
            f"({nobody(one.kind)})" if one.owner is None else printable(one.owner),
            printable(one.name),
            "never" if one.last_used_at is None else one.last_used_at.partition("T")[0],
            notices,
        )


def _nights(found: Simulation, first: int | None) -> Iterator[tuple[object, ...]]:
    for night, numbers in islice(by_night(found).items(), None if first is None else first + 1):
        ends = sum(numbers[effect.value] for effect in ENDS)
        yield (
            night,
            ends,
            numbers["because_of_the_change"],
            numbers["loses_access"],
            numbers["deleted"] + numbers["dead_rows_deleted"],
            numbers["memberships_of_bots"] + numbers["memberships_of_others"],
            numbers["notices"],
        )


def _below(
    rows: Iterable[tuple[object, ...]],
    heading: tuple[str, ...],
    columns: int | None,
    first: int | None,
    what: str = "night",
) -> Iterator[str]:
    """A table after an empty line, and that there is more; nothing where there is none. Empty columns are left out."""
    cells = list(rows)
    if not cells:
        return
    shown = cells if first is None else cells[:first]
    used = [number for number in range(len(heading)) if any(row[number] not in ("", 0) for row in shown)]
    yield ""
    yield from table(
        [heading[number] for number in used],
        [[row[number] for number in used] for row in shown],
        columns,
        spare=("Mail", "Notices", "Used", "Kind", "Id", "Memberships", "Lose access"),
        # A number says nothing below half of its heading.
        least=LEAST_OF_TEXT if what == "event" else max(map(len, heading)),
    )
    if len(cells) > len(shown):
        yield (
            "More owners: --by owner." if what == "other owner" else f"There are more {what}s: --first all shows them."
        )


def _token(one: TokenEvent) -> dict[str, Any]:
    return {
        "night": str(one.night),
        "rule": one.rule.name,
        "effect": one.rule.effect.value,
        "difference": one.difference.value,
        "works_until_then": one.worked,
        "id": one.id,
        "kind": one.kind.value,
        "account": one.account,
        "owner": one.owner,
        "name": one.name,
        "expires_at": None if one.expires_at is None else str(one.expires_at),
        "state": one.state,
        "owner_state": one.owner_state,
        "last_used_at": one.last_used_at,
        "notices": [{"night": str(night), "notice": name} for night, name in one.notices],
        "told": list(one.told),
        "calls_a_day": None if one.calls_a_day is None else round(one.calls_a_day, 1),
    }


def _owner(one: OwnerEvents) -> dict[str, Any]:
    return {
        "owner_type": one.owner.type.value,
        "owner_id": one.owner.id,
        "owner": one.owner.name,
        "first": str(one.first),
        "anyway": one.anyway,
        "change": one.change,
        "spared": one.spared,
        "deleted": one.deleted,
    }


def _flat(value: Any) -> Any:
    """A value as a cell: a space is between several."""
    if isinstance(value, list):
        return " ".join(f"{one['night']}/{one['notice']}" if isinstance(one, dict) else one for one in value)
    return str(value).lower() if isinstance(value, bool) else value


def _owner_name(one: OwnerEvents) -> str:
    if one.owner.name is None:
        return f"({nobody(None if one.of_bot else one.owner.type)})"
    return printable(one.owner.name)


def _near(day: date, today: date) -> str:
    return ExpirationDate.of(day).beside(ExpirationDate.of(today))


def _verb(number: int, plural: str, singular: str = "") -> str:
    return (singular or f"{plural}s") if number == 1 else plural


def _its(number: int) -> str:
    return "its" if number == 1 else "their"
