"""Cursor-paged lists."""

from typing import Generic, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page. ``next_cursor`` is opaque and None on the last page."""

    items: list[T]
    next_cursor: str | None = None
