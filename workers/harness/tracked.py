"""The MLflow run of a job, ended in the way the job ends."""

import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from shared.contracts.jobs import Progress
from shared.contracts.worker import Claim
from shared.kit.environment import environment_report
from shared.kit.tracking import RunIdentity, RunSink, RunStatus
from workers.harness import errors
from workers.harness.context import JobContext, Stopped

PATIENCE_S: Final = 24 * 3600.0
"""How long a finished job waits for MLflow to take its model."""

PARENT_TAG: Final = "mlflow.parentRunId"


@contextmanager
def tracked(ctx: JobContext, tags: Mapping[str, str]) -> Iterator[RunSink]:
    """The job's run; a resumed job goes on in the run of its earlier attempts.

    On success everything must be in MLflow before the block is left. A stopped job's run is left open: the supervisor
    knows whether the job was cancelled or goes on elsewhere.
    """
    claim = ctx.claim
    identity = RunIdentity(
        job_id=claim.job_id,
        name=claim.name or f"{claim.kind}-{claim.job_id[-8:]}",
        tags={**tags, **_tags(claim)},
        run_id=claim.mlflow_run_id,
    )
    sink = RunSink(ctx.mlflow_url, identity, spool=ctx.folder / "mlflow", on_run=ctx.announce_run)
    try:
        yield sink
    except BaseException as exc:
        _end_early(sink, exc)
        raise
    _close(ctx, sink, "FINISHED")


def describe(ctx: JobContext, sink: RunSink, spec: BaseModel, *, left_out: AbstractSet[str] = frozenset()) -> None:
    """The spec as parameters (but for ``left_out``) and whole as a file, and the environment."""
    sink.params(spec.model_dump(mode="json", exclude={"kind", "spec_version", *left_out}))
    sink.artifact_json(spec.model_dump(mode="json"), "config/spec.json")
    sink.artifact_json({**environment_report(), "worker": ctx.environment}, "config/environment.json")


def publish(ctx: JobContext, sink: RunSink, folder: Path, path: str) -> str:
    """Log a folder and wait until MLflow has all of it; gives the run's id. Says meanwhile that it waits."""
    return sink.publish(folder, path, timeout_s=PATIENCE_S, stop_requested=_watching(ctx))


def _tags(claim: Claim) -> dict[str, str]:
    """What any job's run carries; MLflow's own tag puts a sweep's trials below the sweep's run."""
    parent = {PARENT_TAG: claim.parent_run_id} if claim.parent_run_id else {}
    return {**{f"tag.{key}": value for key, value in claim.tags.items()}, "picofleet.owner": claim.owner, **parent}


def _end_early(sink: RunSink, exc: BaseException) -> None:
    if errors.is_stop(exc):
        sink.flush(0.5)
        sink.abandon()
    else:
        sink.close("FAILED", timeout_s=15)


def _close(ctx: JobContext, sink: RunSink, status: RunStatus) -> None:
    stop_requested, give_up = _watching(ctx), time.monotonic() + PATIENCE_S
    while not sink.flush(0.2) and time.monotonic() < give_up:
        if stop_requested():
            sink.abandon()
            raise Stopped
    sink.close(status, timeout_s=60)
    for lost in sink.lost:
        ctx.log(f"MLflow did not take {lost}", level="warning")


def _watching(ctx: JobContext) -> Callable[[], bool]:
    """``stop_requested`` that also reports, so that the wait is seen and not taken for a hang."""
    last = time.monotonic()

    def stop_requested() -> bool:
        nonlocal last
        if time.monotonic() - last > 1:
            last = time.monotonic()
            ctx.report(Progress(phase="upload", done=0, unit="file"))
        return ctx.stop_requested()

    return stop_requested
