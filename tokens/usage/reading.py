"""Logs read into counts."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokens.errors import UsageError
from tokens.usage.files import LONGEST_LINE, Log, Reading, blocks
from tokens.usage.line import MARK, ApiCall, Damaged, call_in, document, is_of_api, time_in
from tokens.usage.tally import Burst, Limit, Tallies, TokenUse, days_between

BRACE = ord("}")
CONDENSED = b'{"condensed:'
"""How each line of `tokens.usage.condensed` begins."""
ALIKE, TRY, END = (CONDENSED + name + b'": ' for name in (b"alike", b"try", b"end"))


@dataclass(frozen=True)
class Usage:
    """What logs say of the use of tokens. Times are in ISO 8601, UTC.

    Attributes:
        by_token: of each token that called or tried to, the busiest first.
        since: how far the logs reach back; empty where no line has a time.
        until: how far they reach.
        lines: how many lines they have.
        damaged: how many of them are no whole line of JSON.
        cut: the logs whose compressed data ends too early.
        twice: the logs that begin as an earlier one does, such as a packed copy; what both have was counted once.
        bursts: the most refused tries of each address that had as many as a limit, by the limits that were given.
        positions: how far each log was read, in bytes, by a digest of its first line; for who reads on from there.
    """

    by_token: Mapping[int, TokenUse] = field(default_factory=dict)
    since: str = ""
    until: str = ""
    lines: int = 0
    damaged: int = 0
    cut: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    bursts: Mapping[str, tuple[Burst, ...]] = field(default_factory=dict)
    positions: Mapping[str, int] = field(default_factory=dict)

    @property
    def days(self) -> int:
        """How many days in UTC the logs touch."""
        return days_between(self.since, self.until)

    def of(self, ids: Iterable[int]) -> Iterator[TokenUse]:
        """The use of those of these tokens that are in the logs."""
        for token_id in ids:
            if (use := self.by_token.get(token_id)) is not None:
                yield use


def read_usage(
    logs: Sequence[Log],
    *,
    only: Collection[int] | None = None,
    since: str | None = None,
    limits: Sequence[Limit] = (),
    positions: Mapping[str, int] | None = None,
) -> Usage:
    """Count the calls in these logs, one after the other.

    Args:
        logs: oldest first, see `tokens.usage.files.logs`.
        only: ids of the tokens that are counted, None for all: a set, since each call is looked up in it.
        since: a day or time in ISO 8601, UTC; older calls are left out.
        limits: by which addresses that were refused are watched.
        positions: how far logs were read before; they are read on from there, and a last line without an end is left
            for the next time. None reads all.

    Raises:
        UsageError: one of them is something else.
        TokensError: a log cannot be opened or decompressed.
    """
    tallies = Tallies(limits)
    found = read_into(tallies, logs, only, since, positions)
    return summed_up(tallies, found, since, reads_on=positions is not None)


@dataclass
class Read:
    """What came of one log."""

    first: str = ""
    last: str = ""
    lines: int = 0
    damaged: int = 0
    digest: str = ""
    position: int = 0
    cut: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    is_of_api: bool = False
    """Whether a line of it is a call of GitLab's API."""
    foreign: bytes = b""
    """The first whole line before such a one, without Ruby's heading."""
    end: list[Any] | None = None
    """What a condensed log says of those that it was made of."""


def read_into(
    tallies: Tallies,
    logs: Sequence[Log],
    only: Collection[int] | None = None,
    since: str | None = None,
    positions: Mapping[str, int] | None = None,
) -> list[Read]:
    """The same, into these tallies; how far each log reaches."""
    found: list[Read] = []
    before: dict[str, int] = {}
    for log in logs:
        read = _read(log, tallies, only, since, positions, before)
        if read.digest:
            before[read.digest] = max(read.position, before.get(read.digest, 0))
        found.append(read)
    return found


def summed_up(tallies: Tallies, found: Sequence[Read], since: str | None = None, *, reads_on: bool = False) -> Usage:
    """What was read, of all logs together; how far each was read where somebody reads on from there."""
    by_token = tallies.by_token()
    first = [*(one.first for one in found), *(use.first for use in by_token.values())]
    last = [*(one.last for one in found), *(use.last for use in by_token.values())]
    return Usage(
        by_token,
        max(min(filter(None, first), default=""), since or ""),
        max(last, default=""),
        sum(one.lines for one in found),
        sum(one.damaged for one in found),
        tuple(name for one in found for name in one.cut),
        tuple(name for one in found for name in one.twice),
        tallies.bursts(),
        {one.digest: one.position for one in found if one.digest and reads_on},
    )


