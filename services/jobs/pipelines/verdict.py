"""What a job's end means for its step: figures, gates, and the model that it registered. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.jobs.jobs.models import Job
from services.jobs.pipelines.references import Reference, dig, replace
from shared.contracts.jobs import JobError, JobState
from shared.contracts.pipelines import Gate, StepState


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a step ended, and why if not well."""

    outcome: StepState
    error: JobError | None = None


def registering(job: Job) -> bool:
    """True if the job has succeeded but a version that it promised has no number yet."""
    return any(output["kind"] == "model_version" and output.get("version") is None for output in job.outputs)


def model_of(job: Job) -> str | None:
    """``name/version`` of the model that the job made: the output named `model`, else the only one."""
    made = [output for output in job.outputs if output["kind"] == "model_version" and output.get("version") is not None]
    chosen = [output for output in made if output["name"] == "model"] or (made if len(made) == 1 else [])
    return f"{chosen[0]['registered_model']}/{chosen[0]['version']}" if chosen else None


def of(job: Job, gates: list[Gate], value_of: Callable[[Reference], Any], refused: str | None) -> Verdict | None:
    """None while nothing can be said. ``refused``: why the registry did not take the model."""
    match job.state:
        case JobState.SUCCEEDED if refused is not None:
            return Verdict(StepState.FAILED, _not_registered(job, refused))
        case JobState.SUCCEEDED if registering(job):
            return None
        case JobState.SUCCEEDED:
            shut = [why for gate in gates if (why := shut_gate(gate, job.result, value_of))]
            return Verdict(StepState.FAILED, _stopped(shut)) if shut else Verdict(StepState.SUCCEEDED)
        case JobState.FAILED:
            return Verdict(StepState.FAILED, JobError.model_validate(job.error))
        case JobState.CANCELLED:
            return Verdict(StepState.CANCELLED, _cancelled(job))
    return None


def shut_gate(gate: Gate, result: dict[str, Any], value_of: Callable[[Reference], Any]) -> str | None:
    """Why the gate stays shut, with the figures; None if it opens. What cannot be compared does not open it."""
    try:
        figure = _number(dig(result, gate.figure))
    except (KeyError, TypeError):
        names = ", ".join(sorted(name for name, value in result.items() if _is_number(value))) or "none"
        return f"the result has no figure {gate.figure!r} (it has {names})"
    for name, limit in (("at least", gate.at_least), ("at most", gate.at_most)):
        if limit is None:
            continue
        try:
            bound = _number(replace(limit, value_of))
        except (KeyError, TypeError):
            return f"{gate.figure} has to be {name} {limit}, which is no number"
        if not (figure >= bound if name == "at least" else figure <= bound):
            return f"{gate.figure} is {figure:.6g}, it has to be {name} {bound:.6g}"
    return None


def _number(value: Any) -> float:
    if not _is_number(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stopped(shut: list[str]) -> JobError:
    return JobError(
        type="gate_shut",
        message="; ".join(shut),
        hint="see the step's result; a longer or better training may reach it, and a new pipeline can ask for less",
    )


def _not_registered(job: Job, why: str) -> JobError:
    hint = "see MLflow's log; then retry the pipeline, which runs the step again"
    return JobError(type="registration_failed", message=f"The model of job {job.id} was not registered: {why}", hint=hint)


def _cancelled(job: Job) -> JobError:
    hint = "retry the pipeline: the job goes on from its last checkpoint"
    return JobError(type="cancelled", message=f"The job {job.id} was cancelled.", hint=hint)
