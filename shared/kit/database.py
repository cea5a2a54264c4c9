"""SQLAlchemy on SQLite and Postgres alike: engine, base class, time, sessions, violated constraints."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, NamedTuple

from fastapi import Depends, Request
from sqlalchemy import JSON, Connection, DateTime, Dialect, Engine, MetaData, Table, create_engine, event, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.schema import Constraint, Index
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

READING: Final = "picofleet_reading"
"""Execution option: the transaction only reads, so on SQLite it does not wait for writers."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime in Python; ``timestamptz`` in Postgres, text in UTC in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive values: they would mean another instant on another machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive datetime cannot be stored: {value!r}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware, always UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json: Final = JSON().with_variant(JSONB(), "postgresql")
"""Column type of JSON documents. Assign a new value to change one: changes inside are not seen."""


class Base(DeclarativeBase):
    """Base of all tables. ``Mapped[datetime]`` is UTC; ``Mapped[dict[str, Any]]`` and ``Mapped[list[Any]]`` are JSON."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: Json,
        dict[str, str]: Json,
        list[Any]: Json,
        list[str]: Json,
    }


class now_expression(FunctionElement[datetime]):
    """The database's clock when the statement runs, usable in statements and as ``insert_default``."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(now_expression)
def _now(element: Any, compiler: Any, **kw: Any) -> str:
    # now() would be the start of the transaction, which may have waited for a lock since.
    del element, compiler, kw
    return "clock_timestamp()"


@compiles(now_expression, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    # Six digits, as SQLAlchemy stores them, so that text compares like time.
    del element, compiler, kw
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"


def db_now(session: Session) -> datetime:
    """The database's clock: the only one that leases, expiries and events go by."""
    return session.execute(select(type_coerce(now_expression(), UtcDateTime()))).scalar_one()


def make_engine(url: str) -> Engine:
    """An engine for ``sqlite:///file`` or ``postgresql+psycopg://...``; a plain ``postgresql://`` uses psycopg too."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    # As many connections as the web framework has threads (40).
    return create_engine(parsed, pool_size=20, max_overflow=20, pool_pre_ping=True, pool_timeout=15)


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, pool_size=20, max_overflow=20, pool_timeout=15, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    del record
    connection.isolation_level = None  # we write BEGIN ourselves: the driver's own comes too late for IMMEDIATE
    cursor = connection.cursor()
    for pragma in ("busy_timeout = 15000", "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later fails at once when another wrote in between,
    # whatever the busy timeout; so all that may write takes the lock first.
    reading = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose rows stay readable after commit, since answers are rendered then."""
    return sessionmaker(engine, expire_on_commit=False)


def begin_reading(session: Session) -> None:
    """Open the session's transaction as one that only reads; call it before the first statement."""
    session.connection(execution_options={READING: True})


@contextmanager
def read_once(engine: Engine) -> Iterator[Connection]:
    """A connection for one statement that only reads.

    In Postgres a statement is a transaction in itself: to begin and end one would take two further round trips.
    """
    options = {READING: True} if engine.dialect.name == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
    with engine.connect() as connection:
        yield connection.execution_options(**options)


def get_session(request: Request) -> Iterator[Session]:
    """One transaction per request: committed when the route returns, rolled back when it raises."""
    with request.app.state.sessions.begin() as session:
        if request.method in {"GET", "HEAD"}:
            begin_reading(session)
        yield session


# scope="function": with the default the client would have its answer before the commit ran.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]


class Violation(NamedTuple):
    """The table and the columns, in the constraint's order, of a violated constraint. Empty where the database is silent."""

    table: str
    columns: tuple[str, ...]


def violated(exc: IntegrityError) -> Violation:
    """Which constraint was violated, by table and columns, since SQLite gives no names.

    SQLite says nothing at all of a foreign key, so compare with unique constraints, checks and NOT NULL only.
    """
    diagnostics = getattr(exc.orig, "diag", None)
    if diagnostics is None:
        return _violated_sqlite(str(exc.orig))
    if diagnostics.column_name:
        return Violation(diagnostics.table_name or "", (diagnostics.column_name,))
    return _named(diagnostics.constraint_name or "")


def _violated_sqlite(message: str) -> Violation:
    _, _, told = message.partition("constraint failed: ")
    if named := re.fullmatch(r"index '(.+)'|(ck_\w+)", told):
        return _named(named[1] or named[2])
    parts = [part.split(".", 1) for part in told.split(", ") if "." in part]
    return Violation(parts[0][0], tuple(column for _, column in parts)) if parts else Violation("", ())


def _named(name: str) -> Violation:
    for table in _tables():
        items: list[Constraint | Index] = [*table.constraints, *table.indexes]
        for item in items:
            if item.name == name:
                return Violation(table.name, tuple(column.name for column in getattr(item, "columns", ())))
    return Violation("", ())


def _tables() -> Iterator[Table]:
    """All that are mapped: a service may keep its tables in a metadata of its own."""
    for mapper in Base.registry.mappers:
        if isinstance(mapper.local_table, Table):
            yield mapper.local_table
