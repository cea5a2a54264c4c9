"""Proposals of the real Optuna."""

import subprocess
import sys

import pytest

from services.jobs.sweeps.proposals import Past, propose
from shared.contracts.pipelines import Objective, OptunaSearch, TrialState

FIELDS = {
    "rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "size": {"low": 8, "high": 63, "step": 8},
    "share": {"low": 0, "high": 1.0, "step": 0.3},
    "kind": {"choices": [1, True, "1", [1, 2], None]},
}


def a_search(**overrides) -> OptunaSearch:
    return OptunaSearch.model_validate({"fields": FIELDS, "seed": 3} | overrides)


def run(search: OptunaSearch, trials: int, score=lambda _: 0.0, direction="maximize") -> list[Past]:
    past: list[Past] = []
    for _ in range(trials):
        chosen = propose(search, Objective(direction=direction), past)
        past.append(Past(chosen, TrialState.SUCCEEDED, score(chosen)))
    return past


def test_proposals_lie_within_the_fields():
    for trial in run(a_search(), 25):
        chosen = trial.chosen
        assert set(chosen) == set(FIELDS)
        assert 1e-4 <= chosen["rate"] <= 1e-1
        assert isinstance(chosen["size"], int)
        assert chosen["size"] in range(8, 64, 8)
        assert min(abs(chosen["share"] - step) for step in (0, 0.3, 0.6, 0.9)) < 1e-9
        assert any(chosen["kind"] is choice or chosen["kind"] == choice for choice in FIELDS["kind"]["choices"])


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_past_gives_the_same_proposal_and_each_trial_another(sampler):
    search = a_search(sampler=sampler)
    first, again = run(search, 6), run(search, 6)
    assert first == again
    assert len({trial.chosen["rate"] for trial in first}) == 6
    assert run(a_search(sampler=sampler, seed=4), 6) != first


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_results_lead_to_better_proposals(direction, sign):
    search = OptunaSearch.model_validate({"fields": {"x": {"low": -10.0, "high": 10.0}}, "seed": 1})
    past = run(search, 40, lambda chosen: -sign * (chosen["x"] - 3) ** 2, direction)
    late = [abs(trial.chosen["x"] - 3) for trial in past[25:]]
    assert sorted(late)[len(late) // 2] < 2.5  # of draws at random: 5


def test_failed_and_running_trials_are_told():
    search = a_search()
    past = run(search, 12)
    worse = [*past[:-2], past[-2]._replace(state=TrialState.FAILED, figure=None), past[-1]._replace(state=TrialState.RUNNING)]
    assert set(propose(search, Objective(), worse)) == set(FIELDS)


def test_the_service_does_not_load_optuna_before_a_sweep_asks():
    code = "import sys, services.jobs.app; print('optuna' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
