"""Downloads with ranges (RFC 9110, section 14) of content whose strong ETag never changes."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from shared.kit.problems import RangeNotSatisfiable

_SINGLE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class Span(NamedTuple):
    """Bytes ``start`` up to but without ``end``."""

    start: int
    end: int


def parse_range(header: str | None, size_bytes: int) -> Span | None:
    """The one range that ``header`` asks for; None means the whole, as for several ranges and other units.

    Raises RangeNotSatisfiable when nothing of the content lies inside.
    """
    match = _SINGLE.fullmatch((header or "").strip())
    if match is None or match.group(1) == match.group(2) == "":
        return None
    span = _span(match.group(1), match.group(2), size_bytes)
    if span is None:
        return None
    if span.start >= span.end:
        raise RangeNotSatisfiable(f"{header} lies outside of {size_bytes} bytes.", size_bytes=size_bytes)
    return span


def _span(first: str, last: str, size: int) -> Span | None:
    if not first:
        return Span(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None  # malformed, and so to be ignored
    return Span(int(first), min(int(last) + 1, size) if last else size)


def serve_ranges(
    request: Request, *, etag: str, size_bytes: int, read: Callable[[int, int], Iterator[bytes]], filename: str
) -> Response:
    """200, 206 or 304 for immutable bytes; HEAD as GET without them. ``read(start, end)`` gives their chunks."""
    quoted = f'"{etag}"'
    headers = _headers(quoted, filename)
    if request.headers.get("if-none-match") in {quoted, "*"}:
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range") if request.headers.get("if-range", quoted) == quoted else None
    span = parse_range(wanted, size_bytes)
    start, end = span or Span(0, size_bytes)
    headers["Content-Length"] = str(end - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    status = 206 if span else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    return StreamingResponse(read(start, end), status, headers, media_type="application/octet-stream")


def _headers(etag: str, filename: str) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Cache-Control": "private, max-age=31536000, immutable",
        # What others uploaded must never be run as a page of ours.
        "Content-Disposition": f'attachment; filename="{re.sub("[^A-Za-z0-9._-]", "_", filename)}"',
        "X-Content-Type-Options": "nosniff",
    }
