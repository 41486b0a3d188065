"""`journal.*`: the record of what was changed, in GitLab's own database."""

import json
import re
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import invoke

from tokens.errors import UsageError
from tokens.tasks.output_option import require_output
from tokens.tasks.report import print_done
from tokens.tasks.target_option import TARGET_HELP, locate
from tokens.tasks.task import task
from tokens.terminal import console

if TYPE_CHECKING:
    from tokens.journal.setup import Contents, Status

OUTPUTS = ("text", "json")
DAYS = re.compile(r"(\d{1,5})d", re.ASCII)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
YES_HELP = "Do not ask. Needed where there is no terminal."


@task(
    name="journal.install",
    help={
        "target": TARGET_HELP,
        "allow": "publication: go on although logical replication will carry the journal's tables.",
        "sql": "Instead, print the statements that make its tables, to be run first on each subscriber of a "
        "publication that will carry them. Nothing is changed.",
    },
    travels=True,
)
def install(context: invoke.Context, target: str = "", allow: str = "", sql: bool = False) -> None:
    """Install the journal, or migrate it."""
    from tokens.journal import publications, setup

    words = [word.strip() for word in allow.split(",")] if allow else []
    for word in words:
        if word != publications.GUARD:
            raise UsageError(f'--allow takes {publications.GUARD}, not "{word}".')
    address = locate(context, target)
    if sql:
        print(setup.statements(address), end="")
    else:
        installed = setup.install(address, words)
        (print if installed.before == installed.revision else print_done)(str(installed))


@task(name="journal.uninstall", help={"target": TARGET_HELP, "yes": YES_HELP}, travels=True)
def uninstall(context: invoke.Context, target: str = "", yes: bool = False) -> None:
    """Remove the journal and all that it remembers."""
    _require_answer("journal.uninstall", yes)
    from tokens.journal import setup

    address = locate(context, target)
    runs = setup.runs_to_forget(address)
    if runs is None:
        print("The journal is not installed.")
    elif yes or _agreed(f"WARNING: {runs} run(s) will be forgotten, and with them the way back. Are you sure?"):
        print_done(f"The journal is uninstalled, and {setup.uninstall(address) or 0} run(s) are forgotten.")


@task(
    name="journal.status",
    help={"target": TARGET_HELP, "output": "text or json. Default: text."},
    travels=True,
)
def status(context: invoke.Context, target: str = "", output: str = "text") -> None:
    """Show whether the journal is there, and its size."""
    from tokens.journal import setup

    require_output(output, OUTPUTS)
    found = setup.status(locate(context, target))
    print(as_json(found) if output == "json" else screen(found))


@task(
    name="journal.prune",
    help={
        "target": TARGET_HELP,
        "before": "Forget the runs that were planned before this day, 00:00 UTC: YYYY-MM-DD.",
        "older_than": "The same in days before today, such as 90d.",
        "yes": YES_HELP,
    },
    travels=True,
)
def prune(context: invoke.Context, target: str = "", before: str = "", older_than: str = "", yes: bool = False) -> None:
    """Forget runs of long ago; none that is under way."""
    day = _day(before, older_than)
    _require_answer("journal.prune", yes)
    from tokens.journal import setup

    address = locate(context, target)
    runs = setup.count_prunable(address, day)
    if not runs:
        print(f"The journal has no run from before {day} to forget.")
    elif yes or _agreed(
        f"WARNING: {runs} run(s) from before {day} will be forgotten, and with them the way back. Are you sure?"
    ):
        print_done(f"{setup.prune(address, day)} run(s) from before {day} are forgotten.")


def screen(status: "Status") -> str:
    """The journal's state in lines, without the last newline."""
    from tokens.journal.installation import UNKNOWN

    if status.revision is None:
        return "Journal     not installed; tokens.journal.install installs it"
    if status.contents is None:
        older = status.revision.isdigit() and int(status.revision) < int(status.needed)
        if status.revision == UNKNOWN:
            return "Journal     does not say its revision; tokens.journal.install tells it by its tables"
        cure = "tokens.journal.install migrates it" if older else "use the version of the tool that made it"
        return f"Journal     revision {status.revision}, this version of the tool needs {status.needed}; {cure}"
    rows = {"Journal": f"installed, revision {status.revision}", **_rows(status.contents)}
    return "\n".join(f"{name:<12}{value}" for name, value in rows.items())


def as_json(status: "Status") -> str:
    """The journal's state for a program: times in ISO 8601 (UTC), sizes in bytes; null for what there is none of."""
    contents = status.contents
    return json.dumps(
        {
            "revision": status.revision,
            "needed_revision": status.needed,
            "runs": contents and contents.runs,
            "oldest": contents and contents.oldest,
            "newest": contents and contents.newest,
            "tokens": contents and contents.tokens,
            "bytes_a_token": contents and contents.bytes_a_token and round(contents.bytes_a_token, 2),
            "bytes": contents
            and {
                "total": contents.size,
                "chunks": contents.chunks_size,
                "memberships": contents.memberships_size,
                "notices": contents.notices_size,
            },
        },
        indent=2,
    )


def _rows(contents: "Contents") -> dict[str, str]:
    states = ", ".join(f"{count} {state}" for state, count in contents.runs.items() if count)
    rows = {"Runs": f"{sum(contents.runs.values())}{f': {states}' if states else ''}"}
    if contents.oldest and contents.newest:
        rows["Oldest"], rows["Newest"] = _time(contents.oldest), _time(contents.newest)
    rows["Size"] = _size(contents.size)
    each = (
        "" if contents.bytes_a_token is None else f", {contents.bytes_a_token:.1f} bytes for each of {contents.tokens}"
    )
    rows["Tokens"] = f"{_size(contents.chunks_size)} of it{each}"
    rows["Memberships"] = f"{_size(contents.memberships_size)} of it"
    rows["Notices"] = f"{_size(contents.notices_size)} of it"
    return rows


def _time(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def _size(count: int) -> str:
    return f"{count / 10**3:.0f} kB" if count < 10**7 else f"{count / 10**6:.0f} MB"


def _day(before: str, older_than: str) -> date:
    if bool(before) == bool(older_than):
        raise UsageError("journal.prune takes one of --before DATE and --older-than DAYS, such as --older-than 90d.")
    if older_than:
        days = DAYS.fullmatch(older_than.strip())
        if days is None:
            raise UsageError(f'--older-than takes a number of days such as 90d, not "{older_than}".')
        return datetime.now(UTC).date() - timedelta(days=int(days[1]))
    try:
        if DATE.fullmatch(before.strip()):
            return date.fromisoformat(before.strip())
    except ValueError:
        pass
    raise UsageError(f'--before takes a date in the form YYYY-MM-DD, not "{before}".')


def _require_answer(name: str, yes: bool) -> None:
    if not yes:
        console.require_terminal(name, "--yes")


def _agreed(question: str) -> bool:
    from tokens.terminal.prompts import Prompts

    agreed = Prompts(colour=console.has_colour(sys.stdout)).confirm(question)
    if not agreed:
        print("Aborting!")
    return agreed
