"""`used`: what uses these tokens, from where, and which dead ones are still being tried."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tokens.commands import whole_file
from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.options.days import day_of
from tokens.commands.options.logs import logs_named
from tokens.commands.options.values import FIRST, number_or_all
from tokens.commands.show import show
from tokens.errors import UsageError
from tokens.gitlab.rate_limits import RateLimit, ban_of
from tokens.inventory.used import KnownToken, chosen, known
from tokens.selection import EVERYTHING, Selection
from tokens.targets.here.instance_url import GITLAB_YML, UnusableFile, by_text, production
from tokens.targets.here.log import api_log
from tokens.targets.here.site import Site
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.usage.files import Log, opened, rotated
from tokens.usage.reading import read_usage
from tokens.usage.tally import Limit
from tokens.views import used as view
from tokens.views.logged import faults

STATE_SCHEMA = 1


@dataclass(frozen=True)
class Wanted:
    """What is read and how it is shown.

    Attributes:
        logs: oldest first; None for the log of the GitLab right here.
        since: a day in UTC; older calls are left out.
        state_file: the file that remembers how far the logs were read.
        by: what has a row: `token`, `address`, `route` or `day`.
        top_refused: only dead tokens that are still being tried.
        first: how many rows; None is whatever suits the output.
        all: all of them.
    """

    logs: tuple[Log, ...] | None
    since: str | None
    state_file: Path | None
    by: str
    top_refused: bool
    first: int | None
    all: bool


def wanted(
    environment: Environment,
    log: Sequence[str] | None,
    since: str | None,
    state_file: str | None,
    by: str,
    top_refused: bool,
    first: str | None,
) -> Wanted:
    """What these options mean.

    Raises:
        UsageError: what cannot be read, in one line.
    """
    if top_refused and by != "token":
        raise UsageError("--top-refused shows tokens: leave --by out.")
    number = number_or_all("first", first, "rows")
    return Wanted(
        logs_named(environment, log),
        None if since is None else day_of("since", since, past=True).isoformat(),
        None if state_file is None else Path(state_file),
        by,
        top_refused,
        number,
        first == "all",
    )


def used(environment: Environment, locate: Locate, selection: Selection, wanted: Wanted, output: str) -> None:
    """Show what the API log says of the tokens of `selection`.

    Raises:
        TokensError: see `tokens.errors`.
    """
    site, found = _found(environment, locate, selection, wanted)
    instance = described(site) if output == "json" else site.instance
    environment.note(found.notes)
    first = wanted.first
    if first is None and not wanted.all and output == "text" and console.is_terminal(environment.stdout):
        first = FIRST
    show(
        environment,
        output,
        text=lambda: view.screen(found, first, console.columns(environment.stdout)),
        json=lambda: view.as_json(found, instance, selection, first),
        csv=lambda: view.as_csv(found, first),
        ndjson=lambda: view.as_ndjson(found, first),
    )
    if output == "text":
        environment.flush()
        for line in view.remarks(found, first):
            environment.tell(line)
    if wanted.state_file is not None:
        environment.flush()
        _remember(wanted.state_file, found.usage.positions)


def _found(environment: Environment, locate: Locate, selection: Selection, wanted: Wanted) -> tuple[Site, view.Used]:
    """What the logs say of the tokens that are to be shown, in the order of their rows."""
    with ExitStack() as stack:
        # Root opens them before it becomes the GitLab user, as it reads `--ids`.
        found_logs = None if wanted.logs is None else stack.enter_context(opened(wanted.logs))
        positions = None if wanted.state_file is None else _remembered(wanted.state_file)
        site = locate()
        if wanted.state_file is not None:
            whole_file.check(wanted.state_file, option="state-file")  # as the user who writes it
        if found_logs is None:
            found_logs = stack.enter_context(opened(rotated(api_log(site.installation))))
        with environment.announced("Choosing the tokens"):
            tokens = chosen(site.address, selection)
        limits = limits_of(site, tokens.throttle)
        everything = selection == EVERYTHING
        with environment.announced("Reading the log"):
            usage = read_usage(
                found_logs,
                only=None if everything else tokens.ids,
                since=wanted.since,
                limits=[Limit(one.tries, one.seconds) for one in limits],
                positions=positions,
            )
        if wanted.since is not None and usage.until and usage.until < wanted.since:
            raise UsageError(f"The log ends on {usage.until[:10]}, before --since {wanted.since}.")
        with environment.announced("Looking the tokens up"):
            of_these = known(site.address, selection, usage.by_token)
    uses = [use for use in usage.by_token.values() if use.id in of_these or everything]
    if wanted.top_refused:
        uses = sorted(
            (use for use in uses if _is_dead(of_these.get(use.id), use.refused)), key=lambda use: -use.refused
        )
    return site, view.Used(
        usage=replace(usage, by_token={use.id: use for use in uses}),
        tokens=of_these,
        selected=tokens.tokens,
        limits=limits,
        logs=tuple(log.name for log in found_logs),
        notes=(*tokens.notes, *faults(usage), *view.counted_together(uses, wanted.by)),
        by=wanted.by,
        top_refused=wanted.top_refused,
    )


def _is_dead(token: KnownToken | None, refused: int) -> bool:
    """Whether it is tried though it works no more, or is gone."""
    return refused > 0 and (token is None or token.state != "active")


def limits_of(site: Site, throttle: RateLimit | None) -> tuple[RateLimit, ...]:
    """When this GitLab turns an address away, as far as its settings can be read here."""
    ban = ban_of(None)
    if site.installation is not None:
        settings = production(site.installation.rails / GITLAB_YML)
        if not isinstance(settings, UnusableFile):
            ban = ban_of(by_text(by_text(settings.get("rack_attack")).get("git_basic_auth")))
    return (ban,) if throttle is None else (throttle, ban)


def _remembered(state: Path) -> dict[str, int]:
    """How far logs were read before; nothing where there is no such file yet.

    Raises:
        UsageError: it is not one of ours.
    """
    try:
        found = json.loads(state.read_bytes())
        if found["schema"] != STATE_SCHEMA:
            raise ValueError
        return {str(digest): int(position) for digest, position in found["positions"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f'--state-file cannot read "{state}": {error.strerror}.') from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(
            f'--state-file "{state}" is no file of this task; remove it to read the logs from the start.'
        ) from None


def _remember(state: Path, positions: object) -> None:
    """Keep how far the logs were read: last, so that what was not shown is read again."""
    whole_file.replace(
        state,
        json.dumps({"schema": STATE_SCHEMA, "positions": positions}, indent=2).encode() + b"\n",
        0o600,
        option="state-file",
    )
