"""Cursor-paged lists, newest first. A cursor is opaque: base64url of the last row's sort key."""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import Depends, Query
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.kit.problems import InvalidRequest

Row = TypeVar("Row")


class PageParams(NamedTuple):
    """What a caller asks of a list."""

    limit: int
    cursor: str | None


def page_params(
    limit: Annotated[int, Query(ge=1, le=200, description="rows per page")] = 50,
    cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before")] = None,
) -> PageParams:
    """``?limit=&cursor=`` of every list."""
    return PageParams(limit, cursor)


PageDep = Annotated[PageParams, Depends(page_params)]


def encode_cursor(*key: Any) -> str:
    """The cursor of a row by its sort key; JSON values only."""
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, length: int = 1) -> list[Any]:
    """The sort key inside a cursor; InvalidRequest if it is not one of ours with ``length`` texts or numbers."""
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError) as exc:
        raise _bad_cursor() from exc
    if not isinstance(key, list) or len(key) != length or not all(_is_plain(part) for part in key):
        raise _bad_cursor()
    return key


def _is_plain(part: Any) -> bool:
    # Neither NUL, which Postgres stores in no text, nor half a character (a lone surrogate), which no database can be sent.
    return isinstance(part, str | int) and not isinstance(part, bool) and re.search("[\0\ud800-\udfff]", str(part)) is None


def _bad_cursor() -> InvalidRequest:
    return InvalidRequest.of_field("query.cursor", "not a cursor of this list", "leave it out to start at the first page")


def newest_first(
    session: Session, query: Select[Row], key: InstrumentedAttribute[str], page: PageParams
) -> tuple[Sequence[Row], str | None]:
    """One page of ``query`` by descending ``key``, a unique text column such as a UUIDv7 id, and the next cursor."""
    if page.cursor is not None:
        query = query.where(key < str(decode_cursor(page.cursor)[0]))
    rows = session.scalars(query.order_by(key.desc()).limit(page.limit + 1)).all()
    shown = rows[: page.limit]
    more = len(rows) > page.limit
    return shown, encode_cursor(getattr(shown[-1], key.key)) if more else None