def _read(
    log: Log,
    tallies: Tallies,
    only: Collection[int] | None,
    since: str | None,
    positions: Mapping[str, int] | None,
    before: Mapping[str, int],
) -> Read:
    """What comes of one log; `before` is how far those before it were read, by the digest of their first line."""
    found = Read()
    reading = Reading()
    with log.open() as stream:
        rest = b""
        skip = 0
        is_too_long = False
        for block in blocks(stream, reading):
            if is_too_long:
                end, newline, block = block.partition(b"\n")
                found.position += len(end) + len(newline)
                is_too_long = not newline
            if b"\n" not in block and not skip:
                rest += block
                if len(rest) > LONGEST_LINE:
                    found.position += len(rest)
                    found.lines += 1
                    found.damaged += 1
                    rest = b""
                    is_too_long = True
                continue
            if not found.digest:
                block, rest = rest + block, b""
                found.digest = _digest(block[: block.rfind(b"\n")])
                read_on_from = max(before.get(found.digest, 0), (positions or {}).get(found.digest, 0))
                skip = max(0, read_on_from - found.position)  # Ruby's heading may have come by itself
                found.is_of_api = found.is_of_api or skip > 0  # as what was read before
                found.twice = (log.name,) if found.digest in before else ()
            found.position += len(rest) + len(block)
            if skip:  # whole lines, so nothing is left over of the block before
                read_before = min(skip, len(block))
                skip -= read_before
                block = block[read_before:]
            lines = block.split(b"\n")
            lines[0] = rest + lines[0]
            rest = lines.pop()
            found.position -= len(rest)
            _count(lines, found, tallies, only, since)
        if rest and (positions is None or not log.grows):
            found.position += len(rest)
            _count([rest], found, tallies, only, since)
    if reading.is_cut:
        found.cut = (log.name,)
    if found.foreign and found.end is None and not found.is_of_api:
        raise UsageError(
            f'"{log.name}" is no api_json.log of GitLab: no line of it is a call of the API with a time. '
            f"{_instead(found.foreign)}"
        )
    if found.end is not None:
        found.first, found.last, found.lines, found.damaged, found.cut, found.twice = found.end
    return found


def _count(lines: list[bytes], found: Read, tallies: Tallies, only: Collection[int] | None, since: str | None) -> None:
    """Count whole lines; the first and the last that have a time say how far they reach."""
    add = tallies.add
    damaged = 0
    for line in lines:
        if MARK in line:
            try:
                call = call_in(line)
            except Damaged:
                damaged += 1
                continue
            if call is None or (since is not None and call.time < since):
                continue
            if call.refused and call.time and call.address is not None:
                tallies.watch(call.time, call.address)  # whichever token it was tried with
            if only is None or call.token_id in only:
                add(call)
        elif line.startswith(CONDENSED):
            try:
                _count_condensed(line, found, tallies, only, since)
            except (ValueError, TypeError, AttributeError):
                damaged += 1
        elif line and line[-1] != BRACE and _is_half(line):
            damaged += 1
    found.lines += len(lines)
    found.damaged += damaged
    found.first = found.first or next(filter(None, map(time_in, lines)), "")
    if found.first and not found.is_of_api:
        found.is_of_api = any(map(is_of_api, lines))
    if not (found.is_of_api or found.foreign):
        found.foreign = next((line for line in lines if not _tells_nothing(line)), b"")
    found.last = max(found.last, next(filter(None, map(time_in, reversed(lines))), ""))


def _count_condensed(
    line: bytes, found: Read, tallies: Tallies, only: Collection[int] | None, since: str | None
) -> None:
    ((begin, values),) = json.loads(line).items()
    if begin == "condensed:end":
        found.end = values
    elif begin == "condensed:try":
        time, address = values
        if since is None or time >= since:
            tallies.watch(time, address)
    else:
        number, first, last, *alike = values
        if (only is None or alike[0] in only) and (since is None or first >= since):
            tallies.add_alike(number, first, last, ApiCall(first, *alike))


def _tells_nothing(line: bytes) -> bool:
    """Whether a line may be in any log: blank, Ruby's heading, or half of one."""
    return not line.strip() or line.startswith((b"#", CONDENSED)) or _is_half(line)


def _is_half(line: bytes) -> bool:
    line = line.strip(b"\0\r ")
    return line.startswith(b"{") and not line.endswith(b"}")


def _instead(line: bytes) -> str:
    """What a file has that is no log, by this line, and what to give."""
    try:
        names = document(line)
    except Damaged:
        return "It has a line that is no JSON object. → Give GitLab's api_json.log, which has a call a line."
    if "log" in names and "stream" in names:
        return 'Docker has wrapped its lines. → Give what "docker logs CONTAINER" prints.'
    return f"It has lines with {', '.join(list(names)[:4])}. → Give GitLab's api_json.log."


def _digest(lines: bytes) -> str:
    """By which a log is known again when it has been renamed or compressed: of the first line that GitLab wrote.

    Empty where there is none yet, and for a condensed log, which is no file of GitLab's. Ruby begins a log with a line
    of its own, which others may share.
    """
    for line in lines.split(b"\n", 20)[:20]:
        if line.startswith(b"{") and not line.startswith(CONDENSED):
            return hashlib.sha256(line).hexdigest()
    return ""
