"""How a page for a browser looks: one file of HTML that asks nothing of a network and needs no script."""

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tokens.call import ARROW
from tokens.counts import counted
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind
from tokens.inventory.forecast import Bucket, Day, Forecast
from tokens.inventory.policy import facts
from tokens.inventory.report_rows import Report
from tokens.selection import Selection
from tokens.targets.instance import Instance
from tokens.terminal.printable import printable
from tokens.version import __version__
from tokens.views.logged import reach
from tokens.views.owner import nobody
from tokens.views.times import near, with_weekday

PAGES = Path(__file__).parent / "pages"
LEVELS = 4  # shades of the calendar, beside the one of nothing
LONGEST = 100  # characters of a name or path that are shown
SHORTEST = 28  # and of one beside a bar
MOST_MONTHS = 36
MOST_BUCKETS = 400

# Nobody's address gets into a page unasked, not even as a part of a token's name.
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")

HEADS = {
    "id": ("Id", "n"),
    "expires_at": ("Expires", "d"),
    "ends_on": ("Ends", "d"),
    "kind": ("Kind", "d"),
    "owner": ("Owner", "w"),
    "email": ("E-mail", "w"),
    "name": ("Name", "w"),
    "created_at": ("Created", "d"),
    "last_used_at": ("Last used", "d"),
}
SECTIONS = {
    "policy": "Policy",
    "calendar": "Twelve months",
    "next": "What ends next",
    "kinds": "By kind",
    "owners": "Who has most to do",
    "tried": "Dead but tried",
    "unwarned": "Nobody is warned",
    "idle": "Never used",
    "bots": "Bots",
    "others": "Other credentials",
}
EVERY_KIND: tuple[Kind | OtherKind, ...] = (*Kind, *OtherKind)
OWNER_KINDS = {"User": "account", "Project": "project", "Namespace": "group"}


@dataclass(frozen=True)
class Cell:
    """A day in a calendar: where it is, and how dark, from 0 for nothing to LEVELS."""

    day: int
    column: int
    row: int
    level: int
    words: str


@dataclass(frozen=True)
class Month:
    """A month in a calendar; `fullest` is the first of the days with the most tokens, None where there is none."""

    name: str
    first: str
    cells: tuple[Cell, ...]
    tokens: int
    by_kind: dict[Kind | OtherKind, int]
    fullest: str | None
    most: int
    noun: str = "token"

    @property
    def words(self) -> str:
        """What a person hears who does not see the picture."""
        if self.fullest is None:
            return f"{self.name}: no {self.noun} expires"
        return f"{self.name}: {counted(self.tokens, self.noun)}, most of them on {self.fullest}: {self.most:,}"


def report_page(
    report: Report,
    instance: Instance,
    selection: Selection,
    *,
    emails: bool = False,
    team: str | None = None,
) -> str:
    """The page about a whole instance, or about a selection of its tokens.

    Args:
        report: what it says.
        instance: whose tokens they are.
        selection: which of them.
        emails: whether addresses are shown; else they are left out of names, too.
        team: the group that the page is for alone.
    """
    months = list(calendar(report.forecast))
    return (
        _environment(emails=emails)
        .get_template("report.html")
        .render(
            **_frame(instance, selection),
            title=f"Access tokens of {team or instance.name or 'this GitLab'}",
            rows="; ".join(_rows(report, about_tokens=bool(selection.kinds))),
            report=report,
            sections=[(key, name) for key, name in SECTIONS.items() if key != "tried" or report.tried is not None],
            log="" if report.usage is None else reach(report.usage),
            policy=[(fact.subject, fact.text.partition(ARROW)[0]) for fact in facts(report.demands)],
            months=months,
            kinds_coming=_kinds(report.forecast.days),
            noun=_noun(report.forecast),
            active=sum(kind.active for kind in report.kinds),
            most_active=max((kind.active for kind in report.kinds), default=0) or 1,
            email=["email"] if emails else [],
            any_revoked=any(kind.revoked for kind in report.kinds),
            owner_kinds=OWNER_KINDS,
            about_tokens=bool(selection.kinds),
            others_notes=[note.partition(ARROW)[0] for note in report.others.notes],
            selection_has_others=bool(selection.others),
            others_soon=sum(kind.month or 0 for kind in report.others.named),
            others_coming={kind: number for kind, number in report.others.coming.items() if number},
            others_unseen=[kind for kind, number in report.others.coming.items() if number is None],
        )
    )


def forecast_page(
    forecast: Forecast,
    buckets: Sequence[Bucket],
    instance: Instance,
    selection: Selection,
    *,
    largest: bool,
) -> str:
    """A forecast as a page: the days as a calendar, and the buckets as bars, or the fullest days where `largest`."""
    months = list(calendar(forecast))
    return (
        _environment(emails=False)
        .get_template("forecast.html")
        .render(
            **_frame(instance, selection),
            title=f"Tokens that expire on {instance.name or 'this GitLab'}",
            rows=counted(min(len(buckets), MOST_BUCKETS), "row") + f" of {len(buckets):,}",
            forecast=forecast,
            months=months[:MOST_MONTHS],
            months_left_out=len(months[MOST_MONTHS:]),
            heading="The fullest days" if largest else "Step by step",
            buckets=buckets[:MOST_BUCKETS],
            left_out=len(buckets[MOST_BUCKETS:]),
            most=max((bucket.tokens for bucket in buckets), default=0) or 1,
            kinds_coming=_kinds(forecast.days),
            noun=_noun(forecast),
        )
    )


