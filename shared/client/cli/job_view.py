"""A job as a person sees it: in a line, in full, and what its end means."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.client.cli.common import escaped, print_json, show_fields
from shared.client.cli.evaluation_view import show_evaluation
from shared.client.cli.packaging_view import show_packaging
from shared.client.cli.quantization_view import show_quantization
from shared.client.cli.watch import clock
from shared.client.errors import JobFailed
from shared.contracts.jobs import JobKind, JobOut, JobState

COLOURS = {
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.LOST: "red",
    JobState.RUNNING: "cyan",
    JobState.CANCELLED: "yellow",
}

_TABLES: Final[Mapping[JobKind, Callable[[Mapping[str, Any]], None]]] = {
    JobKind.EVALUATION: show_evaluation,
    JobKind.QUANTIZATION: show_quantization,
    JobKind.PACKAGING: show_packaging,
}
"""Kinds whose results are too many for a line."""


def show_one(job: JobOut) -> None:
    """A job as lines of name and value."""
    took = clock((job.finished_at - job.started_at).total_seconds()) if job.started_at and job.finished_at else ""
    outputs = [f"{made.registered_model}/{made.version or 'pending'}" for made in job.outputs if made.registered_model]
    figures = "  ".join(f"{key} {value:.4g}" for key, value in job.result.items() if isinstance(value, int | float))
    show_fields(
        [
            ("job", job.id),
            ("name", job.name),
            ("kind", job.kind.value),
            ("part of", f"{job.parent.kind} {job.parent.id}, {job.parent.part}" if job.parent else ""),
            ("state", job.state.value),
            ("waits for", job.waiting_for),
            ("attempt", job.attempt or ""),
            ("worker", job.worker),
            ("took", took),
            ("progress", where(job) if not job.state.is_final else ""),
            ("result", figures if job.kind not in _TABLES else ""),
            ("models", ", ".join(outputs)),
            ("run", job.mlflow_url),
            ("tags", ", ".join(f"{key}={value}" for key, value in job.tags.items())),
            ("error", job.error.message if job.error else ""),
            ("hint", job.error.hint if job.error else ""),
        ]
    )
    if job.kind in _TABLES:
        _TABLES[job.kind](job.result)


def coloured(state: JobState) -> str:
    """A state in its colour."""
    return f"[{COLOURS[state]}]{state.value}[/]" if state in COLOURS else state.value


def where(job: JobOut) -> str:
    """In a few words: how far a job is, why it waits, or how it ended."""
    if job.error is not None and job.state.is_final:
        return escaped(job.error.type)
    if job.waiting_for:
        return escaped(job.waiting_for)
    if job.progress is not None and not job.state.is_final:
        total = job.progress.total
        return f"{job.progress.phase} {100 * job.progress.done // total} %" if total else job.progress.phase
    if "miou_96" in job.result:
        return f"miou_96 {job.result['miou_96']:.3f}"
    return ""


def require_success(job: JobOut) -> JobOut:
    """``job`` itself if it succeeded; else JobFailed with its reason."""
    if job.state is JobState.SUCCEEDED:
        return job
    if job.error is not None:
        raise JobFailed(f"Job {job.id} failed ({job.error.type}): {job.error.message}", hint=job.error.hint)
    raise JobFailed(f"Job {job.id} is {job.state.value}.", hint=f"`picofleet jobs retry {job.id}` queues it again.")


def finish(job: JobOut, as_json: bool) -> None:
    """Show a job that was followed to its end; JobFailed unless it succeeded."""
    if as_json:
        print_json(job)
    else:
        show_one(job)
    require_success(job)
