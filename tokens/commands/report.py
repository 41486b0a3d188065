"""`report`: a page to look at and to hand over."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.logged import located
from tokens.commands.show import show
from tokens.commands.whole_file import check, replace
from tokens.errors import UsageError
from tokens.inventory.report import report as report_of
from tokens.selection import Selection
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.usage.files import Log
from tokens.views.page import report_page

EXAMPLE = "tokens.html"
FOR_ITS_OWNER = 0o600  # it says whose tokens are whose


@dataclass(frozen=True)
class PageContents:
    """What the page is to have: the owners' addresses, and whether it is for one team and says nothing of others."""

    emails: bool
    only: bool


def contents(_: Environment, with_emails: bool, only: bool) -> PageContents:
    """What these options mean."""
    return PageContents(with_emails, only)


def report(
    environment: Environment,
    locate: Locate,
    selection: Selection,
    contents: PageContents,
    logs: Sequence[Log] | None,
    file: str | None,
) -> None:
    """Write the page about the tokens of `selection`, or print it where no file is named.

    Raises:
        UsageError: a page for one team without its group, or one that would run over a terminal.
        TokensError: see `tokens.errors`.
    """
    if contents.only and not selection.groups:
        raise UsageError("--only makes the page of one team: use --group with it.")
    if file is None and console.is_terminal(environment.stdout):
        raise UsageError("The page is for a browser: use --file, such as --file tokens.html.")
    site, usage = located(environment, locate, logs)
    if file is not None:
        check(Path(file), example=EXAMPLE)  # as the user who writes it
    with environment.announced("Reading the tokens"):
        found = report_of(
            site.address,
            selection,
            release=site.release,
            ci=site.ci,
            emails=contents.emails,
            only=contents.only,
            usage=usage,
        )
    environment.note(found.others.notes)
    page = report_page(
        found,
        described(site),
        selection,
        emails=contents.emails,
        team=", ".join(selection.groups) if contents.only else None,
    )
    if file is None:
        show(environment, "html", html=lambda: page)
        return
    replace(Path(file), page.encode(), FOR_ITS_OWNER, example=EXAMPLE)
    environment.print_prose(f"Written to {file}: open it in a browser.")
