"""Idempotency-Key: a POST that creates runs once per key holder, route and key, kept for 24 hours.

The row is written in the caller's transaction, so the stored answer and what it tells of become true together; of two
requests at the same time the second waits for the first (a unique key in Postgres, the write lock in SQLite).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Protocol

from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import CursorResult, String, Text, delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column, sessionmaker

from shared.kit.database import Base, SessionDep, db_now
from shared.kit.problems import Conflict

KEPT: Final = timedelta(hours=24)
REPLAYED: Final = "Idempotency-Replayed"


class IdempotencyConflict(Conflict):
    """The key was used with another body."""

    title = "Idempotency-Key used with another body"
    hint = "use a new Idempotency-Key for another request"


class StoredAnswer(Base):
    """What a key holder was answered on a route for an Idempotency-Key."""

    __tablename__ = "idempotency_answers"

    holder: Mapped[str] = mapped_column(String(64), primary_key=True)
    route: Mapped[str] = mapped_column(String(256), primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    answer: Mapped[str | None] = mapped_column(Text)
    """JSON as it was sent: a JSON column would reorder it."""
    created_at: Mapped[datetime] = mapped_column(index=True)

    @property
    def identity(self) -> tuple[str, str, str]:
        """The primary key."""
        return self.holder, self.route, self.key_hash


class _Hidden(BaseModel):
    """Stands for an answer that must not be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """Runs a creation once. Bound to the request; the route hands in its body and what to do."""

    session: Session
    request: Request
    key: str | None

    def answer(self, body: BaseModel, make: Callable[[], BaseModel], *, status: int = 201) -> Response:
        """The answer of ``make()``, or the stored one if this key holder sent the same before.

        Raises IdempotencyConflict for another body. When ``make`` raises, nothing is kept. Every answer is rendered here,
        so that the first and the repeated one are equal byte for byte.
        """
        if self.key is None:
            return _json(make().model_dump_json(), status)
        identity = self._identity(self.key)
        earlier = _reserve(self.session, identity, _hash_body(body))
        if earlier is not None:
            return _repeated(earlier)
        answer = make().model_dump_json()
        _keep(self.session, identity, status, answer)
        return _json(answer, status)

    def earlier(self, body: BaseModel) -> Response | None:
        """What ``answer`` would repeat, without taking the key: for what takes too long to be done in one transaction.

        Ask first, do it, then ``answer``. Whoever sends the same meanwhile does it too. Raises IdempotencyConflict.
        """
        if self.key is None:
            return None
        since = db_now(self.session) - KEPT
        stored = select(StoredAnswer).where(*_is(self._identity(self.key)), StoredAnswer.created_at >= since)
        earlier = self.session.scalar(stored)
        return None if earlier is None else _repeated(_same(earlier, _hash_body(body)))

    def answer_secretly(self, body: BaseModel, make: Callable[[], BaseModel], *, already: type[Conflict]) -> Response:
        """As ``answer``, for an answer that holds a secret: it is not kept, and a repetition raises ``already``."""
        made: list[BaseModel] = []

        def make_and_hide() -> BaseModel:
            made.append(make())
            return _Hidden()

        response = self.answer(body, make_and_hide)
        if not made:
            raise already("This Idempotency-Key has made a key before.")
        return _json(made[0].model_dump_json(), response.status_code)

    def _identity(self, key: str) -> tuple[str, str, str]:
        return self.request.state.actor.key_id, f"{self.request.method} {self.request.url.path}", _hash(key)


def _repeated(earlier: StoredAnswer) -> Response:
    return _json(earlier.answer, earlier.status or 200, replayed=True)


def _json(answer: str | None, status: int, *, replayed: bool = False) -> Response:
    return Response(answer, status, {REPLAYED: "true"} if replayed else None, media_type="application/json")


def _keep(session: Session, identity: tuple[str, str, str], status: int, answer: str) -> None:
    row = session.get_one(StoredAnswer, identity)
    row.status, row.answer = status, answer
    session.flush()


def _reserve(session: Session, identity: tuple[str, str, str], body_hash: str) -> StoredAnswer | None:
    """Take the key, or give the answer that someone else's use of it has stored."""
    now = db_now(session)
    session.execute(delete(StoredAnswer).where(*_is(identity), StoredAnswer.created_at < now - KEPT))
    holder, route, key_hash = identity
    values = {"holder": holder, "route": route, "key_hash": key_hash, "body_hash": body_hash, "created_at": now}
    try:
        with session.begin_nested():
            session.execute(insert(StoredAnswer).values(values))
    except IntegrityError:
        return _earlier(session, identity, body_hash)
    return None


def _earlier(session: Session, identity: tuple[str, str, str], body_hash: str) -> StoredAnswer:
    return _same(session.get_one(StoredAnswer, identity), body_hash)


def _same(row: StoredAnswer, body_hash: str) -> StoredAnswer:
    if row.body_hash != body_hash:
        raise IdempotencyConflict("This Idempotency-Key was used on this route with another body.")
    return row


def _is(identity: tuple[str, str, str]) -> tuple[Any, Any, Any]:
    holder, route, key_hash = identity
    return StoredAnswer.holder == holder, StoredAnswer.route == route, StoredAnswer.key_hash == key_hash


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_body(body: BaseModel) -> str:
    # Of the parsed body: key order and written-out defaults make no other request.
    return _hash(json.dumps(body.model_dump(mode="json"), sort_keys=True))


def forget_old_answers(session: Session) -> int:
    """Delete answers older than 24 hours; returns how many."""
    result = session.execute(delete(StoredAnswer).where(StoredAnswer.created_at < db_now(session) - KEPT))
    assert isinstance(result, CursorResult)
    return result.rowcount


class HasSessions(Protocol):
    """What a service's loops are given."""

    @property
    def sessions(self) -> sessionmaker[Session]:
        """On the service's database."""
        ...


def forget_answers(services: HasSessions) -> None:
    """The tick of each service's retention loop."""
    with services.sessions.begin() as session:
        forget_old_answers(session)


def once(
    session: SessionDep,
    request: Request,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, description="same key and body: same answer, for 24 hours")
    ] = None,
) -> Once:
    """Binds ``Idempotency-Key`` to the request's session and caller."""
    return Once(session=session, request=request, key=idempotency_key)


# scope="function" as its session has it.
OnceDep = Annotated[Once, Depends(once, scope="function")]