def calendar(forecast: Forecast) -> Iterator[Month]:
    """The months of a forecast, with a cell for each of its days."""
    noun = _noun(forecast)
    days = {day.day: day for day in forecast.days}
    most = max((day.tokens for day in forecast.days), default=0)
    first = forecast.first
    while first <= forecast.last:
        last = min((first.replace(day=1) + timedelta(31)).replace(day=1) - timedelta(1), forecast.last)
        inside = [days.get(first + timedelta(n), Day(first + timedelta(n), {})) for n in range((last - first).days + 1)]
        fullest = max(inside, key=lambda day: day.tokens)
        shift = first.replace(day=1).weekday()
        yield Month(
            f"{first:%b %Y}",
            first.isoformat(),
            tuple(_cell(day, shift, most, noun) for day in inside),
            sum(day.tokens for day in inside),
            {kind: sum(day.by_kind.get(kind, 0) for day in inside) for kind in EVERY_KIND},
            fullest.day.isoformat() if fullest.tokens else None,
            fullest.tokens,
            noun,
        )
        first = last + timedelta(1)


def level(tokens: int, most: int) -> int:
    """How dark a day is: each shade stands for several times as much as the one before.

    >>> level(0, 1565353), level(1, 1565353), level(40000, 1565353), level(1565353, 1565353), level(1, 1)
    (0, 1, 3, 4, 4)
    """
    if tokens == 0:
        return 0
    if tokens == most:
        return LEVELS
    return 1 + int((LEVELS - 1) * math.log(tokens) / math.log(most))


def _noun(forecast: Forecast) -> str:
    """What is counted: tokens, unless other kinds were named."""
    return "credential" if forecast.kinds else "token"


def _cell(day: Day, shift: int, most: int, noun: str) -> Cell:
    at = day.day.day - 1 + shift
    words = f"{with_weekday(day.day)}: {counted(day.tokens, noun)}"
    return Cell(day.day.day, at % 7, at // 7, level(day.tokens, most), words)


def _away(day: ExpirationDate) -> str:
    """The weekday, and how far away it is."""
    return near(day).removeprefix(str(day)).strip()


def _kinds(days: Iterable[Day]) -> list[Kind | OtherKind]:
    """The kinds that there are."""
    found = {kind for day in days for kind, tokens in day.by_kind.items() if tokens}
    return [kind for kind in EVERY_KIND if kind in found]


def _rows(report: Report, *, about_tokens: bool) -> Iterator[str]:
    """How many rows the tables have, and of how many."""
    of_tokens = {
        "ending": (len(report.soonest.rows), report.soonest.total),
        "owners": (len(report.owners.rows), report.owners.total),
        "without a warning": (len(report.unwarned.rows), report.unwarned.total),
        "idle": (len(report.idle.rows), report.idle.total),
    }
    counts = of_tokens if about_tokens else {}
    if report.others.named:
        counts["other credentials"] = (len(report.others.soonest.rows), report.others.soonest.total)
    if report.bots is not None and about_tokens:
        counts["bots"] = (len(report.bots.rows), report.bots.total)
    if report.tried is not None:
        counts["dead but tried"] = (len(report.tried.rows), report.tried.total)
    return (f"{name} {shown:,} of {total:,}" for name, (shown, total) in counts.items())


def _frame(instance: Instance, selection: Selection) -> dict[str, Any]:
    """What every page has around it."""
    style, script = (_source(name) for name in ("style.css", "sort.js"))
    return {
        "instance": str(instance),
        "selection": str(selection) or "everything",
        "moment": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "version": __version__,
        "style": Markup(style),  # noqa: S704 - ours
        "style_hash": _hash(style),
        "script": Markup(script),  # noqa: S704 - ours
        "script_hash": _hash(script),
    }


def _source(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """By which a page lets a browser run this, and nothing that a token's name may bring along."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _environment(*, emails: bool) -> Environment:
    """What fills the pages in: whatever comes from a database is escaped."""
    found = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def shown(text: str) -> str:
        """Harmless, without what would turn or hide it, and not endless."""
        text = printable(text)
        return _short(text if emails else ADDRESS.sub("(address)", text), LONGEST)

    found.filters.update(
        shown=shown, short=lambda text: _short(text, SHORTEST), counted=counted, token_head=HEADS.__getitem__
    )
    found.filters["away"] = _away
    found.globals["nobody"] = nobody
    found.globals["kinds_heads"] = lambda kinds: [(kind.value.capitalize(), "n") for kind in kinds]
    return found


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
