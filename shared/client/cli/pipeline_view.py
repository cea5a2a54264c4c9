"""A pipeline as a person sees it: its steps, and the running one's progress."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from shared.client.cli.common import err, escaped, out, show_fields, table
from shared.client.cli.watch import PlainView, clock, note
from shared.client.errors import JobFailed
from shared.client.sdk import PicofleetClient
from shared.contracts.pipelines import PipelineOut, PipelineState, StepOut, StepState

COLOURS: Final = {
    "succeeded": "green",
    "failed": "red",
    "running": "cyan",
    "cancelled": "yellow",
    "cancelling": "yellow",
}
_FIGURES: Final = 3
"""So many figures of a step are shown in its line; all of them are in the job."""


class View(Protocol):
    """Shows what happens in a pipeline."""

    def update(self, pipeline: PipelineOut) -> None:
        """Something has changed."""


def follow_pipeline(client: PicofleetClient, pipeline_id: str) -> PipelineOut:
    """Show a pipeline's steps until it has ended; the pipeline as it then is."""
    with view() as shown:
        for pipeline in client.pipelines.follow(pipeline_id):
            shown.update(pipeline)
    return pipeline


@contextmanager
def view() -> Iterator[View]:
    """The view that fits: bars if a person is at the terminal."""
    console = err()
    if not sys.stderr.isatty():
        yield PlainSteps(console)
        return
    columns = (
        TextColumn("[bold]{task.description:<10}"),
        TextColumn("{task.fields[what]:<10}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=console) as bars:
        yield LiveSteps(bars)


class PlainSteps:
    """Lines for log files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._states: dict[str, tuple[StepState, str | None]] = {}
        self._reasons: dict[str, str] = {}
        self._views: dict[str, PlainView] = {}

    def update(self, pipeline: PipelineOut) -> None:
        """A line for each step whose state changed, and now and then one for a step that gets on."""
        for step in pipeline.steps:
            state = (step.state, step.job_id)  # a retry makes a new job
            known = self._states.get(step.name)
            if state != known and (known is not None or step.state is not StepState.WAITING):
                self._line(f"{step.name}: {_told(step)}")
            self._states[step.name] = state
            if step.state is StepState.RUNNING and step.waiting_for and step.waiting_for != self._reasons.get(step.name):
                self._reasons[step.name] = step.waiting_for
                self._line(f"{step.name}: waits: {step.waiting_for}")
            if step.state is StepState.RUNNING and step.progress is not None:
                viewer = self._views.setdefault(step.name, PlainView(self._console, f"{step.name}: ", begun=self._begun))
                viewer.progress(step.progress)

    def _line(self, text: str) -> None:
        self._console.print(f"[{time.monotonic() - self._begun:6.1f} s] {text}", markup=False)


class LiveSteps:
    """One bar per step."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def update(self, pipeline: PipelineOut) -> None:
        """Move each step's bar."""
        for step in pipeline.steps:
            if step.name not in self._tasks:
                self._tasks[step.name] = self._bars.add_task(step.name, total=None, start=False, what="", note="")
            task = self._tasks[step.name]
            if step.state is StepState.RUNNING and step.progress is not None:
                done, total = step.progress.done, step.progress.total
                self._bars.start_task(task)
                self._bars.update(
                    task, completed=done, total=total, what=escaped(step.progress.phase), note=escaped(note(step.progress))
                )
            else:
                full = {"completed": 1, "total": 1} if step.state is StepState.SUCCEEDED else {}
                self._bars.update(task, what=coloured(step.state), note=escaped(detail(step)), **full)  # type: ignore[arg-type]


def show_pipeline(pipeline: PipelineOut) -> None:
    """A pipeline in full: what it is, and a line per step."""
    show_fields(
        [
            ("pipeline", pipeline.id),
            ("name", pipeline.name),
            ("template", pipeline.template),
            ("state", pipeline.state.value),
            ("took", took(pipeline)),
            ("tags", ", ".join(f"{key}={value}" for key, value in pipeline.tags.items())),
            ("error", pipeline.error.message if pipeline.error else ""),
            ("hint", pipeline.error.hint if pipeline.error else ""),
        ]
    )
    rows = [
        [step.name, step.kind.value, coloured(step.state), step.job_id or "", escaped(step.model or ""), escaped(detail(step))]
        for step in pipeline.steps
    ]
    out().print(table(["step", "kind", "state", "job", "model", ""], rows))


def require_success(pipeline: PipelineOut) -> PipelineOut:
    """``pipeline`` itself if it succeeded; else JobFailed with the reason."""
    if pipeline.state is PipelineState.SUCCEEDED:
        return pipeline
    again = f"`picofleet pipelines retry {pipeline.id}` runs again what has not succeeded."
    if pipeline.error is not None:
        message = f"Pipeline {pipeline.id} failed ({pipeline.error.type}): {pipeline.error.message}"  # which names the step
        raise JobFailed(message, hint=f"{pipeline.error.hint} {again}".strip())
    raise JobFailed(f"Pipeline {pipeline.id} is {pipeline.state.value}.", hint=again)


def coloured(state: StepState | PipelineState) -> str:
    """A state in its colour."""
    return f"[{COLOURS[state.value]}]{state.value}[/]" if state.value in COLOURS else state.value


def detail(step: StepOut) -> str:
    """In a few words: how far a step is, what it waits for, or how it ended."""
    if step.error is not None:
        return step.error.message
    if step.state is StepState.RUNNING and step.progress is not None:
        total = step.progress.total
        return f"{step.progress.phase} {100 * step.progress.done // total} %" if total else step.progress.phase
    if step.waiting_for:
        return step.waiting_for
    return figures(step.result)


def figures(result: dict[str, object], limit: int = _FIGURES) -> str:
    """The first figures of a result, those of mean IoU before the others."""
    numbers = {key: value for key, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    first = sorted(numbers, key=lambda key: (not key.startswith("miou"), len(key)))[:limit]
    return "  ".join(f"{key} {numbers[key]:.4g}" for key in first)


def summary(pipeline: PipelineOut) -> str:
    """All steps in one line."""
    marks = {StepState.SUCCEEDED: "done", StepState.RUNNING: "runs"}
    return ", ".join(f"{step.name} {marks.get(step.state, step.state.value)}" for step in pipeline.steps)


def took(pipeline: PipelineOut) -> str:
    """From its beginning to its end; empty while it runs."""
    if pipeline.finished_at is None:
        return ""
    return clock((pipeline.finished_at - pipeline.created_at).total_seconds())


def _told(step: StepOut) -> str:
    words = [step.state.value, f"job {step.job_id}" if step.state is StepState.RUNNING and step.job_id else ""]
    words += [detail(step) if step.state.is_final else "", f"model {step.model}" if step.model else ""]
    return "  ".join(word for word in words if word)
