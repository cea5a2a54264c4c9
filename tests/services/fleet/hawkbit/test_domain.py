"""The rules of hawkBit's API that need no database."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fleet.hawkbit.auth import secret_of
from services.fleet.hawkbit.configs.domain import BadValue, Key, checked, duration, written
from services.fleet.hawkbit.software.domain import set_type, unfit
from services.fleet.hawkbit.targets.domain import STATUS, detail_status, kind, status_of
from services.fleet.hawkbit.targets.query import Field, NotRead, Query, parse
from shared.contracts.rollouts import ActionState


@given(st.integers(0, 100 * 3600 - 1))
def test_times_are_read_as_they_are_written(seconds):
    assert duration(written(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@given(st.sampled_from(Key), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
def test_a_setting_takes_its_own_kind_of_value_or_none(key, value):
    try:
        assert checked(key, value).value == value
    except BadValue as exc:
        assert str(exc)  # noqa: PT017  # either is right; that it says something is the point


@pytest.mark.parametrize("value", ["00:00:04", "1:00:00", "00:60:00", "00:00:60", "", "00:05:00\n", 300, True])
def test_polling_times_are_times(value):
    with pytest.raises(BadValue, match=r"HH:MM:SS|a text"):
        checked(Key.POLLING_TIME, value)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("controllerId==cam-1", Query(Field.CONTROLLER_ID, "cam-1")),
        ("id==cam*", Query(Field.CONTROLLER_ID, "cam%")),
        ("name=='my camera'", Query(Field.NAME, "my camera")),
        ("ID==100%_", Query(Field.CONTROLLER_ID, r"100\%\_")),
    ],
)
def test_a_comparison_is_read(text, query):
    assert parse(text) == query


@pytest.mark.parametrize("text", ["", "id!=x", "id==a;name==b", "id==a,id==b", "attribute.x==1", "(id==a)", "id=like=x"])
def test_more_than_one_comparison_is_said_not_to_be_read(text):
    with pytest.raises(NotRead, match="is not read here"):
        parse(text)


@given(st.text(max_size=200))
def test_the_query_reader_never_fails_otherwise(text):
    with contextlib.suppress(NotRead):
        assert parse(text).field in Field


@pytest.mark.parametrize(
    ("kind_", "modules", "wrong"),
    [
        ("os", ["os"], None),
        ("app", ["application", "application", "runtime"], None),
        ("os_app", ["os", "application"], None),
        ("os", ["application"], "has no modules of type application"),
        ("os", ["os", "os"], "has 1 module of type os, not 2"),
        ("app", ["runtime"], "needs a module of type application"),
    ],
)
def test_sets_have_the_modules_of_their_type(kind_, modules, wrong):
    found = unfit(set_type(kind_), modules)
    assert found is None if wrong is None else wrong in found


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        ("Basic YWRtaW46cGZfa2V5", "pf_key"),
        ("basic RGVmYXVsdFxhZG1pbjpwZjpr", "pf:k"),
        ("Bearer pf_key", "pf_key"),
        ("Basic !!!", None),
        ("Basic YWRtaW4=", None),
        ("Basic /////w==", None),
        ("Digest x", None),
        ("", None),
    ],
)
def test_the_key_is_found_in_both_kinds_of_header(header, secret):
    assert secret_of(header) == secret


@given(st.sampled_from(ActionState), st.booleans(), st.booleans())
def test_every_state_has_words_of_hawkbit(state, active, cancelling):
    assert STATUS[state]
    assert detail_status(state, active=active, cancelling=cancelling)
    assert kind(state, active=active, cancelling=cancelling) in {"update", "cancel"}


def test_what_the_device_said_counts_while_the_action_is_open():
    assert status_of(ActionState.INSTALLING, "downloaded") == "downloaded"
    assert status_of(ActionState.RUNNING, "proceeding") == "finished"
    assert status_of(ActionState.INSTALLING, ["odd"]) == "running"
