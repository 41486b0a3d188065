"""Which tokens: the selection that options make together."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, TextIO, TypeVar
from urllib.parse import unquote, urlsplit

from tokens.call import current
from tokens.commands.environment import Environment
from tokens.commands.options.days import HOW, day_of, days_since, days_within, range_of
from tokens.commands.options.values import free_text, words
from tokens.errors import UsageError
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.kind import Kind, OwnerState, State
from tokens.selection import EVERY_KIND, EVERY_STATE, DateRange, Selection, refuse_everything, refuse_others
from tokens.spelling import meant

KINDS = tuple(kind.value for kind in Kind)
KINDS_TO_ROTATE = tuple(kind for kind in KINDS if kind != Kind.OTHER)
OTHER_KINDS = tuple(kind.value for kind in OtherKind)
STATES = tuple(state.value for state in State)
OWNER_STATES = tuple(state.value for state in OwnerState)
ALIVE_OR_EXPIRED = frozenset({State.ACTIVE, State.EXPIRED})
LARGEST_ID = 2**63 - 1
URL = re.compile(r"https?://", re.IGNORECASE)

Word = TypeVar("Word")


def selection(
    environment: Environment,
    *,
    expires: Sequence[str] | None = None,
    kind: Sequence[str] | None = None,
    state: Sequence[str] | None = None,
    user: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    project: Sequence[str] | None = None,
    name: str | None = None,
    scope: Sequence[str] | None = None,
    last_used_before: str | None = None,
    last_used_after: str | None = None,
    created_before: str | None = None,
    created_after: str | None = None,
    owner_state: Sequence[str] | None = None,
    never_used: bool = False,
    beyond_maximum: bool = False,
    no_membership: bool = False,
    ids: str | None = None,
    within: str | None = None,
    expired_within: str | None = None,
    leave_out: str | None = None,
    needs_expires: bool = True,
    knows_others: bool = False,
) -> Selection:
    """The selection that these options make; None is an option that was not given.

    `--ids -` reads the environment's standard input. An option that was given without a value is an error, since
    `--user "$WHO"` must not mean everybody. With `knows_others` it may name kinds that are no tokens.

    Raises:
        UsageError: what cannot be read, in one line.
    """
    ranges = _ranges(expires, within, expired_within)
    check_periods(words(state), within, expired_within)
    if not ranges and ids is None and needs_expires:
        raise UsageError(
            "Use --within, --expired-within, --ids or --expires to choose tokens; --expires takes "
            f"{HOW} for those that never expire."
        )
    named = _words("kind", kind, lambda word: _kind(word, knows_others))
    kinds = frozenset(one for one in named if isinstance(one, Kind))
    states = _words("state", state, lambda word: State(_one_of("state", STATES, word)))
    return Selection(
        expires=ranges,
        kinds=kinds if named else None,
        states=frozenset(states or ((State.EXPIRED,) if expired_within else (State.ACTIVE,))),
        users=_words("user", user, lambda word: name_or_path("user", word).removeprefix("@")),
        groups=_words("group", group, lambda word: name_or_path("group", word)),
        projects=_words("project", project, lambda word: name_or_path("project", word).removesuffix(".git")),
        name=None if name is None else _text("name", name),
        scopes=_words("scope", scope, lambda word: _text("scope", word)),
        last_used_before=_day("last-used-before", last_used_before),
        last_used_after=_day("last-used-after", last_used_after),
        created_before=_day("created-before", created_before),
        created_after=_day("created-after", created_after),
        owner_states=_words(
            "owner-state", owner_state, lambda word: OwnerState(_one_of("owner-state", OWNER_STATES, word))
        ),
        never_used=never_used,
        beyond_maximum=beyond_maximum,
        no_membership=no_membership,
        ids=None if ids is None else read_ids(ids, environment.stdin),
        superseded=takes_superseded(environment, leave_out),
        others=frozenset(one for one in named if isinstance(one, OtherKind)),
    )


def to_revoke(environment: Environment, **options: Any) -> Selection:
    """The same for tokens that are to be revoked: of any date, but not of every one.

    Raises:
        UsageError: tokens that are revoked already, or no option that chooses any.
    """
    found = selection(environment, **options, needs_expires=False)
    if State.REVOKED in found.states:
        raise UsageError("--state takes active and expired here: a revoked token cannot be revoked again.")
    refuse_everything(found)
    return found


def to_read(environment: Environment, **options: Any) -> Selection:
    """The same for what changes nothing: it needs no date, and every kind of token counts unless kinds are named.

    It knows more kinds. A change leaves impersonation tokens out unless they are named, since they are an
    administrator's own business. To overlook one that expires would be the greater harm.
    """
    found = selection(environment, **options, needs_expires=False, knows_others=True)
    return found if options.get("kind") else replace(found, kinds=EVERY_KIND)


def to_foresee(environment: Environment, **options: Any) -> Selection:
    """The same for tokens whose date is to come: those that work, unless states are named.

    Raises:
        UsageError: only tokens that have expired, none of which has a date to come.
    """
    found = to_read(environment, **options)
    if found.states == {State.EXPIRED}:
        raise UsageError(
            "A token that has expired has no date to come: use list --state expired, or analyze for the commonest "
            "dates."
        )
    return found


def to_count(environment: Environment, **options: Any) -> Selection:
    """The same for what only counts: every state, too, unless states are named."""
    found = to_read(environment, **options)
    return found if options.get("state") or options.get("expired_within") else replace(found, states=EVERY_STATE)


def to_report(environment: Environment, **options: Any) -> Selection:
    """The same for a page: every kind, what works and what has expired, unless they are named."""
    found = to_count(environment, **options)
    return found if found.states != EVERY_STATE or options.get("state") else replace(found, states=ALIVE_OR_EXPIRED)


def check_kinds(kinds: Sequence[str], known: Sequence[str]) -> None:
    """Refuse what is none of these kinds of token, where a task does not know all of them."""
    _words("kind", kinds, lambda word: word if word in OTHER_KINDS else _one_of("kind", known, word))


def check_periods(states: Collection[str], within: str | None, expired_within: str | None) -> None:
    """Refuse a period for tokens of a state that is none of those that are named."""
    for option, given, needed in (
        ("within", within, State.ACTIVE),
        ("expired-within", expired_within, State.EXPIRED),
    ):
        if given is not None and states and needed not in states:
            raise UsageError(f"--{option} is about tokens that are {needed}, so --state has to have that, too.")


def takes_superseded(_: Environment, leave_out: str | None) -> bool:
    """Whether what a rotation has replaced is taken, too."""
    return leave_out is None


def read_ids(source: str, stdin: TextIO | None) -> tuple[int, ...]:
    """The ids in a file, or on `stdin` where `source` is `-`, each once and in ascending order.

    Root reads it before becoming the GitLab user, so nothing of it is ever quoted: who may run this as root need
    not be somebody who may read every file.

    Raises:
        UsageError: nothing to read, or something that is not the id of a token.
    """
    typed = current().files.get("ids", source)  # in a container it is a file of this call's own
    name = "standard input" if typed == "-" else f'"{typed}"'
    try:
        ids = sorted(set(_ids(_read(source, stdin), name)))
    except UnicodeDecodeError:
        raise UsageError(f"--ids reads {name}, which is not text; give token ids.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--ids cannot read {name}: {reason}.") from None
    if not ids:
        raise UsageError(f"--ids found no token ids in {name}.")
    return tuple(ids)


def _read(source: str, stdin: TextIO | None) -> str:
    if source == "-":
        if stdin is None or stdin.closed:
            raise UsageError("--ids - reads standard input, which is closed; give a file.")
        if stdin.isatty():
            raise UsageError("--ids - reads standard input, which is a terminal here; give a file or a pipe.")
        return stdin.read().removeprefix("\ufeff")  # Windows begins a text with a mark of its encoding
    if not source:
        raise UsageError("--ids takes a file with token ids, or - for standard input; it was given nothing.")
    return Path(source).read_text(encoding="utf-8-sig")


def _ids(text: str, name: str) -> Iterator[int]:
    for number, line in enumerate(text.split("\n"), 1):
        for word in line.partition("#")[0].replace(",", " ").split():
            if not (word.isascii() and word.isdigit() and len(word) <= 100 and 0 < int(word) <= LARGEST_ID):
                raise UsageError(f"--ids takes ids of tokens, but line {number} of {name} has something else.")
            yield int(word)


def _words(option: str, values: Sequence[str] | None, read: Callable[[str], Word]) -> tuple[Word, ...]:
    """Every word between commas, in the order given and each once."""
    named = words(values)
    if not all(named):
        raise UsageError(f"--{option} was given nothing, or nothing between two commas; give a value or leave it out.")
    return tuple(dict.fromkeys(map(read, named)))


def _one_of(option: str, known: Sequence[str], word: str) -> str:
    if word not in known:
        raise UsageError(f'--{option} takes {", ".join(known[:-1])} or {known[-1]}, not "{word}"{meant(word, known)}.')
    return word


def _kind(word: str, knows_others: bool) -> Kind | OtherKind:
    if not knows_others:
        refuse_others([word] if word in OTHER_KINDS else [])
    found = _one_of("kind", (*KINDS, *OTHER_KINDS) if knows_others else KINDS, word)
    return OtherKind(found) if found in OTHER_KINDS else Kind(found)


def _text(option: str, text: str) -> str:
    if not text:
        raise UsageError(f"--{option} was given nothing; give a value or leave it out.")
    return free_text(option, text)


def name_or_path(option: str, text: str) -> str:
    """A username or full path, also from a URL that was pasted from a browser: of any page about it, on any host."""
    if not URL.match(text):
        return _text(option, text.strip("/"))
    # GitLab gives no user, group or project a name that begins its own pages, such as admin and groups.
    path = unquote(urlsplit(text).path).strip("/").removeprefix("admin/").removeprefix(f"{option}s/")
    found = f"/{path}/".partition("/-/")[0].strip("/")
    if option == "user":
        found = found.partition("/")[0]
    if not found:
        raise UsageError(f"--{option} takes the URL of a page about one {option}, which this is not.")
    return _text(option, found)


def _day(option: str, text: str | None) -> date | None:
    return None if text is None else day_of(option, text, past=True)


def _ranges(
    expires: Sequence[str] | None, within: str | None, expired_within: str | None
) -> tuple[DateRange | None, ...]:
    """The days that the three options about the date mean together; one of them at most is given."""
    given = {"--expires": expires, "--within": within, "--expired-within": expired_within}
    named = [option for option, value in given.items() if value]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} both choose dates: use one of them.")
    if within is not None:
        return (days_within(within),)
    if expired_within is not None:
        return (days_since(expired_within),)
    return _words("expires", expires, range_of)
