"""How what ends looks in a calendar: iCalendar (RFC 5545), one event a date and owner, without names of tokens."""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import islice

from icalendar import Alarm, Calendar, Event
from icalendar.enums import TRANSP

from tokens.call import Call, current
from tokens.counts import counted
from tokens.errors import Refused
from tokens.gitlab.kind import Kind, State
from tokens.inventory.forecast import MOST_EVENTS, Day, Owner, OwnerType
from tokens.inventory.simulation import Simulation
from tokens.selection import EVERY_KIND, Selection
from tokens.targets.instance import Instance
from tokens.terminal.printable import printable
from tokens.version import __version__
from tokens.views.forecast import criteria

AHEAD = timedelta(days=7)
"""How long before the day a calendar reminds of it."""

OPTIONS = {OwnerType.USER: "--user", OwnerType.PROJECT: "--project", OwnerType.GROUP: "--group"}


def lines(days: Iterable[Day], instance: Instance, selection: Selection, made_at: datetime) -> Iterator[str]:
    """The lines of a calendar, each with the carriage return that belongs before its end; `made_at` is in UTC.

    The calendar of a selection and its events keep their UIDs, whatever an owner or GitLab's release is called by then.
    """
    name = f"Tokens of {printable(instance.name or 'GitLab')} that expire"
    made = (_event(one, instance, selection, made_at) for one in days)
    yield from _lines(_uid(instance, "calendar", str(selection)), name, made)


def endings(found: Simulation, instance: Instance, selection: Selection, made_at: datetime) -> Iterator[str]:
    """The lines of a calendar of what stops working: an event a night, or a night and owner where owners are named.

    Raises:
        Refused: more than MOST_EVENTS events.
    """
    what = (str(selection), *(str(one) for one in found.scenario.as_dict().items()))
    name = f"Tokens of {printable(instance.name or 'GitLab')} that stop working"
    by_owner = selection.users or selection.groups or selection.projects
    numbers = _by_owner(found) if by_owner else _by_night(found)
    events = (
        _entry(
            _uid(instance, "simulation", *what, str(night), f"{owner.type} {owner.id}" if owner else ""),
            night,
            f"{counted(tokens, 'token')}{f' of {_name(owner)}' if owner else ''} {_verb('stop', tokens)} working",
            f"If {printable(str(found.scenario))}."
            if found.scenario.is_change
            else "As things are: no decision is made.",
            made_at,
        )
        for night, owner, tokens in numbers
    )
    yield from _lines(_uid(instance, "calendar of a simulation", *what), name, events)


def _by_night(found: Simulation) -> list[tuple[date, Owner | None, int]]:
    numbers: Counter[date] = Counter()
    for one in found.counts:
        if one.ends:
            numbers[one.night] += one.tokens
    return [(night, None, tokens) for night, tokens in sorted(numbers.items())]


def _by_owner(found: Simulation) -> list[tuple[date, Owner | None, int]]:
    some = islice(found.owners(None, by_night=True), MOST_EVENTS + 1)
    numbers: list[tuple[date, Owner | None, int]] = [
        (one.night or one.first, one.owner, one.dies) for one in some if one.dies
    ]
    if len(numbers) > MOST_EVENTS:
        raise Refused(f"More than {MOST_EVENTS:,} events are too many for a calendar: choose fewer owners.")
    return numbers


def _lines(uid: uuid.UUID, name: str, events: Iterable[Event]) -> Iterator[str]:
    calendar = Calendar.new(uid=uid, prodid=f"-//invoke-gitlab-tokens//gitlab-tokens {__version__}//EN", name=name)
    for event in events:
        calendar.add_component(event)
    yield from (f"{line}\r" for line in calendar.to_ical().decode().split("\r\n")[:-1])


def _event(day: Day, instance: Instance, selection: Selection, made_at: datetime) -> Event:
    owner = day.owner
    of = f" of {_name(owner)}" if owner else ""
    ends = [
        *([f"{counted(day.tokens, 'token')}{of} {_verb('expire', day.tokens)}"] if day.tokens else []),
        *([f"{_memberships(day.memberships)} {_verb('end', day.memberships)}"] if day.memberships else []),
    ]
    uid = _uid(instance, str(day.day), f"{owner.type} {owner.id}" if owner else "")
    return _entry(uid, day.day, ", ".join(ends), _description(day, selection), made_at)


def _entry(uid: uuid.UUID, day: date, summary: str, description: str, made_at: datetime) -> Event:
    """An event of a whole day, with a reminder."""
    found = Event.new(
        uid=uid,
        stamp=made_at,
        start=day,
        summary=summary,
        description=description,
        transparency=TRANSP.TRANSPARENT,
    )
    alarm = Alarm.new(description=summary)
    alarm.add("action", "DISPLAY")
    alarm.TRIGGER = -AHEAD
    found.add_component(alarm)
    return found


def _uid(instance: Instance, *parts: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, "\n".join([instance.url or instance.name or "", *parts]))


def _description(day: Day, selection: Selection) -> str:
    """How many of which kind, what the end of a membership means, and the command that lists the tokens."""
    found = [f"{counted(day.by_kind[kind], f'{kind} token')}" for kind in Kind if day.by_kind.get(kind)]
    if day.memberships:
        found.append("GitLab deletes a bot at the end of its membership.")
    owner = day.owner
    # Ids may be in no file any more, and no option chooses bots that have lost their place.
    is_told = owner is None or (owner.name and (owner.type is not OwnerType.USER or "/" not in owner.name))
    if day.tokens and selection.ids is None and is_told:
        found.append(Call(target=current().target).line("list", *_choosing(day, selection)))  # read elsewhere
    return "\n".join(found)


def _choosing(day: Day, selection: Selection) -> Iterator[object]:
    """The options of `list` that choose the tokens of an event."""
    yield from ("--expires", day.day)
    if selection.kinds not in (None, EVERY_KIND) or selection.others:
        named = [*(kind for kind in Kind if kind in (selection.kinds or ())), *selection.others]
        yield from ("--kind", ",".join(sorted(named)))
    if selection.states != {State.ACTIVE}:
        yield from ("--state", ",".join(sorted(selection.states)))
    if day.owner and day.owner.name:
        selection = replace(selection, users=(), groups=(), projects=())
        yield from (OPTIONS[day.owner.type], printable(day.owner.name))
    yield from criteria(selection)


def _name(owner: Owner) -> str:
    return "a bot without a membership" if owner.name is None else printable(owner.name)


def _memberships(number: int) -> str:
    return f"{counted(number, 'membership')} of bots"


def _verb(plural: str, number: int) -> str:
    return f"{plural}s" if number == 1 else plural
