"""How hawkBit's management API writes its messages: camel case, times in milliseconds, links, numbered pages."""

from datetime import datetime
from typing import Annotated, Generic, TypeVar
from urllib.parse import quote

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.fleet.hawkbit.errors import NotSupported
from services.fleet.runtime import ServicesDep
from shared.contracts.base import Lenient, Strict

Item = TypeVar("Item")
Row = TypeVar("Row")
MOST_BODIES = 200
"""Things that one request may make."""
_PRINTABLE = "must be text that can be seen, without blanks at its ends"


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError(_PRINTABLE)
    return text


def _line(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL character")
    return text


Title = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
VersionText = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
Description = Annotated[str, StringConstraints(max_length=512), AfterValidator(_line)]


class Asked(Strict):
    """What a client sends."""

    model_config = ConfigDict(alias_generator=to_camel)


class Told(Lenient):
    """What a client is answered."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class Href(Lenient):
    """HAL."""

    href: str


Links = dict[str, Href]


class Paged(Told, Generic[Item]):
    """A page of a list. ``size``: of this page; ``total``: of all pages."""

    content: list[Item]
    total: int
    size: int


class Window(Told):
    """Which page."""

    offset: int = Field(ge=0, le=2**31 - 1)
    limit: int = Field(ge=1, le=500)
    descending: bool
    q: str | None


def _window(
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    sort: Annotated[str, Query(max_length=64, description="`id:ASC` or `id:DESC`")] = "id:ASC",
    q: Annotated[str | None, Query(max_length=300, description="FIQL; of targets: `controllerId==x`")] = None,
) -> Window:
    field, _, direction = sort.partition(":")
    if field.lower() != "id" or direction.upper() not in {"", "ASC", "DESC"}:
        raise NotSupported(f"Lists are sorted by id:ASC or id:DESC here, not by {sort!r}.")
    return Window(offset=offset, limit=limit, descending=direction.upper() == "DESC", q=q)


def _window_without_query(window: Annotated[Window, Depends(_window)]) -> Window:
    if window.q is not None:
        raise NotSupported("This list takes no query q.")
    return window


QueryWindowDep = Annotated[Window, Depends(_window)]
WindowDep = Annotated[Window, Depends(_window_without_query)]


def page_of(
    session: Session, query: Select[Row], key: InstrumentedAttribute[int] | InstrumentedAttribute[str], window: Window
) -> tuple[list[Row], int]:
    """The window's rows of ``query``, and how many there are in all."""
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    order: ColumnElement[int] | ColumnElement[str] = key.desc() if window.descending else key.asc()
    rows = session.scalars(query.order_by(order).limit(window.limit).offset(window.offset)).all()
    return list(rows), total


def ms(at: datetime | None) -> int | None:
    """Milliseconds since 1970, as hawkBit tells time."""
    return None if at is None else int(at.timestamp() * 1000)


class Base:
    """Makes links to this service as its clients see it."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __call__(self, *path: str | int) -> Href:
        """Below `/rest/v1`."""
        return Href(href="/".join([self._url, "rest/v1", *(quote(str(each), safe="") for each in path)]))


def base(request: Request, services: ServicesDep) -> Base:
    """The address that the client used, or the one that the service was told."""
    return Base(services.settings.public_url or str(request.base_url))


BaseDep = Annotated[Base, Depends(base)]
