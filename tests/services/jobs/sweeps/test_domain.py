"""The rules of sweeps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.sweeps.domain import IllegalMove, Standing, best
from shared.contracts.pipelines import Objective, PipelineState, TrialState

ENDS = [TrialState.SUCCEEDED, TrialState.FAILED, TrialState.CANCELLED]


def a_sweep(**overrides) -> Standing:
    return Standing(**({"total": 4, "parallel": 2} | overrides))


def test_as_many_trials_start_as_may_run_together():
    standing = a_sweep()
    assert standing.room == 2
    assert standing.begun().room == 1
    assert standing.begun().begun().room == 0
    assert standing.begun().begun().ended(0, TrialState.SUCCEEDED).room == 1


def test_a_sweep_succeeds_when_one_trial_has():
    standing = a_sweep(total=2).begun().begun().ended(0, TrialState.FAILED)
    assert standing.state == "running"
    assert standing.ended(1, TrialState.SUCCEEDED).state == "succeeded"
    assert standing.ended(1, TrialState.FAILED).state == "failed"


def test_a_sweep_gives_up_after_too_many_failures_once_the_others_have_ended():
    standing = a_sweep(max_failed=0).begun().begun().ended(0, TrialState.FAILED)
    assert (standing.room, standing.state) == (0, "running")
    assert standing.ended(1, TrialState.SUCCEEDED).state == "failed"


def test_cancelling_waits_for_running_trials():
    cancelling = a_sweep().begun().cancelled()
    assert (cancelling.state, cancelling.room) == ("cancelling", 0)
    assert cancelling.cancelled() == cancelling
    assert cancelling.ended(0, TrialState.SUCCEEDED).state == "cancelled"
    assert a_sweep().cancelled().state == "cancelled"


def test_what_is_over_cannot_be_cancelled():
    with pytest.raises(IllegalMove):
        a_sweep(total=1).begun(TrialState.FAILED).cancelled()


@given(
    total=st.integers(1, 12),
    parallel=st.integers(1, 5),
    max_failed=st.none() | st.integers(0, 3),
    cancel_at=st.none() | st.integers(0, 20),
    data=st.data(),
)
def test_any_sweep_comes_to_its_end_and_never_runs_more_than_allowed(total, parallel, max_failed, cancel_at, data):
    standing = Standing(total=total, parallel=parallel, max_failed=max_failed)
    for step in range(4 * total + 5):
        if standing.state.is_final:
            break
        if step == cancel_at:
            standing = standing.cancelled()
            continue
        running = [at for at, state in enumerate(standing.trials) if state is TrialState.RUNNING]
        assert standing.room or running
        if standing.room and (not running or data.draw(st.booleans())):
            standing = standing.begun(data.draw(st.sampled_from([TrialState.RUNNING, TrialState.FAILED])))
        else:
            standing = standing.ended(data.draw(st.sampled_from(running)), data.draw(st.sampled_from(ENDS)))
        assert standing.trials.count(TrialState.RUNNING) <= parallel
    assert standing.state.is_final
    assert TrialState.RUNNING not in standing.trials
    if standing.state is PipelineState.SUCCEEDED:
        assert len(standing.trials) == total
        assert TrialState.SUCCEEDED in standing.trials


@pytest.mark.parametrize(("direction", "expected"), [("maximize", 2), ("minimize", 0)])
def test_the_best_trial_is_the_first_of_the_best(direction, expected):
    figures = [0.1, None, 0.5, 0.5, 0.1]
    objective = Objective(direction=direction)
    assert best(range(5), figures.__getitem__, objective) == expected
    assert best(range(5), lambda _: None, objective) is None
