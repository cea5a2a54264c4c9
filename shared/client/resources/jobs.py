"""Jobs over REST and their events over SSE."""

import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from shared.client.errors import NotReachable, ProblemError
from shared.client.resources.pages import every
from shared.client.sse import ServerEvent, server_events
from shared.client.transport import Transport, parsed, pause_s
from shared.contracts.jobs import (
    DistillationSubmission,
    EvaluationSubmission,
    EventType,
    JobEvent,
    JobKind,
    JobKindOut,
    JobOut,
    JobState,
    PackagingSubmission,
    QuantizationSubmission,
    TrainingSubmission,
)


class Jobs:
    """`/v1/jobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit_training(self, submission: TrainingSubmission) -> JobOut:
        """Queue a training job."""
        return parsed(JobOut, self._transport.call("POST", "/v1/jobs/training", body=submission))

    def submit_distillation(self, submission: DistillationSubmission) -> JobOut:
        """Queue a distillation job; ProblemError 422 if the teacher's checkpoint is not to be had."""
        return parsed(JobOut, self._transport.call("POST", "/v1/jobs/distillation", body=submission))

    def submit_evaluation(self, submission: EvaluationSubmission) -> JobOut:
        """Queue an evaluation job."""
        return parsed(JobOut, self._transport.call("POST", "/v1/jobs/evaluation", body=submission))

    def submit_quantization(self, submission: QuantizationSubmission) -> JobOut:
        """Queue a quantization job; ProblemError 422 for a version that is quantized already."""
        return parsed(JobOut, self._transport.call("POST", "/v1/jobs/quantization", body=submission))

    def submit_packaging(self, submission: PackagingSubmission) -> JobOut:
        """Queue a packaging job; ProblemError 422 for a version that was not quantized for the sensor."""
        return parsed(JobOut, self._transport.call("POST", "/v1/jobs/packaging", body=submission))

    def kinds(self) -> "list[JobKindOut]":
        """The kinds of jobs and the JSON schema of each submission."""
        answer = self._transport.call("GET", "/v1/jobs/kinds").json()
        items = answer["items"] if isinstance(answer, dict) else answer
        return [JobKindOut.model_validate(item) for item in items]

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        kind: JobKind | None = None,
        tags: Sequence[str] = (),
        owner: str | None = None,
        parent: str | None = None,
        limit: int | None = None,
    ) -> Iterator[JobOut]:
        """Jobs, newest first. ``tags`` are written ``key=value``; all must match. ``parent``: id of a pipeline or sweep."""
        filters: dict[str, Any] = {"state": [state.value for state in states] or None, "tag": list(tags) or None}
        filters |= {"kind": kind.value if kind else None, "owner": owner, "parent": parent}
        wanted = {key: value for key, value in filters.items() if value is not None}
        return every(self._transport, "/v1/jobs", JobOut, wanted, limit=limit)

    def get(self, job_id: str) -> JobOut:
        """One job; ProblemError 404 if there is none."""
        return parsed(JobOut, self._transport.call("GET", self._path(job_id)))

    def cancel(self, job_id: str) -> JobOut:
        """Ask a job to stop. A job that has ended stays as it is (ProblemError 409)."""
        return parsed(JobOut, self._transport.call("POST", f"{self._path(job_id)}/cancel"))

    def retry(self, job_id: str) -> JobOut:
        """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
        return parsed(JobOut, self._transport.call("POST", f"{self._path(job_id)}/retry"))

    def logs(self, job_id: str) -> str:
        """All log lines so far, as text."""
        return self._transport.call("GET", f"{self._path(job_id)}/logs", headers={"Accept": "text/plain"}).text

    def events(self, job_id: str, *, after: int = 0, give_up_after_s: float = 120.0) -> Iterator[JobEvent]:
        """Events with ``seq`` above ``after``, as they happen, until the job has ended and all were read.

        A stream that breaks off is taken up after the last event seen. NotReachable once the service
        has been away for ``give_up_after_s``.
        """
        seen, attempt, away_since = after, 0, None
        while True:
            try:
                for event in self._stream(job_id, seen):
                    attempt, away_since = 0, None
                    if event.seq > seen:
                        seen = event.seq
                        yield event
                if self.get(job_id).state.is_final:
                    return
                attempt, away_since = 0, None
            except (NotReachable, ProblemError) as exc:
                if isinstance(exc, ProblemError) and exc.status < 500:
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > give_up_after_s:
                    raise
                attempt += 1
            time.sleep(pause_s(attempt))

    def wait(self, job_id: str, *, poll_s: float = 0.5) -> JobOut:
        """Wait until the job has ended, in whatever way."""
        while not (job := self.get(job_id)).state.is_final:
            time.sleep(poll_s)
        return job

    def _stream(self, job_id: str, after: int) -> Iterator[JobEvent]:
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = str(after)
        with self._transport.stream("GET", f"{self._path(job_id)}/events", headers=headers) as answer:
            for event in server_events(answer.iter_lines()):
                if event.name in set(EventType):
                    yield _job_event(event)

    @staticmethod
    def _path(job_id: str) -> str:
        return f"/v1/jobs/{quote(job_id, safe='')}"


def _job_event(event: ServerEvent) -> JobEvent:
    return JobEvent.model_validate_json(event.data)
