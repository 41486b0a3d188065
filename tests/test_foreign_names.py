"""Names that anybody may give to a token, an account or a group break no table, file, metric and terminal."""

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
import sqlalchemy as sa
from icalendar import Calendar
from prometheus_client.parser import text_string_to_metric_families

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_token, make_user
from tests.testbed.instance import TODAY, Instance
from tokens.terminal.paragraphs import width

NAMES = {
    "emoji": "🚀 deploy 👩\u200d👩\u200d👧 🇩🇪 ❤\ufe0f",
    "wide": "部署トークン" * 20,
    "right to left": "رمز النشر שלום",
    "turned around": "\u202egnp.exe\u2066 \u200f\u061c",
    "stacked": "Z\u0351\u036b\u0343\u036a\u0302" * 40,
    "control": "a\tb\r\nc\x0bd\x0ce\x7ff\x85g\u2028h\u2029i\x01",
    "escapes": "\x1b[2J\x1b]0;title\x07\x1b]52;c;aGk=\x1b\\\x1bPq\x1b\\\x9b31m\x1b[?1049h",
    "long": "x" * 10_240,
    "long words": "many words " * 931,
    "formula": "=cmd|' /C calc'!A0",
    "formula behind a blank": " \u00a0+1;=HYPERLINK(\"http://x\")",
    "formula in full width": "\uff1dSUM(1)\t-2",
    "quoted": '"a",b;c\'d\\"e\\n',
    "page": "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;",
    "attribute": "\" onmouseover='alert(1)' x=\"`${7*7}{{7*7}}{%x%}",
    "metric": 'a"} 1\ngitlab_tokens{kind="x',
    "nagios": "| expiring=0;0;0",
    "number": "-5",
    "date": "2024-01-01",
    "nothing": " ",
    "template": "%(name)s %s {0} {name}",
}  # fmt: skip

SHOWN = (
    "id",
    "expires_at",
    "in_days",
    "kind",
    "account",
    "owner",
    "name",
    "description",
    "email",
    "created_by",
    "told",
)
FEW = ("list", "--columns", "id,kind,owner,name")

FORMULA = re.compile(r"""[ "]*[=+@\t\r\uff1d\uff0b\uff0d\uff20]|[ "]*-(?!\d)""")


@pytest.fixture
def named(instance: Instance, request: pytest.FixtureRequest) -> Instance:
    """The `instance` with one token of a person and one of a group's bot, all of whose names are the parameter's.

    The group is in the group `plain`, by which it can be selected.
    """
    name = NAMES[request.param]
    short = name[:200]  # an index has no room for more
    with make_engine(instance.address).begin() as connection:
        connection.execute(sa.text("TRUNCATE public.personal_access_tokens CASCADE"))
        person = make_user(connection, username=short, name=short, email=short)
        group = make_group(connection, path=short, name=short)
        parent = make_group(connection, path="plain")
        moved = "UPDATE public.namespaces SET parent_id = :parent, traversal_ids = ARRAY[:parent, id] WHERE id = :group"
        connection.execute(sa.text(moved), {"parent": parent, "group": group})
        make_membership(connection, user_id=person, group_id=group, access_level=50)
        bot = make_user(connection, username=short, user_type=6, created_by_id=person)
        make_membership(connection, user_id=bot, group_id=group)
        for owner in (person, bot):
            make_token(connection, user_id=owner, name=name, description=short, expires_at=f"{TODAY.year + 1}-12-24")
    return instance


def rows(printed: str) -> list[str]:
    """The lines of a text in which nothing is but what can be seen."""
    assert printed.endswith("\n")
    lines = printed.removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    return lines


OFTEN = ("escapes", "turned around", "page", "formula")  # the others are for runs that have the time
every_name = pytest.mark.parametrize(
    "named",
    [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in NAMES],
    indirect=True,
)


@every_name
def test_a_table_has_a_line_a_token(named: Instance) -> None:
    for words in (["list"], ["list", "--wide"], ["list", "--columns", ",".join(SHOWN)]):
        lines = rows(named.done(*words))
        assert len(lines) == 3
        assert [line.split()[0] for line in lines[1:]] == ids(named)


@pytest.mark.parametrize("named", ["wide", "turned around", "stacked", "escapes", "long"], indirect=True)
@pytest.mark.parametrize("columns", [80, 30])
def test_a_table_fits_the_terminal(named: Instance, columns: int) -> None:
    with named.terminal(*FEW, size=(50, columns)) as program:
        assert program.wait() == 0
        text = re.sub(r"\x1b\[[0-9;]*m", "", program.raw.decode()).replace("\r\n", "\n")
    lines = rows(text)
    assert max(map(width, lines)) <= columns
    assert [id_ for id_ in ids(named) if any(re.search(rf"\b{id_}\b", line) for line in lines)] == ids(named)


