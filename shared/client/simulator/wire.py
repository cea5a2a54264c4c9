"""HTTP/1.1 with as little as thousands of cameras need: kept connections, bodies with a length or in chunks.

httpx's AsyncClient takes 0.5 to 1 ms of a core per request, as much as the service takes to answer it; this takes a tenth. It
speaks to the service alone: no redirects, no proxies, no cookies, no compression.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from shared.client.transport import checked_url

PIECE: Final = 1 << 16
LONGEST_BODY: Final = 16 << 20
"""Of what is kept in memory; downloads go through a sink."""
_WITHOUT_BODY: Final = frozenset({204, 304})

Sink = Callable[[bytes], object]


class WireError(Exception):
    """No answer, or none that is HTTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Names of headers are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


class Wire:
    """A pool of at most ``connections`` to one service. Belongs to one event loop."""

    def __init__(self, url: str, *, connections: int = 64, timeout_s: float = 30.0) -> None:
        parts = urlsplit(checked_url(url))
        assert parts.hostname is not None
        self._host, self._prefix, self._timeout_s = parts.hostname, parts.path, timeout_s
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._host_line = f"Host: {parts.netloc.rpartition('@')[2]}\r\nUser-Agent: picofleet-simulator\r\n".encode()
        self._free: list[_Connection] = []
        self._turns = asyncio.Semaphore(connections)

    async def request(
        self, method: str, path: str, headers: bytes = b"", body: bytes | None = None, *, sink: Sink | None = None
    ) -> Reply:
        """One exchange. ``headers``: lines that each end in CRLF. ``sink`` gets the body of a 200 instead of the reply.

        ``path`` may be a link of the service: its host is left aside, as one that a gateway stands before says another.
        WireError if nobody answers in time.
        """
        head = f"{method} {self._target(path)} HTTP/1.1\r\n".encode("ascii") + self._host_line + headers
        if body is not None:
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        message = head + b"\r\n" + (body or b"")
        async with self._turns:
            return await self._sent(message, is_head=method == "HEAD", sink=sink)

    async def close(self) -> None:
        """Close all connections that are free."""
        while self._free:
            self._free.pop().close()

    def _target(self, path: str) -> str:
        if path.startswith("/"):
            return self._prefix + path
        parts = urlsplit(path)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    async def _sent(self, message: bytes, *, is_head: bool, sink: Sink | None) -> Reply:
        while True:
            connection = self._free.pop() if self._free else await self._open()
            try:
                async with asyncio.timeout(self._timeout_s):
                    reply = await connection.exchange(message, is_head=is_head, sink=sink)
            except TimeoutError as exc:
                connection.close()
                raise WireError(f"no answer within {self._timeout_s:g} s") from exc
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as exc:
                connection.close()
                if connection.exchanges and not connection.answered:
                    continue  # the service may close a connection that nobody used for a while; nothing was read of it
                raise WireError(str(exc) or type(exc).__name__) from exc
            except BaseException:
                connection.close()
                raise
            if connection.is_open:
                self._free.append(connection)
            else:
                connection.close()
            return reply

    async def _open(self) -> "_Connection":
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=PIECE)
        except OSError as exc:
            raise WireError(str(exc) or "nobody answers") from exc
        return _Connection(reader, writer)


class _Connection:
    """One exchange after the other."""

    __slots__ = ("_reader", "_writer", "answered", "exchanges", "is_open")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.exchanges, self.answered, self.is_open = 0, False, True

    def close(self) -> None:
        self._writer.close()

    async def exchange(self, message: bytes, *, is_head: bool, sink: Sink | None) -> Reply:
        """OSError, EOFError, ValueError or LimitOverrunError; then the connection is of no use any more."""
        self.answered = False
        self._writer.write(message)
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.answered = True
        first, *lines = head[:-4].split(b"\r\n")
        if not first.startswith(b"HTTP/1.1 "):
            raise ValueError("the answer is no HTTP/1.1")
        status = int(first[9:12])
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        self.is_open = headers.get(b"connection", b"").lower() != b"close"
        self.exchanges += 1
        if is_head or status in _WITHOUT_BODY:
            return Reply(status, headers, b"")
        return Reply(status, headers, await self._body(headers, sink if status == 200 else None))

    async def _body(self, headers: dict[bytes, bytes], sink: Sink | None) -> bytes:
        kept = bytearray()
        take = kept.extend if sink is None else sink
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            while length := int((await self._reader.readline()).split(b";")[0], 16):
                await self._pieces(length, take, kept)
                await self._reader.readexactly(2)
            while await self._reader.readline() not in {b"\r\n", b""}:
                pass
        elif b"content-length" in headers:
            await self._pieces(int(headers[b"content-length"]), take, kept)
        else:
            raise ValueError("the answer has no length")
        return bytes(kept)

    async def _pieces(self, length: int, take: Sink, kept: bytearray) -> None:
        if len(kept) + length > LONGEST_BODY and take == kept.extend:
            raise ValueError(f"the answer has more than {LONGEST_BODY:,} bytes")
        while length:
            piece = await self._reader.readexactly(min(length, PIECE))
            take(piece)
            length -= len(piece)
