"""Cursor-paged lists."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import String, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from shared.contracts.base import new_id
from shared.kit.database import Base, make_engine, make_sessions
from shared.kit.pages import PageParams, decode_cursor, encode_cursor, newest_first
from shared.kit.problems import InvalidRequest


class Leaf(Base):
    __tablename__ = "kit_test_leaves"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)


@pytest.fixture
def session(empty_database):
    engine = make_engine(empty_database)
    Leaf.__table__.create(engine)
    with make_sessions(engine)() as session:
        yield session
    engine.dispose()


def walk(session, limit):
    pages, cursor = [], None
    while True:
        rows, cursor = newest_first(session, select(Leaf), Leaf.id, PageParams(limit, cursor))
        pages.append([row.id for row in rows])
        if cursor is None:
            return pages


@pytest.mark.parametrize(("rows", "limit", "sizes"), [(0, 3, [0]), (3, 3, [3]), (7, 3, [3, 3, 1]), (6, 3, [3, 3])])
def test_pages_hold_every_row_once_newest_first(session, rows, limit, sizes):
    ids = [new_id() for _ in range(rows)]
    session.add_all([Leaf(id=one) for one in ids])
    session.flush()
    pages = walk(session, limit)
    assert [len(page) for page in pages] == sizes
    assert [one for page in pages for one in page] == sorted(ids, reverse=True)


def test_rows_that_come_and_go_do_not_shift_the_next_page(session):
    ids = sorted(new_id() for _ in range(6))
    session.add_all([Leaf(id=one) for one in ids])
    session.flush()
    _, cursor = newest_first(session, select(Leaf), Leaf.id, PageParams(2, None))
    session.execute(delete(Leaf).where(Leaf.id == ids[-1]))
    session.add(Leaf(id=new_id()))
    session.flush()
    rows, _ = newest_first(session, select(Leaf), Leaf.id, PageParams(2, cursor))
    assert [row.id for row in rows] == [ids[3], ids[2]]


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40))
def test_a_cursor_gives_back_its_key(text):
    assert decode_cursor(encode_cursor(text, 3), 2) == [text, 3]


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "äöü",
        "!!!!",
        encode_cursor("a", "b"),
        encode_cursor(None),
        encode_cursor({"a": 1}),
        encode_cursor("\0"),
        encode_cursor("\ud800"),
        encode_cursor(True),
    ],
)
def test_a_foreign_cursor_is_refused(cursor):
    with pytest.raises(InvalidRequest) as caught:
        decode_cursor(cursor)
    assert caught.value.members["errors"][0]["field"] == "query.cursor"


@given(st.text(max_size=60))
def test_no_text_does_worse_than_be_refused(text):
    with contextlib.suppress(InvalidRequest):
        decode_cursor(text)
