"""The same behaviour on SQLite and Postgres; the suite runs on either."""

import threading
from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, delete, event, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from shared.kit.database import (
    Base,
    SessionDep,
    Violation,
    begin_reading,
    db_now,
    make_engine,
    make_sessions,
    now_expression,
    violated,
)
from shared.kit.problems import install_problem_handlers


class Camera(Base):
    __tablename__ = "kit_test_cameras"
    __table_args__ = (
        UniqueConstraint("site", "name"),
        CheckConstraint("size > 0", name="size"),
        Index(
            "uq_kit_test_cameras_alias_live",
            "alias",
            unique=True,
            sqlite_where=text("size < 9"),
            postgresql_where=text("size < 9"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(20), default="roof")
    name: Mapped[str] = mapped_column(String(20))
    alias: Mapped[str | None] = mapped_column(String(20))
    size: Mapped[int] = mapped_column(default=1)
    seen_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    parent: Mapped[int | None] = mapped_column(ForeignKey("kit_test_cameras.id"))


TABLE = Camera.__table__


@pytest.fixture
def engine(empty_database):
    engine = make_engine(empty_database)
    TABLE.create(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine):
    return make_sessions(engine)


def store(sessions, **values):
    with sessions.begin() as session:
        session.add(Camera(**values))


def violation(sessions, **values):
    with pytest.raises(IntegrityError) as caught:
        store(sessions, **values)
    return violated(caught.value)


def test_times_come_back_aware_and_in_utc(sessions):
    there = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=timezone(timedelta(hours=-5)))
    store(sessions, id=1, name="a", seen_at=there)
    with sessions() as session:
        seen = session.scalars(select(Camera.seen_at)).one()
    assert seen == there
    assert seen.tzinfo is UTC


def test_a_naive_time_is_refused(sessions):
    with pytest.raises(Exception, match="naive datetime"):
        store(sessions, id=1, name="a", seen_at=datetime(2026, 3, 1))


def test_stored_times_compare_with_the_databases_clock(sessions):
    with sessions.begin() as session:
        now = db_now(session)
        past, future = now - timedelta(milliseconds=5), now + timedelta(minutes=1)
        session.add_all([Camera(id=1, name="a", seen_at=past), Camera(id=2, name="b", seen_at=future)])
        session.flush()
        assert session.scalars(select(Camera.id).where(Camera.seen_at < now_expression())).all() == [1]


def test_the_databases_clock_goes_on_inside_a_transaction(sessions):
    with sessions() as session:
        first = db_now(session)
        threading.Event().wait(0.02)
        assert db_now(session) > first
        assert abs(db_now(session) - datetime.now(UTC)) < timedelta(seconds=5)


def test_violations_name_table_and_columns(sessions):
    store(sessions, id=1, name="a", alias="x")
    assert violation(sessions, id=2, name="a") == ("kit_test_cameras", ("site", "name"))
    assert violation(sessions, id=1, name="b") == ("kit_test_cameras", ("id",))
    assert violation(sessions, id=2, name="b", alias="x") == ("kit_test_cameras", ("alias",))
    assert violation(sessions, id=2, name=None) == ("kit_test_cameras", ("name",))
    assert violation(sessions, id=2, name="b", size=0).table == "kit_test_cameras"


def test_a_foreign_key_is_enforced_and_is_no_unique_violation(sessions):
    assert violation(sessions, id=2, name="b", parent=99) in {Violation("", ()), Violation("kit_test_cameras", ("parent",))}


def test_a_failed_savepoint_leaves_the_transaction_usable(sessions):
    store(sessions, id=1, name="a")
    with sessions.begin() as session:
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add(Camera(id=2, name="a"))
        session.add(Camera(id=3, name="c"))
    with sessions() as session:
        assert session.scalars(select(Camera.id).order_by(Camera.id)).all() == [1, 3]


def test_a_reader_does_not_wait_for_a_writer_and_sees_no_half_work(sessions):
    with sessions.begin() as writer:
        writer.add(Camera(id=1, name="a"))
        writer.flush()
        with sessions() as reader:
            begin_reading(reader)
            assert reader.scalar(select(func.count()).select_from(Camera)) == 0


def test_reading_does_not_stick_to_the_pooled_connection(engine, sessions):
    begun = []
    event.listen(engine, "before_cursor_execute", lambda *called: begun.append(called[2]))
    for _ in range(3):
        with sessions() as session:
            begin_reading(session)
            session.scalar(select(func.count()).select_from(Camera))
        store(sessions, id=1, name="a")
        with sessions.begin() as session:
            session.execute(delete(Camera))
    begins = [statement for statement in begun if statement.startswith("BEGIN")]
    if engine.dialect.name == "sqlite":
        assert begins == ["BEGIN", "BEGIN IMMEDIATE", "BEGIN IMMEDIATE"] * 3


def test_counters_raised_by_many_threads_lose_nothing(sessions):
    store(sessions, id=1, name="a", size=1)

    def work():
        for _ in range(10):
            with sessions.begin() as session:
                session.execute(update(Camera).values(size=Camera.size + 1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sessions() as session:
        assert session.scalars(select(Camera.size)).one() == 81


def test_nobody_is_told_of_a_success_before_the_commit(sessions, serve):
    app = FastAPI()
    install_problem_handlers(app)
    app.state.sessions = sessions

    @app.post("/cameras")
    def make(session: SessionDep):
        session.add(Camera(id=1, name="a"))
        event.listen(session, "before_commit", refuse)

    def refuse(session):
        raise OSError("disk full")

    with httpx.Client(base_url=serve(app).url, timeout=60) as client:
        assert client.post("/cameras").status_code == 500
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Camera)) == 0
