"""The MLflow run that has a sweep's trials below it: made before the first trial, and told how the sweep goes.

The trials' own runs name it as their parent. Its curve of the objective's figure is the best one so far, a point per trial
in the order in which they ended.
"""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from services.jobs.sweeps.models import Sweep, SweepTrial
from services.jobs.sweeps.state import Loaded
from shared.contracts.pipelines import PipelineState
from shared.kit.mlflow_api import EXPERIMENT, Metric, MlflowApi

SWEEP_TAG: Final = "picofleet.sweep_id"
_STATUS: Final = {
    PipelineState.SUCCEEDED: "FINISHED",
    PipelineState.FAILED: "FAILED",
    PipelineState.CANCELLED: "KILLED",
}
_AT_ONCE: Final = 500
"""Points in one call; MLflow takes 1,000."""
_CHARS: Final = 5000
"""Of a parameter's or tag's value; MLflow takes 6,000."""


def ensure(mlflow: MlflowApi, sweep: Sweep) -> str:
    """The id of the sweep's run, made if it is not there. Safe to repeat. MlflowAway, MlflowRefused."""
    experiment = mlflow.experiment_id(EXPERIMENT)
    if found := _made(mlflow, experiment, sweep):
        return found[0]
    mlflow.create_run(experiment, name=sweep.name, tags=_tags(sweep), started_ms=_ms(sweep.created_at))
    # Not the answer's: another replica may have made one in between, and the oldest is everybody's.
    run_id = _made(mlflow, experiment, sweep)[0]
    mlflow.log_batch(run_id, params=_params(sweep))
    return run_id


def _made(mlflow: MlflowApi, experiment: str, sweep: Sweep) -> list[str]:
    return [str(run["info"]["run_id"]) for run in mlflow.find_runs(experiment, {SWEEP_TAG: sweep.id})]


def _tags(sweep: Sweep) -> dict[str, str]:
    ours = {SWEEP_TAG: sweep.id, "picofleet.kind": "sweep", "picofleet.owner": sweep.owner}
    return {f"tag.{key}": value for key, value in sweep.tags.items()} | ours


def _params(sweep: Sweep) -> dict[str, str]:
    searched = {f"search.{name}": json.dumps(field)[:_CHARS] for name, field in sweep.search["fields"].items()}
    told = {"search": sweep.search["kind"], "objective": f"{sweep.objective['direction']} {sweep.objective['figure']}"}
    return searched | told | {"trials": str(sweep.total), "kind": str(sweep.base["kind"])}


def tell(mlflow: MlflowApi, run_id: str, loaded: Loaded, best_run: str | None) -> None:
    """Write how the sweep goes, and its end if it has ended. Repeating it adds nothing. MlflowAway, MlflowRefused."""
    points = list(_points(loaded))
    for start in range(0, len(points), _AT_ONCE):
        mlflow.log_batch(run_id, metrics=points[start : start + _AT_ONCE])
    if loaded.best is not None:
        mlflow.log_batch(run_id, tags=_best_tags(loaded.best, best_run))
    if loaded.sweep.state.is_final:
        ended = loaded.sweep.finished_at
        mlflow.update_run(run_id, status=_STATUS[loaded.sweep.state], ended_ms=_ms(ended) if ended else None)


def _points(loaded: Loaded) -> Iterator[Metric]:
    better = max if loaded.objective.direction == "maximize" else min
    # MLflow's alphabet of names is smaller than JSON's.
    key = re.sub(r"[^\w\-. /]", "_", loaded.objective.figure)
    reached: float | None = None
    for step, (ended, figure) in enumerate(_in_order_of_end(loaded.trials)):
        reached = figure if reached is None else better(reached, figure)
        yield Metric(key, reached, step, _ms(ended))


def _in_order_of_end(trials: Sequence[SweepTrial]) -> list[tuple[datetime, float]]:
    ended = [
        (trial.finished_at, trial.number, trial.figure) for trial in trials if trial.finished_at and trial.figure is not None
    ]
    return [(at, figure) for at, _, figure in sorted(ended)]


def _best_tags(best: SweepTrial, best_run: str | None) -> dict[str, str]:
    named: dict[str, Any] = {"trial": best.number, "job": best.job_id, "run": best_run} | best.chosen
    return {f"picofleet.best.{name}": _text(value) for name, value in named.items() if value is not None}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)[:_CHARS]


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
