"""Pipelines and sweeps over REST."""

from collections.abc import Iterator
from urllib.parse import quote

from shared.client.resources.pages import every
from shared.client.resources.polling import until_final
from shared.client.transport import Transport, parsed
from shared.contracts.pipelines import PipelineIn, PipelineOut, RetryIn, SweepIn, SweepOut, TemplateOut


class Pipelines:
    """`/v1/pipelines`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(self, pipeline: PipelineIn) -> PipelineOut:
        """Start a pipeline; ProblemError 422 naming what is wrong with it, before any job is made."""
        return parsed(PipelineOut, self._transport.call("POST", "/v1/pipelines", body=pipeline))

    def templates(self) -> "list[TemplateOut]":
        """Pipelines that only need their parameters."""
        answer = self._transport.call("GET", "/v1/pipelines/templates").json()
        items = answer["items"] if isinstance(answer, dict) else answer
        return [TemplateOut.model_validate(item) for item in items]

    def list(self, *, limit: int | None = None) -> Iterator[PipelineOut]:
        """Pipelines, newest first."""
        return every(self._transport, "/v1/pipelines", PipelineOut, limit=limit)

    def get(self, pipeline_id: str) -> PipelineOut:
        """One pipeline with its steps; ProblemError 404 if there is none."""
        return parsed(PipelineOut, self._transport.call("GET", self._path(pipeline_id)))

    def cancel(self, pipeline_id: str) -> PipelineOut:
        """Stop the running steps and start no others."""
        return parsed(PipelineOut, self._transport.call("POST", f"{self._path(pipeline_id)}/cancel"))

    def retry(self, pipeline_id: str, request: RetryIn | None = None) -> PipelineOut:
        """Run again what has not succeeded, or a step and all that builds on it; the other steps are kept."""
        answer = self._transport.call("POST", f"{self._path(pipeline_id)}/retry", body=request or RetryIn())
        return parsed(PipelineOut, answer)

    def follow(self, pipeline_id: str, *, poll_s: float = 1.0, give_up_after_s: float = 120.0) -> Iterator[PipelineOut]:
        """The pipeline each time that something has changed, up to its end."""
        return until_final(
            lambda: self.get(pipeline_id),
            lambda pipeline: pipeline.state.is_final,
            poll_s=poll_s,
            give_up_after_s=give_up_after_s,
        )

    @staticmethod
    def _path(pipeline_id: str) -> str:
        return f"/v1/pipelines/{quote(pipeline_id, safe='')}"


class Sweeps:
    """`/v1/sweeps`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(self, sweep: SweepIn) -> SweepOut:
        """Start a sweep; ProblemError 422 naming what is wrong with it, before any job is made."""
        return parsed(SweepOut, self._transport.call("POST", "/v1/sweeps", body=sweep))

    def list(self, *, limit: int | None = None) -> Iterator[SweepOut]:
        """Sweeps, newest first, without their trials."""
        return every(self._transport, "/v1/sweeps", SweepOut, limit=limit)

    def get(self, sweep_id: str) -> SweepOut:
        """One sweep with its trials; ProblemError 404 if there is none."""
        return parsed(SweepOut, self._transport.call("GET", self._path(sweep_id)))

    def cancel(self, sweep_id: str) -> SweepOut:
        """Stop the running trials and start no others."""
        return parsed(SweepOut, self._transport.call("POST", f"{self._path(sweep_id)}/cancel"))

    def follow(self, sweep_id: str, *, poll_s: float = 1.0, give_up_after_s: float = 120.0) -> Iterator[SweepOut]:
        """The sweep each time that something has changed, up to its end."""
        return until_final(
            lambda: self.get(sweep_id), lambda sweep: sweep.state.is_final, poll_s=poll_s, give_up_after_s=give_up_after_s
        )

    @staticmethod
    def _path(sweep_id: str) -> str:
        return f"/v1/sweeps/{quote(sweep_id, safe='')}"
