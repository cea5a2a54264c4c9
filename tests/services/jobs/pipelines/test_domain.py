"""The rules of pipeline states."""

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.jobs.pipelines.domain import Cycle, IllegalMove, Standing, Step, ordered
from shared.contracts.pipelines import PipelineState, StepState

ENDS = [StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED]


def a_pipeline(**after: str) -> Standing:
    """``a_pipeline(train="", distil="train", evaluate="train distil")``."""
    return Standing({name: Step(frozenset(before.split())) for name, before in after.items()})


def states(standing: Standing) -> dict[str, str]:
    return {name: step.state.value for name, step in standing.steps.items()}


@pytest.fixture
def chain() -> Standing:
    return a_pipeline(train="", distil="train", evaluate="train distil")


def run(standing: Standing, *names: str) -> Standing:
    for name in names:
        standing = standing.started(name).ended(name, StepState.SUCCEEDED)
    return standing


def test_steps_run_one_after_the_other_and_then_the_pipeline_has_succeeded(chain):
    assert chain.ready() == ["train"]
    assert run(chain, "train").ready() == ["distil"]
    assert run(chain, "train", "distil", "evaluate").state == "succeeded"


def test_a_step_cannot_start_before_what_it_builds_on(chain):
    with pytest.raises(IllegalMove):
        chain.started("distil")


def test_after_a_failure_what_builds_on_it_is_skipped_and_the_rest_goes_on():
    standing = a_pipeline(a="", b="a", c="b", other="")
    broken = standing.started("a").started("other").ended("a", StepState.FAILED)
    assert states(broken) == {"a": "failed", "b": "skipped", "c": "skipped", "other": "running"}
    assert broken.state == "running"
    assert broken.ended("other", StepState.SUCCEEDED).state == "failed"


def test_a_job_that_somebody_cancelled_fails_the_pipeline(chain):
    ended = chain.started("train").ended("train", StepState.CANCELLED)
    assert ended.state == "failed"
    assert states(ended)["distil"] == "skipped"


def test_a_step_that_cannot_be_submitted_fails(chain):
    refused = run(chain, "train").refused("distil")
    assert (states(refused)["distil"], refused.state) == ("failed", "failed")


def test_cancelling_waits_for_what_runs(chain):
    cancelling = chain.started("train").cancelled()
    assert (cancelling.state, states(cancelling)["distil"]) == ("cancelling", "cancelled")
    assert cancelling.ready() == []
    assert cancelling.ended("train", StepState.CANCELLED).state == "cancelled"


def test_a_last_step_that_succeeds_while_cancelling_does_not_undo_the_cancellation(chain):
    cancelling = run(chain, "train", "distil").started("evaluate").cancelled()
    assert cancelling.ended("evaluate", StepState.SUCCEEDED).state == "cancelled"


def test_cancelling_twice_changes_nothing(chain):
    assert chain.cancelled() == chain.cancelled().cancelled()
    assert chain.started("train").cancelled() == chain.started("train").cancelled().cancelled()


def test_a_retry_keeps_what_succeeded(chain):
    failed = run(chain, "train").started("distil").ended("distil", StepState.FAILED)
    again = failed.retried()
    assert states(again) == {"train": "succeeded", "distil": "waiting", "evaluate": "waiting"}
    assert again.ready() == ["distil"]


def test_a_retry_from_a_named_step_runs_all_that_builds_on_it(chain):
    done = run(chain, "train", "distil", "evaluate")
    assert done.again("distil") == ["distil", "evaluate"]
    assert states(done.retried("train")) == dict.fromkeys(("train", "distil", "evaluate"), "waiting")


def test_a_running_pipeline_and_one_with_nothing_to_do_cannot_be_retried(chain):
    for standing in (chain, chain.started("train").cancelled(), run(chain, "train", "distil", "evaluate")):
        with pytest.raises(IllegalMove):
            standing.retried()


def test_the_order_is_the_given_one_where_that_is_possible():
    assert ordered({"c": ["a"], "b": [], "a": []}) == ["b", "a", "c"]


def test_a_cycle_names_its_steps_in_the_order_in_which_they_wait():
    with pytest.raises(Cycle) as caught:
        ordered({"a": ["b"], "b": ["c"], "c": ["a"], "d": []})
    names = caught.value.names
    assert names[0] == names[-1]
    assert {(one, other) for one, other in pairwise(names)} == {("a", "b"), ("b", "c"), ("c", "a")}


class Pipelines(RuleBasedStateMachine):
    """Any graph, any order of events: the promises hold."""

    @initialize(edges=st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6))
    def begin(self, edges):
        names = [f"s{at}" for at in range(len(edges))]
        after = {names[at]: frozenset(names[b] for b in before if b < at) for at, before in enumerate(edges)}
        self.standing = Standing({name: Step(before) for name, before in after.items()})
        self.kept: set[str] = set()

    def running(self) -> list[str]:
        return [name for name, step in self.standing.steps.items() if step.state is StepState.RUNNING]

    @precondition(lambda self: self.standing.ready())
    @rule(draw=st.randoms(use_true_random=False), refuse=st.booleans())
    def start(self, draw, refuse):
        name = draw.choice(self.standing.ready())
        assert all(self.standing.steps[before].state is StepState.SUCCEEDED for before in self.standing.steps[name].after)
        self.standing = self.standing.refused(name) if refuse else self.standing.started(name)

    @precondition(lambda self: self.running())
    @rule(draw=st.randoms(use_true_random=False), outcome=st.sampled_from(ENDS))
    def end(self, draw, outcome):
        self.standing = self.standing.ended(draw.choice(self.running()), outcome)

    @precondition(lambda self: self.standing.state is PipelineState.RUNNING)
    @rule()
    def cancel(self):
        self.standing = self.standing.cancelled()
        assert self.standing.state in {PipelineState.CANCELLING, PipelineState.CANCELLED}

    @precondition(lambda self: self.standing.state.is_final)
    @rule(draw=st.randoms(use_true_random=False), named=st.booleans())
    def retry(self, draw, named):
        from_step = draw.choice(sorted(self.standing.steps)) if named else None
        before = self.standing
        again = set(before.again(from_step))
        if before.state is PipelineState.SUCCEEDED and not again:
            return
        self.standing = before.retried(from_step)
        for name, step in self.standing.steps.items():
            assert step.state is (StepState.WAITING if name in again else StepState.SUCCEEDED)

    @invariant()
    def it_is_settled(self):
        assert self.standing.settled() == self.standing

    @invariant()
    def it_is_over_exactly_when_every_step_is(self):
        assert self.standing.state.is_final == all(step.state.is_final for step in self.standing.steps.values())

    @invariant()
    def it_can_always_go_on(self):
        assert self.standing.state.is_final or self.standing.ready() or self.running()

    @invariant()
    def success_means_that_all_succeeded(self):
        succeeded = all(step.state is StepState.SUCCEEDED for step in self.standing.steps.values())
        if self.standing.state is PipelineState.SUCCEEDED:
            assert succeeded
        if self.standing.state is PipelineState.FAILED:
            assert not succeeded

    @invariant()
    def what_ran_had_what_it_builds_on(self):
        for step in self.standing.steps.values():
            if step.state in {StepState.RUNNING, StepState.SUCCEEDED}:
                assert all(self.standing.steps[before].state is StepState.SUCCEEDED for before in step.after)


TestPipelines = Pipelines.TestCase
TestPipelines.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
