"""One `exec`: a process between its client's channels, until both have ended or the connection is cut."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from tests.testbed.kubernetes.facts import Cut
from tests.testbed.kubernetes.process import Channel, Process

FAREWELL = 10.0  # seconds in which a client must hang up once everything was said

STREAMS = {Channel.STDIN: "in", Channel.STDOUT: "out", Channel.STDERR: "err"}


class Message(NamedTuple):
    """What the client said on a channel, and whether it was the last."""

    channel: Channel
    data: bytes
    last: bool = False


class Wire(NamedTuple):
    """A TLS connection and the TCP connection below it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    tcp: asyncio.WriteTransport


class Connection(ABC):
    """The client's channels, whatever their framing; once the client is gone, what is sent goes nowhere."""

    def __init__(self, wire: Wire) -> None:
        self.lost = False
        self._reader, self._writer, self._tcp = wire
        # `send` returns when TCP has all the bytes, so that a cut comes where it was asked for.
        self._writer.transport.set_write_buffer_limits(high=1, low=0)

    @abstractmethod
    async def open(self, channels: set[Channel]) -> None:
        """Wait until these channels exist."""

    @abstractmethod
    async def receive(self) -> Message | None:
        """What the client says next; None when it has hung up."""

    @abstractmethod
    async def send(self, channel: Channel, data: bytes) -> None:
        """Say something on a channel."""

    @abstractmethod
    async def finish(self, status: bytes) -> None:
        """Send how it ended, and that nothing more will come."""

    def drop(self) -> None:
        """Cut the connection without a word, after what was sent."""
        self.lost = True
        self._tcp.close()

    async def _write(self, data: bytes) -> None:
        if self.lost:
            return
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            self.lost = True


class Session:
    """Carry what comes and goes between a process and its client, and cut the connection where that is wanted."""

    def __init__(self, connection: Connection, process: Process, cut: Cut | None, was_cut: Callable[[], None]) -> None:
        self._connection = connection
        self._was_cut = was_cut
        self._process = process
        self._cut = cut
        self._left = cut.after_bytes if cut else None

    async def run(self, channels: set[Channel], note: Callable[[int], None]) -> None:
        """Until the process has ended, which `note` is told before the client, and the client has hung up.

        A client that goes first leaves the process running.
        """
        if self._cut and self._cut.after_bytes is None:
            self._drop()
        feeding = asyncio.create_task(self._feed())
        try:
            await asyncio.gather(*(self._pump(channel) for channel in channels & {Channel.STDOUT, Channel.STDERR}))
            status = await self._process.ended
            note(status)
            await self._connection.finish(json.dumps(exit_status(status)).encode())
            with suppress(TimeoutError):
                # Hanging up first, with something of the client's unread, would lose what it has not read yet.
                await asyncio.wait_for(feeding, FAREWELL)
        finally:
            feeding.cancel()
            self._process.close()

    async def _pump(self, channel: Channel) -> None:
        while data := await self._process.read(channel):
            wanted, cut = self._until_cut(channel, data)
            await self._connection.send(channel, wanted)
            if cut:
                self._drop()

    async def _feed(self) -> None:
        while not self._connection.lost and (message := await self._connection.receive()):
            if message.channel is Channel.RESIZE:
                for line in message.data.splitlines():
                    size = json.loads(line)
                    self._process.resize(size["Width"], size["Height"])
            if message.channel is Channel.STDIN:
                wanted, cut = self._until_cut(Channel.STDIN, message.data)
                await self._process.write(wanted)
                if cut:
                    self._drop()
                if message.last:
                    self._process.end_input()
        self._process.end_input()

    def _drop(self) -> None:
        self._connection.drop()
        self._was_cut()

    def _until_cut(self, channel: Channel, data: bytes) -> tuple[bytes, bool]:
        """What may still pass of a channel's data, and whether the cut follows it."""
        if self._left is None or self._cut is None or self._cut.stream != STREAMS[channel]:
            return data, False
        if len(data) < self._left:
            self._left -= len(data)
            return data, False
        wanted, self._left = data[: self._left], None
        return wanted, True


def exit_status(code: int) -> dict[str, Any]:
    """How Kubernetes says a process's exit status."""
    if not code:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
