"""A sweep out of the database as the rules see it, and back."""

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from services.jobs.jobs.models import Job
from services.jobs.pipelines.references import dig
from services.jobs.sweeps import repository
from services.jobs.sweeps.domain import Standing, best
from services.jobs.sweeps.models import Sweep, SweepTrial
from shared.contracts.jobs import JobError, JobState
from shared.contracts.pipelines import Objective, PipelineState, TrialState
from shared.kit.database import db_now


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sweep with its trials."""

    sweep: Sweep
    trials: list[SweepTrial]

    @property
    def objective(self) -> Objective:
        """What makes a trial better."""
        return Objective.model_validate(self.sweep.objective)

    @property
    def standing(self) -> Standing:
        """As the rules see it."""
        return Standing(
            total=self.sweep.total,
            parallel=self.sweep.parallel,
            max_failed=self.sweep.max_failed,
            state=self.sweep.state,
            trials=tuple(trial.state for trial in self.trials),
        )

    @property
    def best(self) -> SweepTrial | None:
        """The best trial so far."""
        return best(self.trials, lambda trial: trial.figure, self.objective)

    def store(self, session: Session, after: Standing) -> None:
        """Write the sweep's state; the trials have been written."""
        if after.state is self.sweep.state:
            return
        self.sweep.state, self.sweep.waiting_for = after.state, None
        if after.state.is_final:
            self.sweep.finished_at = db_now(session)
        if after.state is PipelineState.FAILED:
            self.sweep.error = _why(self, after).model_dump(mode="json")


def load(session: Session, sweep: Sweep) -> Loaded:
    """With its row's lock held where something is to be changed."""
    return Loaded(sweep, repository.trials_of(session, [sweep.id])[sweep.id])


def end_of(job: Job, objective: Objective) -> tuple[TrialState, float | None, JobError | None] | None:
    """What a job's end means for its trial; None while it goes on."""
    match job.state:
        case JobState.SUCCEEDED:
            figure = _figure(job.result, objective.figure)
            if figure is None:
                return TrialState.FAILED, None, _no_figure(job, objective.figure)
            return TrialState.SUCCEEDED, figure, None
        case JobState.FAILED:
            return TrialState.FAILED, None, JobError.model_validate(job.error)
        case JobState.CANCELLED:
            return TrialState.CANCELLED, None, None
    return None


def _figure(result: dict[str, Any], path: str) -> float | None:
    try:
        value = dig(result, path)
    except KeyError:
        return None
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def _no_figure(job: Job, figure: str) -> JobError:
    has = ", ".join(sorted(job.result)) or "none"
    return JobError(
        type="figure_missing",
        message=f"The result of job {job.id} has no number {figure!r}.",
        hint=f"it has {has}: name one of these as the objective's figure in a new sweep",
    )


def _why(loaded: Loaded, after: Standing) -> JobError:
    first = next((trial.error for trial in loaded.trials if trial.error), None) or {}
    failed = sum(trial.state is TrialState.FAILED for trial in loaded.trials)
    told = f" The first failure: {first['message']}" if first else ""
    hint = first.get("hint") or "see the trials"
    if after.given_up:
        message = f"{failed} trials failed, more than max_failed {loaded.sweep.max_failed}.{told}"
        return JobError(type="too_many_failed", message=message, hint=hint)
    return JobError(type="no_trial_succeeded", message=f"None of {len(loaded.trials)} trials succeeded.{told}", hint=hint)
