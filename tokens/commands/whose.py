"""`whose`: which token is this, by its text, which comes on standard input or is found in files."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.options.values import words
from tokens.commands.show import show
from tokens.errors import TOKEN, UsageError, without_tokens
from tokens.gitlab.kind import Kind
from tokens.gitlab.token_text import LONGEST, kind_of
from tokens.inventory.scan import SIXTEEN_BITS, Occurrence, check_place
from tokens.inventory.whose import GUESS, Answer, Identified
from tokens.inventory.whose import whose as known_of
from tokens.secret import Secret, forbid_core_dumps
from tokens.targets.here.secrets import read_keys_file, refuse_keys_file
from tokens.targets.instance import Instance
from tokens.targets.keys import keys_of
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.terminal.printable import printable
from tokens.terminal.silence import hidden_answer
from tokens.views import whose as view
from tokens.views.whose import LocatedToken

if TYPE_CHECKING:
    from tokens.targets.there.tool import Way
    from tokens.usage.files import Log

AT_ONCE = 1000  # texts that are looked up together
PASTE_BEGINS, PASTE_ENDS = "\x1b[200~", "\x1b[201~"  # what some terminals send around a text that is pasted
QUESTION = "Paste the token; it is not shown. Enter ends it: "


@dataclass(frozen=True)
class Wanted:
    """What the options say.

    Attributes:
        scan: the folder or file to look into, None for standard input.
        secrets_file: a copy of GitLab's secrets; None for those of the GitLab that is found.
        logs: which say what the tokens did, oldest first; None for none.
    """

    scan: str | None
    secrets_file: Path | None
    logs: "tuple[Log, ...] | None"


@dataclass(frozen=True)
class _Given:
    """A text that was given or found, and where.

    Attributes:
        texts: what it may mean, the likeliest first.
        sure: whether it is shown even if it is not known.
        guess: whether it may be any text, and is looked for among access tokens alone.
    """

    file: str | None
    line: int
    texts: tuple[Secret, ...]
    sure: bool = True
    guess: bool = False


@dataclass
class _Side:
    """The side of GitLab: what is known there of some texts, and what the instance is called, once it was asked."""

    ask: Callable[[Sequence[Secret], frozenset[int]], Identified]
    instance: Callable[[], Instance]


def wanted(environment: Environment, scan: str | None, log: Sequence[str] | None, secrets_file: str | None) -> Wanted:
    """What these options mean.

    Raises:
        UsageError: what is to be read is not there, or tokens and a log would both come on standard input.
    """
    if scan is not None:
        check_place(scan)
    elif "-" in words(log):
        raise UsageError("--log - reads standard input, on which the tokens come: name a file, or use --scan.")
    logs = None
    if log:
        from tokens.commands.options.logs import logs_named

        logs = logs_named(environment, log)
    return Wanted(scan, Path(secrets_file).expanduser() if secrets_file else None, logs)


def whose(environment: Environment, wanted: Wanted, locate: Locate, there: "Way | None", output: str) -> None:
    """Say whose the tokens are whose texts come on standard input, or that are found in files.

    Files are read as the account that has called, though this process may become the GitLab user.

    Raises:
        TokensError: see `tokens.errors`.
    """
    forbid_core_dumps()
    if there:
        refuse_keys_file(wanted.secrets_file)
    with ExitStack() as stack:
        # Root opens them before it becomes the GitLab user.
        logs = _opened(stack, wanted.logs)
        if wanted.scan is None:
            given, numbered = _given(environment)
            answers = _Answers(environment, _side(environment, wanted, locate, there), given, logs)
        else:
            from tokens.commands.scanning import Scanning

            scanning = stack.enter_context(closing(Scanning.started(wanted.scan)))
            side = _side(environment, wanted, locate, there)
            found = map(_found, scanning.occurrences(side.ask((), frozenset()).prefixes))
            answers, numbered = _Answers(environment, side, found, logs, lambda: scanning.notes), True
        show(
            environment,
            output,
            text=lambda: view.lines(answers.rows(), numbered=numbered),
            json=lambda: view.as_json(answers.rows(), answers.instance, answers.prefixes, answers.notes),
            csv=lambda: view.as_csv(answers.rows()),
            at_once=True,
        )
    environment.flush()
    environment.note(map(printable, answers.notes))
    if not answers.shown and output == "text":
        environment.tell("There is no token.")


class _Answers:
    """What is known of the texts, as they come; with logs when all of them have come.

    Attributes:
        prefixes: what this instance's access tokens begin with.
        notes: what a person should know, too; complete when all rows were taken.
        shown: how many rows there were so far.
    """

    def __init__(
        self,
        environment: Environment,
        side: _Side,
        given: Iterable[_Given],
        logs: "Sequence[Log] | None",
        more_notes: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._environment = environment
        self._side = side
        self._logs = logs
        self._more_notes = more_notes
        self._batches = _batches(side, given)
        with environment.announced("Looking the tokens up"):
            self._first = next(self._batches)
        self.prefixes = self._first[1].prefixes
        self.notes: list[str] = []
        self.shown = 0

    @property
    def instance(self) -> Instance:
        """What the instance is called."""
        return self._side.instance()

    def rows(self) -> Iterator[LocatedToken]:
        """The rows, once."""
        rows = self._looked_up()
        for row in rows if self._logs is None else self._with_use(list(rows), self._logs):
            self.shown += 1
            yield row

    def _looked_up(self) -> Iterator[LocatedToken]:
        for rows, known in itertools.chain([self._first], self._batches):
            self._note(known.notes)
            yield from rows
        self._note(self._more_notes())

    def _with_use(self, rows: Sequence[LocatedToken], logs: "Sequence[Log]") -> Iterator[LocatedToken]:
        """The rows with what the logs say of each access token; other kinds have numbers of their own."""
        from tokens.usage.reading import read_usage
        from tokens.usage.tally import TokenUse
        from tokens.views.logged import faults
        from tokens.views.used import NOT_IN_IT, extent

        ids = {token for token in map(_access_token, rows) if token is not None}
        with self._environment.announced("Reading the log"):
            usage = read_usage(logs, only=ids)
        self._note([*faults(usage), extent(usage), NOT_IN_IT])
        for row in rows:
            token = _access_token(row)
            yield row if token is None else replace(row, use=usage.by_token.get(token, TokenUse(token)))

    def _note(self, notes: Iterable[str]) -> None:
        self.notes += (note for note in map(without_tokens, notes) if note not in self.notes)


def _opened(stack: ExitStack, logs: "Sequence[Log] | None") -> "Sequence[Log] | None":
    if logs is None:
        return None
    from tokens.usage.files import opened

    return stack.enter_context(opened(logs))


def _batches(side: _Side, given: Iterable[_Given]) -> Iterator[tuple[list[LocatedToken], Identified]]:
    """What is known of the texts, some at once; the first batch comes in any case."""
    left = iter(given)
    batch = list(itertools.islice(left, AT_ONCE))
    while True:
        texts = [(text, one.guess) for one in batch for text in one.texts]
        guesses = frozenset(number for number, (_, guess) in enumerate(texts) if guess)
        known = side.ask([text for text, _ in texts], guesses)
        answers = iter(known.answers)
        rows = [_row(one, list(itertools.islice(answers, len(one.texts)))) for one in batch]
        yield [row for row in rows if row is not None], known
        batch = list(itertools.islice(left, AT_ONCE))
        if not batch:
            return


def _row(given: _Given, answers: Sequence[Answer]) -> LocatedToken | None:
    """What is known of the likeliest text that is known; None where nothing is, and it may be no token at all."""
    answer = next((one for one in answers if one.facts is not None), answers[0])
    file = given.file and without_tokens(given.file)  # a file's name may have one in it
    return LocatedToken(file, given.line, answer) if given.sure or answer.facts is not None else None


def _access_token(row: LocatedToken) -> int | None:
    """The id of the access token that it is; None where it is none, or not known."""
    facts = row.answer.facts
    return int(facts["id"]) if facts is not None and facts["kind"] in list(Kind) else None


def _found(one: Occurrence) -> _Given:
    guess = not one.sure and kind_of(one.texts[0]) is None
    return _Given(one.path, one.line, one.texts, one.sure, guess)


def _given(environment: Environment) -> tuple[Iterator[_Given], bool]:
    """The texts of standard input, and whether there can be several; a person at a terminal is asked for one."""
    if environment.stdin is None:
        raise UsageError("whose reads a token from standard input, which is closed.")
    if not console.is_terminal(environment.stdin):
        return _lines(environment.stdin.buffer), True
    with hidden_answer(environment.stdin):
        environment.tell(QUESTION, end="")  # only now: somebody may have it in the clipboard
        text = _line(environment.stdin.buffer) or Secret("")
    environment.tell("")
    text = Secret(text.reveal().removeprefix(PASTE_BEGINS).removesuffix(PASTE_ENDS))
    return iter([_Given(None, 1, _meanings(text))] if text.reveal() else []), False


def _lines(stream: BinaryIO) -> Iterator[_Given]:
    if isinstance(stream, BufferedReader) and (codec := SIXTEEN_BITS.get(stream.peek(2)[:2])):
        stream = BytesIO(codec.decode(stream.read(), "replace")[0].encode(errors="replace"))
    for number in itertools.count(1):
        text = _line(stream)
        if text is None:
            return
        if text.reveal():
            guess = text.reveal().startswith(GUESS)
            yield _Given(None, number, _meanings(Secret(text.reveal().removeprefix(GUESS))), guess=guess)


def _meanings(line: Secret) -> tuple[Secret, ...]:
    """The token in a line such as `TOKEN="glpat-…"`, then the line as it is."""
    found = TOKEN.search(line.reveal())
    inside = Secret(found[0].rstrip(".")) if found else line
    return (line,) if inside == line else (inside, line)


def _line(stream: BinaryIO) -> Secret | None:
    """The next line without blanks around it, None at the end. Of one that is too long only the beginning is kept."""
    raw = Secret(stream.readline(2 * LONGEST).decode(errors="surrogateescape"))
    if not raw.reveal():
        return None
    while not raw.reveal().endswith("\n") and not _ends(stream.readline(1 << 16)):
        pass
    return Secret(raw.reveal().strip("\ufeff \t\r\n\f\v"))


def _ends(piece: bytes) -> bool:
    """Whether this is the last piece of a line, or there is none any more."""
    return piece[-1:] in (b"\n", b"")


def _side(environment: Environment, wanted: Wanted, locate: Locate, there: "Way | None") -> _Side:
    if there:
        # What leads into containers takes a while to import, as does what reads files and logs.
        from tokens.commands.whose_there import WhoseThere

        elsewhere = WhoseThere(environment, there)
        return _Side(elsewhere.ask, elsewhere.instance)
    side = _here(wanted, locate)
    forbid_core_dumps()  # to become another user has allowed them again
    return side


def _here(wanted: Wanted, locate: Locate) -> _Side:
    """GitLab right here, as its user from now on, or its database."""
    keys = None if wanted.secrets_file is None else read_keys_file(wanted.secrets_file)
    site = locate()
    found = keys or keys_of(site)
    return _Side(
        lambda texts, guesses: known_of(site.address, found, texts, guesses=guesses, release=site.release, ci=site.ci),
        lambda: described(site),
    )
