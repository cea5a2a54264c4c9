"""What a report may do to an action: the rules alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fleet.actions.domain import UNDER_WAY, is_open, may_move
from services.fleet.ddi.reports import judged, understood
from shared.contracts.ddi import Execution, FeedbackStatus, Finished
from shared.contracts.rollouts import ActionState
from shared.kit.problems import InvalidRequest

STATES = st.sampled_from(ActionState)
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=5)


@st.composite
def statuses(draw: st.DrawFn) -> FeedbackStatus:
    marks = st.sampled_from(["picofleet.state=", "picofleet.package=", ""])
    lines = st.lists(st.builds(str.__add__, marks, st.text() | st.sampled_from(ActionState)))
    return FeedbackStatus.model_validate(
        {
            "execution": draw(st.sampled_from(Execution)),
            "result": draw(st.none() | st.fixed_dictionaries({"finished": st.sampled_from(Finished), "progress": JSON})),
            "code": draw(JSON),
            "details": draw(lines | JSON),
        }
    )


@given(STATES, st.lists(statuses(), max_size=8))
def test_no_order_of_reports_goes_back_or_leaves_an_end(state: ActionState, reports: list[FeedbackStatus]) -> None:
    for status in reports:
        try:
            verdict = judged(state, understood(status).to)
        except InvalidRequest:
            continue
        if verdict.to is None:
            continue
        assert is_open(state)
        assert may_move(state, verdict.to)
        if is_open(verdict.to):
            assert UNDER_WAY.index(verdict.to) > UNDER_WAY.index(state)
        state = verdict.to


@given(statuses())
def test_only_a_close_that_says_so_is_a_success(status: FeedbackStatus) -> None:
    try:
        report = understood(status)
    except InvalidRequest:
        assert status.execution is Execution.CLOSED
        assert status.result is None
        return
    succeeded = status.execution is Execution.CLOSED and status.result is not None
    assert (report.to is ActionState.RUNNING) == (succeeded and status.result.finished is not Finished.FAILURE)  # type: ignore[union-attr]


@given(statuses())
def test_what_is_kept_is_bounded(status: FeedbackStatus) -> None:
    try:
        report = understood(status)
    except InvalidRequest:
        return
    assert len(report.message) <= 512
    assert len(repr(report.detail)) < 50 * 512 * 12


@pytest.mark.parametrize("state", ["running", "failed", "offered", "no such"])
def test_a_device_names_no_state_but_three(state: str) -> None:
    status = FeedbackStatus(execution=Execution.PROCEEDING, details=[f"picofleet.state={state}"])
    assert understood(status).to is ActionState.INSTALLING
