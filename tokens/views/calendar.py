"""How a forecast looks in a calendar: iCalendar (RFC 5545), one event a date and owner, without names of tokens."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from icalendar import Alarm, Calendar
from icalendar import Event as CalendarEvent
from icalendar.enums import TRANSP

from tokens.call import current
from tokens.counts import counted
from tokens.gitlab.kind import Kind
from tokens.inventory.forecast import Event, Owner, OwnerType
from tokens.selection import Selection
from tokens.targets.instance import Instance
from tokens.terminal.printable import printable
from tokens.version import __version__

AHEAD = timedelta(days=7)
"""How long before the day a calendar reminds of it."""

OPTIONS = {OwnerType.USER: "--user", OwnerType.PROJECT: "--project", OwnerType.GROUP: "--group"}


def lines(events: Iterable[Event], instance: Instance, selection: Selection, made_at: datetime) -> Iterator[str]:
    """The lines of a calendar, each with the carriage return that belongs before its end; `made_at` is in UTC.

    The calendar of a selection and its events keep their UIDs, whatever an owner or GitLab's release is called by then.
    """
    calendar = Calendar.new(
        uid=_uid(instance, "calendar", str(selection)),
        prodid=f"-//invoke-gitlab-tokens//gitlab-tokens {__version__}//EN",
        name=f"Tokens of {printable(instance.name or 'GitLab')} that expire",
    )
    for event in events:
        calendar.add_component(_event(event, instance, made_at))
    yield from (f"{line}\r" for line in calendar.to_ical().decode().split("\r\n")[:-1])


def _event(event: Event, instance: Instance, made_at: datetime) -> CalendarEvent:
    owner = event.owner
    of = f" of {_name(owner)}" if owner else ""
    ends = [
        *([f"{counted(event.tokens, 'token')}{of} {_verb('expire', event.tokens)}"] if event.tokens else []),
        *([f"{_memberships(event.memberships)} {_verb('end', event.memberships)}"] if event.memberships else []),
    ]
    found = CalendarEvent.new(
        uid=_uid(instance, str(event.day), f"{owner.type} {owner.id}" if owner else ""),
        stamp=made_at,
        start=event.day,
        summary=", ".join(ends),
        description=_description(event),
        transparency=TRANSP.TRANSPARENT,
    )
    alarm = Alarm.new(description=", ".join(ends))
    alarm.add("action", "DISPLAY")
    alarm.TRIGGER = -AHEAD
    found.add_component(alarm)
    return found


def _uid(instance: Instance, *parts: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, "\n".join([instance.url or instance.name or "", *parts]))


def _description(event: Event) -> str:
    """How many of which kind, what the end of a membership means, and the command that lists the tokens."""
    found = [f"{counted(event.by_kind[kind], f'{kind} token')}" for kind in Kind if event.by_kind.get(kind)]
    if event.memberships:
        found.append("GitLab deletes a bot at the end of its membership.")
    if event.tokens:
        words: list[object] = ["--expires", event.day]
        if event.owner and event.owner.name:
            words += [OPTIONS[event.owner.type], printable(event.owner.name)]
        found.append(current().line("list", *words))
    return "\n".join(found)


def _name(owner: Owner) -> str:
    return "a bot without a membership" if owner.name is None else printable(owner.name)


def _memberships(number: int) -> str:
    return f"{counted(number, 'membership')} of bots"


def _verb(plural: str, number: int) -> str:
    return f"{plural}s" if number == 1 else plural
