"""Cursor-paged lists as plain iterators."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from shared.client.transport import Transport, parsed
from shared.contracts.pages import Page

M = TypeVar("M", bound=BaseModel)


def every(
    transport: Transport,
    path: str,
    model: type[M],
    params: Mapping[str, Any] | None = None,
    *,
    limit: int | None = None,
    page_size: int = 100,
) -> Iterator[M]:
    """All items under ``path``, page by page as they are consumed; at most ``limit`` of them."""
    page_type: type[Page[M]] = Page[model]  # type: ignore[valid-type]
    cursor: str | None = None
    given = 0
    while limit is None or given < limit:
        size = page_size if limit is None else min(page_size, limit - given)
        page = parsed(page_type, transport.call("GET", path, params={**(params or {}), "limit": size, "cursor": cursor}))
        yield from page.items[:size]
        given += len(page.items[:size])
        cursor = page.next_cursor
        if cursor is None or not page.items:
            return
