"""One claimed job on its way: child, heartbeats, reports, cancel, end."""

import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import structlog

from shared.contracts.jobs import JobError, Progress
from shared.contracts.worker import FinishIn
from shared.kit import tracking
from workers.harness import errors
from workers.harness.channel import Assignment, Message
from workers.harness.outbox import Outbox
from workers.harness.process import Child
from workers.harness.protocol import JobsClient, ProtocolError, ServiceAway, StaleToken, patiently
from workers.harness.settings import WorkerSettings

log = structlog.get_logger()
_TICK_S: Final = 0.05
_EXIT_S: Final = 3.0
"""How long a child may take to exit after its last word."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The child's last word: finished, failed or stale."""

    kind: str
    content: dict[str, Any]


class Attempt:
    """Runs one claim to its end. ``run`` is called once; ``hand_back`` may be called from any thread."""

    def __init__(self, assignment: Assignment, child: Child, jobs: JobsClient, settings: WorkerSettings) -> None:
        self._assignment, self._child, self._jobs, self._settings = assignment, child, jobs, settings
        claim = self._claim = assignment.claim
        self._outbox = Outbox(claim.token)
        self._verdict: _Verdict | None = None
        self._run_id = claim.mlflow_run_id
        self._stop_requested = threading.Event()
        self._hand_back = threading.Event()
        self._stale = threading.Event()
        self._ended = threading.Event()
        self._away_since: float | None = None
        self._told_to_stop_at: float | None = None

    def run(self) -> FinishIn | None:
        """Do the job and tell the service how it ended; None if the job was lost to another claim."""
        beats = threading.Thread(target=self._beat, name=f"beat-{self._claim.job_id}", daemon=True)
        beats.start()
        try:
            self._child.start(self._assignment, self._on_message)
            finish = self._watch()
        finally:
            self._child.kill()
            self._ended.set()
        beats.join(timeout=30)
        delivered = self._deliver(finish) if finish is not None else None
        self._end_mlflow_run(delivered)
        return delivered

    def hand_back(self) -> None:
        """The worker is being stopped: let the child save its work, then give the job to whoever claims it next."""
        self._hand_back.set()

    # What the child says

    def _on_message(self, message: Message) -> None:
        match message["kind"]:
            case "progress":
                self._outbox.progress(Progress.model_validate(message["progress"]))
            case "log":
                self._outbox.log(message["message"], message["level"])
            case "run":
                self._run_id = message["run_id"]
                self._outbox.run(self._run_id)
            case "finished" | "failed" | "stale" as kind if self._verdict is None:
                self._verdict = _Verdict(kind, {key: value for key, value in message.items() if key != "kind"})

    # What the jobs service says

    def _beat(self) -> None:
        while not self._ended.is_set():
            try:
                self._beat_once()
            except StaleToken as exc:
                log.warning("job.lease_lost", job_id=self._claim.job_id, detail=str(exc))
                self._stale.set()
                return
            except ServiceAway as exc:
                self._note_away(exc)
            except ProtocolError as exc:
                log.error("job.report_refused", job_id=self._claim.job_id, detail=str(exc))
                self._outbox.acknowledge()  # the same report would be refused for ever
            self._ended.wait(self._settings.heartbeat_s)

    def _beat_once(self) -> None:
        report = self._outbox.next_report()
        if report is None:
            answer = self._jobs.heartbeat(self._claim.job_id, self._claim.token)
        else:
            answer = self._jobs.report(self._claim.job_id, report)
            self._outbox.acknowledge()
        self._note_back()
        if answer.stop_requested:
            self._stop_requested.set()

    def _note_away(self, exc: ServiceAway) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("jobs_service.away", job_id=self._claim.job_id, detail=str(exc))

    def _note_back(self) -> None:
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            self._away_since = None
            log.info("jobs_service.back", job_id=self._claim.job_id, away_s=round(seconds, 1))
            if seconds > 5:
                self._outbox.log(f"The jobs service was away for {seconds:.0f} s; the job went on meanwhile.", "warning")

    # The child's life

    def _watch(self) -> FinishIn | None:
        while True:
            if self._stale.is_set():
                return None
            if self._verdict is not None:
                self._await_exit()
                return self._judge(self._verdict)
            if (returncode := self._child.returncode) is not None:
                return self._mourn(returncode)
            if self._must_kill():
                self._child.kill()
                return self._killed()
            time.sleep(_TICK_S)

    def _must_kill(self) -> bool:
        now = time.monotonic()
        asked_to_end = self._stop_requested.is_set() or self._hand_back.is_set()
        if asked_to_end and self._told_to_stop_at is None:
            self._told_to_stop_at = now
            self._child.stop()
        if self._told_to_stop_at is not None:
            grace_s = self._settings.grace_s if self._stop_requested.is_set() else self._settings.shutdown_grace_s
            return now - self._told_to_stop_at > grace_s
        return now - self._child.heard > self._settings.hang_s

    def _await_exit(self) -> None:
        deadline = time.monotonic() + _EXIT_S
        while self._child.returncode is None and time.monotonic() < deadline:
            time.sleep(_TICK_S)

    # How it ended

    def _judge(self, verdict: _Verdict) -> FinishIn | None:
        if verdict.kind == "stale":
            return None
        if verdict.kind == "failed":
            return self._end(error=JobError.model_validate(verdict.content["error"]))
        if verdict.content["cancelled"]:
            return self._end()
        return FinishIn(token=self._claim.token, **verdict.content)

    def _mourn(self, returncode: int) -> FinishIn | None:
        self._child.drain(2)
        if self._verdict is not None:
            return self._judge(self._verdict)
        for line in self._child.last_lines():
            self._outbox.log(line, "error")
        return self._end(error=errors.describe_exit(returncode), crashed=True)

    def _killed(self) -> FinishIn:
        if self._told_to_stop_at is not None:
            return self._end()
        return self._end(error=errors.hung(self._settings.hang_s), crashed=True)

    def _end(self, *, error: JobError | None = None, crashed: bool = False) -> FinishIn:
        """The message for anything but success. What the user asked for comes first, then the worker's own shutdown."""
        token = self._claim.token
        if self._stop_requested.is_set():
            return FinishIn(token=token, cancelled=True)
        if self._hand_back.is_set() or error is None:
            # Nobody asked for a cancel: the service queues the job again and does not count the attempt as lost.
            return FinishIn(token=token, cancelled=True, error=errors.worker_stopped())
        return FinishIn(token=token, crashed=crashed, error=error)

    def _deliver(self, finish: FinishIn) -> FinishIn | None:
        try:
            self._patiently(self._send_rest)
            self._patiently(lambda: self._jobs.finish(self._claim.job_id, finish))
        except StaleToken as exc:
            log.warning("job.result_too_late", job_id=self._claim.job_id, detail=str(exc))
            return None
        except ProtocolError as exc:
            return self._deliver_refusal(exc)
        return finish

    def _deliver_refusal(self, refusal: ProtocolError) -> FinishIn | None:
        log.error("job.result_refused", job_id=self._claim.job_id, detail=str(refusal))
        finish = FinishIn(token=self._claim.token, error=errors.translate(refusal))
        try:
            self._patiently(lambda: self._jobs.finish(self._claim.job_id, finish))
        except ProtocolError:
            return None  # the lease runs out, and the service decides
        return finish

    def _end_mlflow_run(self, finish: FinishIn | None) -> None:
        """For a child that could not do it itself; a child that finished or failed did."""
        if finish is None or self._run_id is None or not (finish.cancelled or finish.crashed) or self._hand_back.is_set():
            return
        tracking.end_run(self._assignment.mlflow_url, self._run_id, "KILLED" if finish.cancelled else "FAILED")

    def _send_rest(self) -> None:
        while (report := self._outbox.next_report()) is not None:
            self._jobs.report(self._claim.job_id, report)
            self._outbox.acknowledge()

    def _patiently(self, call: Any) -> None:
        patiently(call, patience_s=self._settings.finish_patience_s, stop=self._hand_back.is_set)
