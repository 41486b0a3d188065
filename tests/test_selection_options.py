"""The selection that options make, and what is said of those that make none."""

import inspect
import io
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tokens.cli import values as declared
from tokens.commands.environment import Environment
from tokens.commands.options.selecting import KINDS, OTHER_KINDS, OWNER_STATES, STATES, read_ids, selection
from tokens.errors import UsageError
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind, State
from tokens.selection import DateRange, Selection
from tokens.tasks.options import LEAVE_OUT, PERIODS, SELECTING


def days(first: str, last: str | None = None) -> DateRange:
    return DateRange(ExpirationDate.typed(first), ExpirationDate.typed(last or first))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


JUNE_15 = days("2024-06-15")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Selection((JUNE_15,))),
        ({"expires": ["none"]}, Selection((None,))),
        (
            {"expires": ["2024-06-15,none", " 2024-06-01 .. 2024-06-30 "]},
            Selection((JUNE_15, None, days("2024-06-01", "2024-06-30"))),
        ),
        ({"expires": ["2024-06-15", "2024-06-15..2024-06-15,2024-06-15"]}, Selection((JUNE_15,))),
        (
            {"kind": ["personal,impersonation", "service-account"]},
            Selection((JUNE_15,), kinds=frozenset({Kind.PERSONAL, Kind.IMPERSONATION, Kind.SERVICE_ACCOUNT})),
        ),
        (
            {"state": ["expired, revoked"]},
            Selection((JUNE_15,), states=frozenset({State.EXPIRED, State.REVOKED})),
        ),
        (
            {"user": ["erika,Max", "erika"], "group": ["/group/sub/"], "project": ["group/project"]},
            Selection((JUNE_15,), users=("erika", "Max"), groups=("group/sub",), projects=("group/project",)),
        ),
        (
            {"name": " ci, nightly *", "scope": ["api,sudo"]},
            Selection((JUNE_15,), name=" ci, nightly *", scopes=("api", "sudo")),
        ),
        (
            {
                "last_used_before": "2024-01-01",
                "last_used_after": "2023-01-01",
                "created_before": "2022-02-28",
                "created_after": "0001-01-01",
            },
            Selection(
                (JUNE_15,),
                last_used_before=date(2024, 1, 1),
                last_used_after=date(2023, 1, 1),
                created_before=date(2022, 2, 28),
                created_after=date(1, 1, 1),
            ),
        ),
        ({"ids": "-"}, Selection((JUNE_15,), ids=(1, 3))),
    ],
)
def test_options_make_a_selection(options: dict[str, Any], expected: Selection) -> None:
    environment = Environment(io.StringIO("3 1"), None, None)
    assert selection(environment, **{"expires": ["2024-06-15"], **options}) == expected


@pytest.mark.parametrize(
    ("option", "given", "found"),
    [
        ("group", "https://gitlab.example.com/web", "web"),
        ("group", "HTTPS://GitLab.Example.com:8443/groups/web/tools/-/settings/access_tokens?page=2#top", "web/tools"),
        ("group", "https://another.example.org/admin/groups/web/", "web"),
        ("project", "https://erika:secret@gitlab.example.com/web/api/-/tree/main", "web/api"),
        ("project", "http://localhost/web/api.git", "web/api"),
        ("project", "https://gitlab.example.com/web/h%C3%BClle", "web/hülle"),
        ("user", "https://gitlab.example.com/erika", "erika"),
        ("user", "https://gitlab.example.com/users/erika/activity", "erika"),
        ("user", "@erika", "erika"),
    ],
)
def test_a_url_from_a_browser_names_what_its_page_is_about(option: str, given: str, found: str) -> None:
    options: dict[str, Any] = {option: [given]}
    made = selection(Environment.of_process(), expires=["2024-06-15"], **options)
    assert getattr(made, f"{option}s") == (found,)


@pytest.mark.parametrize("url", ["https://erika:secret@gitlab.example.com", "https://gitlab.example.com/-/profile"])
def test_a_url_that_is_about_none_is_refused_in_one_line_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        selection(Environment.of_process(), expires=["2024-06-15"], group=[url])
    assert str(refused.value) == "--group takes the URL of a page about one group, which this is not."


