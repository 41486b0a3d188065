"""The channels of an exec as streams of SPDY/3.1, which the client opens and names one by one."""

import asyncio
import zlib

from tests.testbed.kubernetes.process import Channel
from tests.testbed.kubernetes.session import Connection, Message, Wire

PROTOCOL = "v4.channel.k8s.io"

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
CONTROL = 0x8003  # a control frame of SPDY version 3

# SPDY's specification gives this text, and compression of header blocks begins with it.
_NAMES = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length content-location
content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match
if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range
referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get
status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin
"""
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _sized(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


DICTIONARY = b"".join(_sized(name.replace("_", " ").encode()) for name in _NAMES.split()) + _TEXT.encode()


class Spdy(Connection):
    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._channels: dict[int, Channel] = {}
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    async def open(self, channels: set[Channel]) -> None:
        while not self.lost and not channels <= set(self._channels.values()):
            await self._next()

    async def receive(self) -> Message | None:
        while not self.lost:
            if message := await self._next():
                return message
        return None

    async def send(self, channel: Channel, data: bytes) -> None:
        await self._data(channel, 0, data)

    async def finish(self, status: bytes) -> None:
        for channel in set(self._channels.values()) & {Channel.STDOUT, Channel.STDERR}:
            await self._data(channel, FIN, b"")
        await self._data(Channel.ERROR, FIN, status)

    async def _next(self) -> Message | None:
        """Take in a frame; what it says on a channel, if that is what it is for."""
        try:
            header = await self._reader.readexactly(8)
            payload = await self._reader.readexactly(int.from_bytes(header[5:], "big"))
        except (asyncio.IncompleteReadError, OSError):
            self.lost = True
            return None
        number, flags = int.from_bytes(header[:4], "big"), header[4]
        if number < 1 << 31:
            return Message(self._channels[number], payload, last=bool(flags & FIN))
        match number & 0xFFFF:
            case frame if frame == SYN_STREAM:
                await self._open_stream(payload)
            case frame if frame == PING:
                await self._control(PING, payload)
            case frame if frame == GOAWAY:
                self.lost = True
        return None

    async def _open_stream(self, payload: bytes) -> None:
        number = int.from_bytes(payload[:4], "big")
        headers = _headers(self._inflate.decompress(payload[10:]))
        self._channels[number] = Channel[headers["streamtype"].upper()]
        no_headers = self._deflate.compress(bytes(4)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self._control(SYN_REPLY, payload[:4] + no_headers)

    async def _control(self, frame: int, payload: bytes) -> None:
        await self._write((CONTROL << 16 | frame).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload)

    async def _data(self, channel: Channel, flags: int, data: bytes) -> None:
        number = next(number for number, opened in self._channels.items() if opened is channel)
        await self._write(number.to_bytes(4, "big") + bytes([flags]) + len(data).to_bytes(3, "big") + data)


def _headers(block: bytes) -> dict[str, str]:
    """A header block's names and values: a count, then texts with their lengths before them."""
    texts, at = [], 4
    while at < len(block):
        end = at + 4 + int.from_bytes(block[at : at + 4], "big")
        texts.append(block[at + 4 : end].decode())
        at = end
    return dict(zip(texts[::2], texts[1::2], strict=True))
