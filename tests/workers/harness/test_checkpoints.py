"""Checkpoints on the real jobs service: uploaded beside the work, found again, damaged ones passed over."""

import datetime
import shutil

import pytest

from shared.contracts.worker import FinishIn
from shared.kit.cache import Cache
from tests.workers.conftest import wait_until
from workers.harness.checkpoints import Checkpoints
from workers.harness.context import JobContext
from workers.harness.protocol import JobsClient


@pytest.fixture
def context_for(jobs_service, tmp_path):
    """Claims a job and gives its context: ``context_for(job_id, "machine")``; another machine has another disk."""
    opened: list[tuple[JobsClient, str, int]] = []

    def note(message: str, **_: str) -> None:
        make.lines.append(message)  # type: ignore[attr-defined]

    def make(job_id: str, machine: str = "one") -> JobContext:
        jobs = JobsClient(jobs_service.url, (jobs_service.folder / "worker.key").read_text().strip())
        claim = jobs.claim(job_id, machine)
        opened.append((jobs, job_id, claim.token))
        folder = tmp_path / machine / job_id
        folder.mkdir(parents=True, exist_ok=True)
        return JobContext(
            claim=claim,
            folder=folder,
            cache=Cache(tmp_path / machine),
            jobs=jobs,
            mlflow_url="",
            now=lambda: datetime.datetime.now(datetime.UTC),
            stop_requested=lambda: False,
            report=lambda _: None,
            log=note,
            announce_run=lambda _: None,
        )

    make.lines = []  # type: ignore[attr-defined]
    yield make
    for jobs, *_ in opened:
        jobs.close()


def write(checkpoints: Checkpoints, step: int) -> None:
    path = checkpoints.folder / f"step-{step:09d}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights %d" % step)
    (path / "state.json").write_text(f'{{"step": {step}}}')
    checkpoints.saved(path, step)


def lose(ctx: JobContext) -> None:
    ctx.jobs.finish(ctx.job_id, FinishIn(token=ctx.claim.token, crashed=True))


def steps(checkpoints: Checkpoints) -> list[int]:
    return [int(path.name[5:]) for path in checkpoints.candidates()]


def test_the_two_newest_are_kept_and_offered_newest_first(context_for, jobs_service):
    ctx = context_for(jobs_service.trial("succeed"))
    checkpoints = Checkpoints(ctx)
    for step in (10, 20, 30):
        write(checkpoints, step)
    assert steps(checkpoints) == [30, 20]


def test_a_damaged_one_is_passed_over_with_a_line(context_for, jobs_service):
    ctx = context_for(jobs_service.trial("succeed"))
    checkpoints = Checkpoints(ctx)
    write(checkpoints, 10)
    write(checkpoints, 20)
    (checkpoints.folder / "step-000000020" / "model.safetensors").write_bytes(b"weights 2O")
    assert steps(checkpoints) == [10]
    assert "step-000000020 on the worker's disk is damaged" in context_for.lines[0]


def test_one_without_digests_was_not_completed(context_for, jobs_service):
    ctx = context_for(jobs_service.trial("succeed"))
    checkpoints = Checkpoints(ctx)
    write(checkpoints, 10)
    (checkpoints.folder / "step-000000010.json").unlink()
    assert steps(checkpoints) == []


def test_another_machine_goes_on_from_the_upload(context_for, jobs_service):
    job_id = jobs_service.trial("succeed")
    first = context_for(job_id, "one")
    with Checkpoints(first) as checkpoints:
        write(checkpoints, 10)
        wait_until(lambda: jobs_service.has_checkpoint(job_id), what="the upload")
    lose(first)
    second = context_for(job_id, "two")
    (path,) = Checkpoints(second).candidates()
    assert (path / "model.safetensors").read_bytes() == b"weights 10"
    lose(second)
    # The same machine again, its disk damaged: the upload is fetched anew.
    shutil.rmtree(first.folder / "checkpoints" / "step-000000010")
    third = context_for(job_id, "one")
    assert steps(Checkpoints(third)) == [10]


def test_a_newer_one_on_this_machine_comes_before_the_upload(context_for, jobs_service):
    job_id = jobs_service.trial("succeed")
    first = context_for(job_id)
    with Checkpoints(first) as checkpoints:
        write(checkpoints, 10)
        wait_until(lambda: jobs_service.has_checkpoint(job_id), what="the upload")
    write(checkpoints, 20)
    lose(first)
    assert steps(Checkpoints(context_for(job_id))) == [20, 10]
