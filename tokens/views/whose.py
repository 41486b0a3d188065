"""How it looks whose a token is: a line a token, JSON or CSV; never the token itself."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokens.counts import counted
from tokens.gitlab.expiration import ExpirationDate
from tokens.inventory.whose import COLUMNS, Answer
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated
from tokens.terminal.printable import printable
from tokens.views import document
from tokens.views.owner import nobody
from tokens.views.times import near, to_the_minute
from tokens.views.use_of_token import parts, parts_as_dict, reasons

if TYPE_CHECKING:
    from tokens.usage.tally import TokenUse

KINDS = {
    "personal": "personal access token",
    "impersonation": "impersonation token",
    "project": "project access token",
    "group": "group access token",
    "service-account": "access token of a service account",
    "other": "access token",
    "deploy-token": "deploy token",
    "runner": "runner",
    "trigger": "trigger token",
    "agent": "agent token",
}
BOTS = ("project", "group")
WITHOUT_USE = ("deploy-token", "trigger")
FACTS = (*COLUMNS, "replaced_by")


@dataclass(frozen=True)
class LocatedToken:
    """A token that was given or found: in which file, None for standard input, and in which line; and what is known.

    `use` is what a log says of it, None where no log was read.
    """

    file: str | None
    line: int
    answer: Answer
    use: "TokenUse | None" = None


def lines(rows: Iterable[LocatedToken], *, numbered: bool = True) -> Iterator[str]:
    """A line for each token; without its number where there can be only one."""
    for row in rows:
        place = f"{row.line}: " if row.file is None else f"{row.file}:{row.line}: "
        said = [_said(row.answer), *(_did(row.use) if row.use else ())]
        yield printable(f"{place if numbered else ''}{'; '.join(said)}")


def as_json(
    rows: Iterable[LocatedToken], instance: Instance, prefixes: Iterable[str], notes: list[str]
) -> Iterator[str]:
    """One document in pieces; `notes` may grow while the rows are read."""
    yield document.begun({**document.head(instance), "prefixes": list(prefixes)})
    yield from document.listed("tokens", (json.dumps(_as_dict(row)) for row in rows), ",")
    yield f'  "notes": {json.dumps(notes)}'
    yield "}"


def as_csv(rows: Iterable[LocatedToken]) -> Iterator[str]:
    """The rows with a heading; empty is what is not known, and a space is between several values."""
    heading = ("file", "line", "looks_like", "why", *FACTS, "calls", "refused")
    yield comma_separated.line(heading)
    for row in rows:
        counts = (None, None) if row.use is None else (row.use.calls, row.use.refused)
        values = (*_known(row).values(), *counts)
        yield comma_separated.line(" ".join(map(str, one)) if isinstance(one, list) else one for one in values)


def _as_dict(row: LocatedToken) -> dict[str, Any]:
    return {**_known(row), "use": None if row.use is None else _use(row.use)}


def _use(use: "TokenUse") -> dict[str, Any]:
    return {
        "calls": use.calls,
        "refused": use.refused,
        "first": use.first or None,
        "last": use.last or None,
        **parts_as_dict(use),
        "reasons": dict(use.reasons),
    }


def _last(moment: str) -> str:
    return f", last {to_the_minute(moment)} UTC" if moment else ""


def _did(use: "TokenUse") -> Iterator[str]:
    """What a log says, each part with what was most."""
    yield f"by the log {counted(use.calls, 'call')}" + _last(use.last_call)
    if use.refused:
        why = reasons(use)
        yield f"{use.refused:,} refused{f' ({why})' if why else ''}" + _last(use.last_refused)
    for part, shown in parts(use):
        yield f"{part} {', '.join(shown)}"


def _known(row: LocatedToken) -> dict[str, Any]:
    facts = row.answer.facts or {}
    found = {"file": row.file, "line": row.line, "looks_like": row.answer.looks_like, "why": row.answer.why or None}
    return found | {name: facts.get(name) for name in FACTS}


def _said(answer: Answer) -> str:
    if answer.facts is None:
        return f"not known: {answer.why}"
    return "; ".join(_parts(answer.facts))


def _parts(facts: Mapping[str, Any]) -> Iterator[str]:
    """What is known, the most urgent first."""
    kind = facts["kind"]
    owner = facts["owner"] or f"({nobody(kind)})"
    yield f'{KINDS[kind]} {facts["id"]} "{facts["name"] or ""}" of {owner}{_account(facts)}, {facts["state"]}'
    if facts["scopes"]:
        yield f"scopes {' '.join(facts['scopes'])}"
    yield _expires(facts["expires_at"])
    yield f"created {_moment(facts['created_at'])}"
    used = f"last used {_moment(facts['last_used_at'])}" if facts["last_used_at"] else "never used"
    used = "use not known" if kind in WITHOUT_USE else used
    yield f"{used} from {', '.join(facts['ips'])}" if facts["ips"] else used
    if facts["replaced_by"]:
        yield f"replaced by {', '.join(map(str, facts['replaced_by']))}"
    if facts["membership_ends_at"]:
        yield f"membership ends {facts['membership_ends_at']}"
    if facts["clean_up_at"]:
        yield f"GitLab deletes the bot {facts['clean_up_at']}"
    if facts["flags"]:
        yield f"flags {' '.join(facts['flags'])}"
    if facts["description"]:
        yield f'description "{facts["description"]}"'


def _account(facts: Mapping[str, Any]) -> str:
    said = [
        f"bot {facts['account']}" if facts["kind"] in BOTS else "",
        facts["owner_state"] if facts["owner_state"] not in (None, "active") else "",
    ]
    shown = ", ".join(filter(None, said))
    return f" ({shown})" if shown else ""


def _expires(stored: str | None) -> str:
    if stored is None:
        return "never expires"
    try:
        return f"expires {near(ExpirationDate.typed(stored))}"
    except ValueError:  # what nobody can type, such as infinity
        return f"expires {stored}"


def _moment(moment: str | None) -> str:
    return f"{to_the_minute(moment)} UTC" if moment else "at a time that is not known"
