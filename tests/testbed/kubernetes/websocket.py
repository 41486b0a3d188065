"""The channels of an exec as a WebSocket: each message begins with a byte that is its channel's number."""

import asyncio
import hashlib
from base64 import b64encode

from tests.testbed.kubernetes.process import Channel
from tests.testbed.kubernetes.session import Connection, Message

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""Best first; only v5 can say that a channel has ended."""

CONTINUATION, BINARY, CLOSE, PING, PONG = 0, 2, 8, 9, 10
END_OF_CHANNEL = 255
NORMAL_CLOSURE = (1000).to_bytes(2, "big")
WAY = 0.1
"""Seconds that an API server takes at least to ask a node.

kubectl reads before it has made its streams, and discards what comes sooner: `Unknown stream id 3, discarding message`.
"""


def accept(key: str) -> str:
    """The answer to a client's Sec-WebSocket-Key."""
    return b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


class WebSocket(Connection):
    _opened = 0.0

    async def open(self, channels: set[Channel]) -> None:
        """Every channel is there from the beginning."""
        self._opened = asyncio.get_running_loop().time()

    async def receive(self) -> Message | None:
        try:
            message = await self._message()
        except (asyncio.IncompleteReadError, OSError):
            message = None
        if not message:
            self.lost = True
            return None
        number, data = message[0], message[1:]
        if number == END_OF_CHANNEL:
            return Message(Channel(data[0]), b"", last=True)
        return Message(Channel(number), data)

    async def send(self, channel: Channel, data: bytes) -> None:
        early = self._opened + WAY - asyncio.get_running_loop().time()
        if early > 0:
            await asyncio.sleep(early)
        await self._frame(BINARY, bytes([channel]) + data)

    async def finish(self, status: bytes) -> None:
        await self.send(Channel.ERROR, status)
        await self._frame(CLOSE, NORMAL_CLOSURE)

    async def _message(self) -> bytes:
        """The next whole message; nothing when the client closes."""
        message = b""
        while True:
            first, second = await self._reader.readexactly(2)
            opcode, length = first & 15, second & 127
            if length > 125:
                length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
            mask = await self._reader.readexactly(4)
            data = _unmask(await self._reader.readexactly(length), mask)
            if opcode == CLOSE:
                return b""
            if opcode == PING:
                await self._frame(PONG, data)
            if opcode in (BINARY, CONTINUATION):
                message += data
                if first & 128:
                    return message

    async def _frame(self, opcode: int, data: bytes) -> None:
        length = len(data)
        if length < 126:
            header = bytes([128 | opcode, length])
        elif length < 65536:
            header = bytes([128 | opcode, 126]) + length.to_bytes(2, "big")
        else:
            header = bytes([128 | opcode, 127]) + length.to_bytes(8, "big")
        await self._write(header + data)


def _unmask(data: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(data), "big")