EXPIRES = (
    "a day (2026-12-04, today, +14d), a month (2026-12), a range of these (2026-12-04..2026-12-11, ..+14d), or none"
)
CHOOSE = (
    "Use --within, --expired-within, --ids or --expires to choose tokens; --expires takes "
    f"{EXPIRES} for those that never expire."
)
DAY = "a day such as 2026-06-15, today or today-14d"
OFFERED = "personal, impersonation, project, group, service-account or other"
NOTHING = "was given nothing, or nothing between two commas; give a value or leave it out."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expires": None}, CHOOSE),
        ({"expires": []}, CHOOSE),
        ({"expires": [""]}, f"--expires {NOTHING}"),
        ({"expires": ["2024-06-15,"]}, f"--expires {NOTHING}"),
        ({"expires": ["never"]}, f'--expires takes {EXPIRES}, not "never".'),
        ({"expires": ["2024-02-30"]}, "--expires takes days of the calendar, and that has no 2024-02-30."),
        ({"expires": ["2024-06..2024-13"]}, "--expires takes days of the calendar, and that has no 2024-13."),
        ({"created_after": "2023-02-29"}, "--created-after takes days of the calendar, and that has no 2023-02-29."),
        ({"created_after": "2023-13"}, f'--created-after takes {DAY}, not "2023-13".'),
        ({"expires": [".."]}, f'--expires takes {EXPIRES}, not "..".'),
        ({"expires": ["none..2024-06-15"]}, f'--expires takes {EXPIRES}, not "none..2024-06-15".'),
        (
            {"expires": ["2024-06-30..2024-06-01"]},
            "--expires 2024-06-30..2024-06-01 ends before it begins; did you mean 2024-06-01..2024-06-30?",
        ),
        ({"kind": ["bot"]}, f'--kind takes {OFFERED}, not "bot".'),
        ({"kind": ["Personal"]}, f'--kind takes {OFFERED}, not "Personal" (did you mean "personal"?).'),
        (
            {"kind": ["servce-account"]},
            f'--kind takes {OFFERED}, not "servce-account" (did you mean "service-account"?).',
        ),
        ({"state": ["actve"]}, '--state takes active, expired or revoked, not "actve" (did you mean "active"?).'),
        ({"state": ["dead"]}, '--state takes active, expired or revoked, not "dead".'),
        ({"kind": [""]}, f"--kind {NOTHING}"),
        ({"user": ["erika,,max"]}, f"--user {NOTHING}"),
        ({"group": ["/"]}, "--group was given nothing; give a value or leave it out."),
        ({"name": ""}, "--name was given nothing; give a value or leave it out."),
        ({"name": "\udcff"}, "--name takes text in UTF-8, as GitLab keeps it; check the terminal's encoding."),
        *(
            (
                {option: value if option == "name" else [value]},
                f"--{option} takes 1,000 characters at most, but was given 70,000.",
            )
            for option in ("user", "group", "project", "name", "scope")
            for value in ("x" * 70_000,)
        ),
        ({"created_after": "yesterday"}, f'--created-after takes {DAY}, not "yesterday".'),
        ({"last_used_before": ""}, f'--last-used-before takes {DAY}, not "".'),
        ({"within": "30d"}, "--expires and --within both choose dates: use one of them."),
        (
            {"expires": None, "within": "30d", "state": ["expired"]},
            "--within is about tokens that are active, so --state has to have that, too.",
        ),
        ({"expires": None, "within": "soon"}, '--within takes a period such as 30d, 2w, 3m or 1y, not "soon".'),
        ({"owner_state": ["gone"]}, '--owner-state takes active, blocked, banned or deactivated, not "gone".'),
        ({"ids": ""}, "--ids takes a file with token ids, or - for standard input; it was given nothing."),
    ],
)
def test_what_makes_no_selection_is_said_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        selection(Environment(None, None, None), **{"expires": ["2024-06-15"], **options})
    assert str(raised.value) == message


def test_every_option_has_a_sentence_of_help_and_a_default() -> None:
    parameters = inspect.signature(selection).parameters
    options = (*SELECTING, *PERIODS, LEAVE_OUT)
    assert all(option.help for option in options)
    assert ["environment", *(option.name for option in options), "needs_expires", "knows_others"] == list(parameters)
    assert {option.name: option.default for option in options} == {
        option.name: parameters[option.name].default for option in options
    }
    assert all(option.several == ("Several:" in option.help) for option in SELECTING)


def test_every_kind_that_can_be_named_and_every_state_is_offered() -> None:
    assert set(KINDS) == set(Kind)
    assert set(STATES) == set(State)
    assert ", ".join(KINDS) == declared.KINDS
    assert ", ".join(OTHER_KINDS) == declared.OTHER_KINDS
    assert ", ".join(STATES) == declared.STATES
    assert ", ".join(OWNER_STATES) == declared.OWNER_STATES


def test_the_help_can_be_shown_without_the_driver() -> None:
    program = "import sys, tokens.namespace; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("1", (1,)),
        ("3\n1, 2\n", (1, 2, 3)),
        ("\ufeff12,13\r\n14\r\n\r\n", (12, 13, 14)),
        ("# from the audit\n7 # ours\n\t7,7,,8#9\n", (7, 8)),
        (f"{2**63 - 1} 007", (7, 2**63 - 1)),
    ],
)
def test_ids_are_read_from_a_file_and_from_standard_input(tmp_path: Path, text: str, ids: tuple[int, ...]) -> None:
    file = tmp_path / "ids"
    file.write_text(text, encoding="utf-8")
    assert read_ids(str(file), None) == ids
    assert read_ids("-", io.StringIO(text)) == ids


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "1_000", "x", str(2**63), "٣", "9" * 5000, "\x00"])
def test_what_is_no_id_is_named_with_its_line(word: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_ids("-", io.StringIO(f"1\n# 2\n3 {word}\n"))
    assert str(raised.value) == "--ids takes ids of tokens, but line 3 of standard input has something else."


def test_ids_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe1")
    closed = io.StringIO("1")
    closed.close()
    for source, stdin, message in (
        (str(tmp_path / "missing"), None, f'--ids cannot read "{tmp_path}/missing": No such file or directory.'),
        (str(tmp_path), None, f'--ids cannot read "{tmp_path}": Is a directory.'),
        ("a\0b", None, '--ids cannot read "a\0b": embedded null byte.'),
        (str(tmp_path / "empty"), None, f'--ids found no token ids in "{tmp_path}/empty".'),
        (str(tmp_path / "binary"), None, f'--ids reads "{tmp_path}/binary", which is not text; give token ids.'),
        ("-", io.StringIO(""), "--ids found no token ids in standard input."),
        ("-", None, "--ids - reads standard input, which is closed; give a file."),
        ("-", closed, "--ids - reads standard input, which is closed; give a file."),
        ("-", Terminal("1"), "--ids - reads standard input, which is a terminal here; give a file or a pipe."),
    ):
        with pytest.raises(UsageError) as raised:
            read_ids(source, stdin)
        assert str(raised.value) == message
