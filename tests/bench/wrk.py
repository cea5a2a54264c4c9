"""Puts load on HTTP services with wrk, where even the leanest generator in Python would take more than what it measures."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.load import Result

SCRIPT: Final = Path(__file__).parent / "peers" / "polls.lua"
_SUMMARY: Final = re.compile(r"^summary (\{.*\})$", re.MULTILINE)
_GRACE_S: Final = 30


def is_installed() -> bool:
    """Whether there is a wrk to run."""
    return shutil.which("wrk") is not None


def write_requests(path: Path, requests: Sequence[bytes]) -> None:
    """Whole requests, as the Lua table that the script reads."""
    path.write_text("return {\n" + "".join(f'"{_escaped(request)}",\n' for request in requests) + "}\n")


def get(path: str, host: str, **headers: str) -> bytes:
    """A request without a body; underscores in the names of headers are hyphens."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def run(requests: Path, ports: Sequence[int], *, concurrency: int, seconds: float) -> Result:
    """So many connections, spread over the ports alike, one thread each. Answers above 399 are failures, as are lost ones."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    # wrk takes whole seconds only. Its own address is not asked: the script gives each thread one.
    options = ["-t", str(len(ports)), "-c", str(concurrency), "-d", str(max(1, round(seconds))), "--timeout", "10s"]
    command = ["wrk", *options, "-s", str(SCRIPT), f"http://{addresses[0]}", "--", str(requests), *addresses]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + _GRACE_S)
    summary = _SUMMARY.search(done.stdout)
    if done.returncode or summary is None:
        raise RuntimeError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    return _result(json.loads(summary[1]))


def _result(told: dict[str, float]) -> Result:
    failures = [f"{told[what]:.0f} {what}" for what in ("statuses", "lost") if told[what]]
    return Result(
        rate=told["requests"] / told["seconds"],
        p50_ms=told["p50_ms"],
        p99_ms=told["p99_ms"],
        requests=int(told["requests"]),
        failed=int(told["statuses"] + told["lost"]),
        failures=failures,
    )


def _escaped(request: bytes) -> str:
    """Inside a Lua string: whatever is not plain ASCII is written as three decimal digits."""
    return "".join(chr(each) if 32 <= each < 127 and chr(each) not in '"\\' else f"\\{each:03d}" for each in request)
