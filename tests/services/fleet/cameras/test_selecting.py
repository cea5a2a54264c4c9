"""Selectors in SQL: the database finds the same cameras as the rules."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import delete

from services.fleet.cameras.models import Camera, CameraLabel
from services.fleet.cameras.selecting import matching
from services.fleet.cameras.selector import Operator, Selector, Term, parse
from shared.kit.database import db_now, make_engine, make_sessions

# Few keys and values, so that selectors and cameras meet.
KEYS = st.sampled_from(["a", "b", "c/d"])
VALUES = st.sampled_from(["", "x", "y", "Z.1"])
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
SETS = st.sets(VALUES, min_size=1, max_size=3).map(lambda values: tuple(sorted(values)))
TERMS = st.one_of(
    st.builds(Term, KEYS, st.sampled_from([Operator.IN, Operator.NOT_IN]), SETS),
    st.builds(Term, KEYS, st.sampled_from([Operator.EXISTS, Operator.MISSING])),
)


@pytest.fixture
def sessions(database_url):
    engine = make_engine(database_url)
    yield make_sessions(engine)
    engine.dispose()


def a_camera(session, number, labels, *, deleted=False):
    camera = Camera(
        id=f"{number:036d}",
        controller_id=f"camera-{number}",
        format="package",
        labels=labels,
        attributes={},
        registered_by="a-test",
        deleted_at=db_now(session) if deleted else None,
    )
    session.add(camera)
    session.flush()
    session.add_all(CameraLabel(camera_id=camera.id, key=key, value=value) for key, value in labels.items())
    return camera


@examples(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cameras=st.lists(LABELS, max_size=5), terms=st.lists(TERMS, max_size=4))
def test_the_database_and_the_rules_agree(sessions, cameras, terms):
    selector = Selector(tuple(terms))
    with sessions() as session:  # never committed
        session.execute(delete(Camera))
        for number, labels in enumerate(cameras):
            a_camera(session, number, labels)
        found = {camera.id for camera in session.scalars(matching(selector))}
        assert found == {f"{number:036d}" for number, labels in enumerate(cameras) if selector.matches(labels)}


def test_cameras_that_are_gone_are_selected_by_nothing(sessions):
    with sessions() as session:
        a_camera(session, 1, {"a": "x"}, deleted=True)
        assert session.scalars(matching(parse(""))).all() == []
        assert session.scalars(matching(parse("a=x"))).all() == []


def test_the_longest_selector_is_still_a_statement(sessions):
    with sessions() as session:
        camera = a_camera(session, 1, {"a": "x"})
        text = ",".join(f"a notin ({number})" for number in range(32))
        assert session.scalars(matching(parse(text))).all() == [camera]