@every_name
def test_programs_get_the_names_as_they_are(named: Instance, request: pytest.FixtureRequest) -> None:
    name = NAMES[request.node.callspec.params["named"]]
    document = named.json("list", "--columns", ",".join(SHOWN))["tokens"]
    printed = named.done("list", "--columns", ",".join(SHOWN), "--output", "ndjson")
    assert [json.loads(line) for line in rows(printed)] == document
    short = name[:200]
    assert [(one["name"], one["description"], one["owner"]) for one in document] == [(name, short, short)] * 2
    assert [(one["created_by"], one["told"]) for one in document] == [(None, []), (short, [short])]
    assert rows(named.done("list", "--output", "ids")) == ids(named)


@every_name
def test_a_spreadsheet_gets_a_row_a_token_and_no_formula(named: Instance) -> None:
    printed = named.done("list", "--columns", ",".join(SHOWN), "--output", "csv")
    assert len(rows(printed)) == 3
    table = list(csv.reader(io.StringIO(printed)))
    assert [row[0] for row in table[1:]] == ids(named)
    assert {len(row) for row in table} == {len(SHOWN)}
    assert not [cell for row in table for cell in row if FORMULA.match(cell)]
    # Some spreadsheets split at semicolons, and then quotes do not count.
    assert not [part for row in table for cell in row for part in cell.split(";") if FORMULA.match(part)]


def is_a_page(printed: str) -> bool:
    """Whether it has no element and no attribute that a name could have brought along."""
    elements: list[str] = []
    attributes: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            elements.append(tag)
            attributes.update(name for name, _ in attrs)

    Reader().feed(printed)
    handlers = [name for name in attributes if name.startswith("on")]
    return elements.count("script") == 1 and "img" not in elements and not handlers and "style" not in attributes


def events(printed: str) -> list[str]:
    """What a calendar says, which has a line an item."""
    rows(printed)
    return [str(event["SUMMARY"]) for event in Calendar.from_ical(printed).walk("VEVENT")]


VIEWS: dict[str, Callable[[str], object]] = {
    "check --warn 3y --each": lambda printed: len(rows(printed)) == 3,
    "check --warn 3y --each --output nagios": lambda printed: [row.count("|") for row in rows(printed)] == [1, 0, 0],
    "check --warn 3y --each --output json": json.loads,
    "check --each --output prometheus": lambda printed: [
        family
        for family in text_string_to_metric_families(printed)
        if family.name == "gitlab_token_expiration_timestamp_seconds" and len(family.samples) == 2
    ],
    "forecast --until 3y --group plain --output ics": lambda printed: (
        [bool(re.fullmatch(r"1 token of .* expires", event)) for event in events(printed)] == [True]
    ),
    "report": is_a_page,
}
"""What shows names, and what reads it as its own reader would."""

NUMBERS: dict[str, Callable[[str], object]] = {
    "forecast": rows,
    "forecast --sort tokens": rows,
    "forecast --output json": json.loads,
    "forecast --output csv": lambda printed: [len(row) == 9 for row in csv.reader(rows(printed))],
    "forecast --output html": is_a_page,
    "simulate --nights 3y": rows,
    "simulate --nights 3y --output json": json.loads,
    "simulate --nights 3y --output csv": lambda printed: [len(row) == 17 for row in csv.reader(rows(printed))],
    "breakdown": rows,
    "breakdown --output json": json.loads,
    "check --warn 3y": lambda printed: re.fullmatch(r"TOKENS WARNING - 2 tokens [^|\n]*\n", printed),
    "check --warn 3y --output nagios": lambda printed: re.fullmatch(r"TOKENS WARNING - [^|\n]* \| [^|\n]*\n", printed),
    "check --warn 3y --output json": json.loads,
    "check --output prometheus": lambda printed: list(text_string_to_metric_families(printed)),
}


@every_name
def test_a_name_stays_in_its_place_in_every_view(named: Instance) -> None:
    read(named, VIEWS)


@pytest.mark.slow
@pytest.mark.parametrize("named", ["control", "page", "metric", "nagios"], indirect=True)
def test_numbers_about_tokens_stay_numbers(named: Instance) -> None:
    read(named, NUMBERS)


def read(instance: Instance, views: dict[str, Callable[[str], object]]) -> None:
    for words, is_right in views.items():
        done = instance.run(*words.split())
        assert done.returncode in (0, 1, 5), done
        assert done.stderr == ""
        assert is_right(done.stdout), words


def ids(instance: Instance) -> list[str]:
    return [str(id_) for id_ in sorted(instance.dates())]
