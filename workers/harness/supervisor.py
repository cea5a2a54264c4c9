"""The supervising process: claims jobs, runs each in a child, says that it is there."""

import contextlib
import shutil
import threading
import time

import structlog

from shared.contracts.training import FittingSpec
from shared.contracts.worker import Claim, FinishIn, WorkerHello
from shared.kit.cache import Cache
from workers.harness import environment
from workers.harness.attempt import Attempt
from workers.harness.channel import Assignment
from workers.harness.kinds import MODULES, Modules
from workers.harness.process import Child
from workers.harness.protocol import JobsClient, NotClaimable, ProtocolError, ServiceAway, patiently
from workers.harness.settings import WorkerSettings

log = structlog.get_logger()


class Supervisor:
    """Runs jobs, at most ``settings.slots`` at a time (the caller's threads). Holds no torch, so that it survives anything."""

    def __init__(self, settings: WorkerSettings, modules: Modules = MODULES) -> None:
        self._settings, self._modules = settings, modules
        self._jobs = JobsClient(settings.jobs_url, settings.key())
        self._environment = environment.describe()
        self._attempts: dict[str, Attempt] = {}
        self._lock = threading.Lock()
        self._spare: Child | None = None
        self._closing = threading.Event()

    def start(self) -> None:
        """Begin to say hello, tidy the disk and make a spare child."""
        self._remove_old_folders()
        Cache(self._settings.cache_dir).sweep()
        threading.Thread(target=self._greet, name="hello", daemon=True).start()
        self._refill()

    def run_job(self, job_id: str) -> FinishIn | None:
        """Claim the job and run it to its end. None if it is not ours to run (any more)."""
        claim = self._claim(job_id)
        if claim is None:
            return None
        log.info("job.claimed", job_id=job_id, kind=claim.kind, attempt=claim.attempt)
        finish = self._run(claim)
        if _outcome(finish) == "succeeded":  # a job that was cancelled or failed may be retried, and then resumes
            shutil.rmtree(self._settings.jobs_dir() / job_id, ignore_errors=True)
        log.info("job.ended", job_id=job_id, outcome=_outcome(finish))
        return finish

    def shut_down(self) -> None:
        """Let running jobs save their work and hand them back; take no new ones."""
        self._closing.set()
        with self._lock:
            attempts = list(self._attempts.values())
        for attempt in attempts:
            attempt.hand_back()

    def close(self) -> None:
        """Hand running jobs back and wait for them; end the spare child and the connections."""
        self.shut_down()
        give_up = time.monotonic() + self._settings.shutdown_grace_s + 5
        while self._attempts and time.monotonic() < give_up:
            time.sleep(0.05)
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()
        self._jobs.close()

    def _claim(self, job_id: str) -> Claim | None:
        try:
            return patiently(
                lambda: self._jobs.claim(job_id, self._settings.name),
                patience_s=self._settings.claim_patience_s,
                stop=self._closing.is_set,
            )
        except NotClaimable as exc:
            log.info("job.not_claimable", job_id=job_id, detail=str(exc))
        except (ServiceAway, ProtocolError) as exc:
            log.warning("job.not_claimed", job_id=job_id, detail=str(exc))
        return None

    def _run(self, claim: Claim) -> FinishIn | None:
        child = self._child_for(claim)
        attempt = Attempt(self._assignment(claim), child, self._jobs, self._settings)
        with self._lock:
            self._attempts[claim.job_id] = attempt
            if self._closing.is_set():
                attempt.hand_back()
        try:
            return attempt.run()
        finally:
            with self._lock:
                del self._attempts[claim.job_id]
            child.close()
            self._refill()

    def _child_for(self, claim: Claim) -> Child:
        processes = claim.spec.compute.processes if isinstance(claim.spec, FittingSpec) else 1
        with self._lock:
            if processes == 1 and self._spare is not None and self._spare.returncode is None:
                spare, self._spare = self._spare, None
                return spare
        return Child({claim.kind: self._modules[claim.kind]}, processes=processes)

    def _refill(self) -> None:
        """Make a spare child, unless this machine's slots are all in use: then it would only take memory from the jobs."""
        with self._lock:
            if self._spare is not None and self._spare.returncode is None:
                return
            if not self._settings.spare_child or self._closing.is_set() or len(self._attempts) >= self._settings.slots:
                return
            if self._spare is not None:
                self._spare.close()
            self._spare = Child({kind: self._modules[kind] for kind in self._settings.queues})

    def _assignment(self, claim: Claim) -> Assignment:
        folder = self._settings.jobs_dir() / claim.job_id
        folder.mkdir(parents=True, exist_ok=True)
        return Assignment(
            claim=claim,
            jobs_url=self._settings.jobs_url,
            api_key=self._settings.key(),
            mlflow_url=self._settings.mlflow_url,
            folder=folder,
            cache_root=self._settings.cache_dir,
            cache_limit_bytes=self._settings.cache_limit_bytes,
            memory_limit_bytes=self._settings.memory_limit_bytes,
            environment=self._environment,
        )

    def _greet(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(ServiceAway, ProtocolError):
                self._jobs.hello(self._hello())
            self._closing.wait(self._settings.hello_s)

    def _hello(self) -> WorkerHello:
        return WorkerHello(
            worker=self._settings.name,
            queues=[kind.value for kind in self._settings.queues],
            slots=self._settings.slots,
            busy=len(self._attempts),
            host=self._environment["host"],
            device=self._environment["device"],
            versions=environment.versions(),
        )

    def _remove_old_folders(self) -> None:
        for folder in self._settings.jobs_dir().glob("*"):
            if time.time() - folder.stat().st_mtime > self._settings.keep_failed_s:
                shutil.rmtree(folder, ignore_errors=True)


def _outcome(finish: FinishIn | None) -> str:
    if finish is None:
        return "lost"
    if finish.cancelled:
        return "cancelled"
    if finish.error is not None:
        return f"{'crashed' if finish.crashed else 'failed'}: {finish.error.type}: {finish.error.message}"
    return "succeeded"
