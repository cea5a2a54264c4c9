"""Puts load on an HTTP service: so many connections, each with one request under way at any time.

One process of its own that does next to nothing per request (well below 0.1 ms), since it shares the processors with the
service: requests are bytes made before, and of an answer only status, length and a few given pieces are looked at.
"""

import argparse
import asyncio
import base64
import json
import math
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

ROOT = Path(__file__).parents[2]
_RETRY_S = 0.02
_LAST_S = 30.0
"""How long answers are waited for at the end."""
_TOLD = 5
"""Failures that are told, of all that are counted."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """``payload``: all of it, head and body. ``answers``: what may come back, each as the pieces that the body then holds;
    none: anything.
    """

    payload: bytes
    answers: tuple[tuple[bytes, ...], ...] = ()

    def is_answered_by(self, body: bytes) -> bool:
        return not self.answers or any(all(piece in body for piece in answer) for answer in self.answers)


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of it, after the warm-up. ``seen``: how often each value of the counted pattern came back."""

    rate: float = 0.0
    p50_ms: float = math.nan
    p99_ms: float = math.nan
    requests: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``count``: requests that are sent, at the most; None: only the time ends it. ``pattern``: a regular expression whose
    first group is counted in the answers.
    """

    port: int
    concurrency: int
    seconds: float
    warm_up_s: float = 0.0
    count: int | None = None
    pattern: str | None = None


def write_requests(path: Path, requests: Sequence[Request]) -> None:
    """For ``run_apart``."""
    lines = [
        {"payload": base64.b64encode(each.payload).decode(), "answers": [[p.decode() for p in a] for a in each.answers]}
        for each in requests
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))


def read_requests(path: Path) -> list[Request]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        Request(base64.b64decode(each["payload"]), tuple(tuple(p.encode() for p in a) for a in each["answers"]))
        for each in found
    ]


def start_apart(requests: Path, load: Load) -> subprocess.Popen[str]:
    """The load in a process of its own; ``result_of`` waits for it."""
    command = [sys.executable, "-m", "tests.bench.load", str(requests), json.dumps(asdict(load))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def result_of(process: subprocess.Popen[str]) -> Result:
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the load generator failed")
    return Result(**json.loads(said))


def run_apart(requests: Path, load: Load) -> Result:
    return result_of(start_apart(requests, load))


def run(requests: Sequence[Request], load: Load) -> Result:
    """The load from this process."""
    return uvloop.run(_Generator(requests, load).run())


class _Generator:
    """The state that all connections share."""

    def __init__(self, requests: Sequence[Request], load: Load) -> None:
        self._requests, self._load = requests, load
        self._pattern = re.compile(load.pattern.encode()) if load.pattern else None
        self._sent = 0
        self._taken: list[float] = []
        self._result = Result()
        self._seen: Counter[str] = Counter()
        self._from = self._until = self._last = 0.0

    async def run(self) -> Result:
        self._from = self._last = time.perf_counter() + self._load.warm_up_s
        self._until = self._from + self._load.seconds
        tasks = [asyncio.create_task(self._keep_connected()) for _ in range(self._load.concurrency)]
        _, late = await asyncio.wait(tasks, timeout=self._until - time.perf_counter() + _LAST_S)
        for task in late:
            task.cancel()
            self.fail(f"no answer within {_LAST_S:.0f} s after the end")
        return self._summed_up()

    async def _keep_connected(self) -> None:
        """Requests over one connection after the other, until there are to be no more."""
        loop = asyncio.get_running_loop()
        while not self.is_over():
            try:
                _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._load.port)
            except OSError as exc:
                self.fail(f"no connection: {exc}")
                await asyncio.sleep(_RETRY_S)
                continue
            await connection.closed

    def is_over(self) -> bool:
        return time.perf_counter() >= self._until or self._sent == self._load.count

    def next(self) -> Request | None:
        """None: no more."""
        if self.is_over():
            return None
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        return request

    def take(self, request: Request, status: int, body: bytes, begun: float) -> None:
        """An answer has come."""
        now = time.perf_counter()
        if status != 200 or not request.is_answered_by(body):
            self.fail(f"{status}: {body[:300]!r}")
        if not self._from <= now < self._until:
            return
        self._taken.append(now - begun)
        self._last = now
        if self._pattern is not None and (found := self._pattern.search(body)) is not None:
            self._seen[found[1].decode()] += 1

    def fail(self, why: str) -> None:
        """Failures count whenever they happen, in the warm-up as well."""
        self._result.failed += 1
        if len(self._result.failures) < _TOLD:
            self._result.failures.append(why)

    def _summed_up(self) -> Result:
        taken = sorted(self._taken)
        result = self._result
        result.requests, result.seen = len(taken), dict(self._seen)
        if taken:
            # A load of a number of requests ends with the last of them.
            result.rate = len(taken) / (self._load.seconds if self._load.count is None else self._last - self._from)
            result.p50_ms, result.p99_ms = (1000 * quantile(taken, share) for share in (0.5, 0.99))
        return result


class _Connection(asyncio.Protocol):
    """One request after the other over one connection."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._request: Request | None = None
        self._buffer = bytearray()
        self._begun = 0.0
        self._body_at = self._ends_at = -1
        """Where the body begins and the answer ends in the buffer; -1: not known yet."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._request is not None:
            self._generator.fail(f"connection lost: {exc}")
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._body_at < 0 and not self._find_head():
            return
        if self._ends_at < 0 and not self._find_end_of_chunks():
            return
        if len(self._buffer) >= self._ends_at:
            self._finish()

    def _send(self) -> None:
        self._request = self._generator.next()
        if self._request is None:
            self._transport.close()
            return
        self._buffer.clear()
        self._body_at = self._ends_at = -1
        self._begun = time.perf_counter()
        self._transport.write(self._request.payload)

    def _find_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body_at = end + 4
        if (length := _LENGTH.search(self._buffer, 0, end)) is not None:
            self._ends_at = self._body_at + int(length[1])
        elif _CHUNKED.search(self._buffer, 0, end) is None:
            self._ends_at = self._body_at  # neither: no body
        return True

    def _find_end_of_chunks(self) -> bool:
        # Answers are text without an empty chunk's mark, so the mark is the end.
        if not self._buffer.endswith(b"\r\n0\r\n\r\n"):
            return False
        self._ends_at = len(self._buffer)
        return True

    def _finish(self) -> None:
        assert self._request is not None
        request, self._request = self._request, None
        body = bytes(memoryview(self._buffer)[self._body_at : self._ends_at])
        closes = _CLOSES.search(self._buffer, 0, self._body_at) is not None
        self._generator.take(request, int(self._buffer[9:12]), body, self._begun)
        if closes:
            self._transport.close()
        else:
            self._send()


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least value that ``share`` of all do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("requests", type=Path)
    parser.add_argument("load", type=json.loads)
    arguments = parser.parse_args()
    print(json.dumps(asdict(run(read_requests(arguments.requests), Load(**arguments.load)))))


if __name__ == "__main__":
    main()
