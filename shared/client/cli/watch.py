"""Following a job: a live progress bar in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from shared.client.cli.common import err, escaped
from shared.client.sdk import PicofleetClient
from shared.contracts.jobs import EventType, JobEvent, JobOut, JobState, Progress

PLAIN_EVERY_S: Final = 10.0
_SHOWN: Final = ("loss", "miou_96", "miou_96_pad")


class View(Protocol):
    """Shows what happens in a job."""

    def state(self, state: JobState, detail: str) -> None:
        """The job's state changed."""

    def progress(self, progress: Progress) -> None:
        """The job got on."""

    def log(self, level: str, message: str) -> None:
        """The job said something."""


def follow(client: PicofleetClient, job_id: str, *, logs: bool = True, after: int = 0) -> JobOut:
    """Show a job's events until it has ended; the job as it then is."""
    with view() as shown:
        for event in client.jobs.events(job_id, after=after):
            show(shown, event, logs=logs)
    return client.jobs.get(job_id)


def show(shown: View, event: JobEvent, *, logs: bool) -> None:
    """Hand one event to the view; payloads of newer services that do not parse are passed over."""
    payload = event.payload
    if event.type is EventType.STATE:
        error = payload.get("error") or {}
        shown.state(JobState(payload["state"]), str(error.get("message") or ""))
    elif event.type is EventType.PROGRESS:
        shown.progress(Progress.model_validate(payload))
    elif event.type is EventType.LOG and logs:
        shown.log(str(payload.get("level", "info")), str(payload.get("message", "")))


@contextmanager
def view() -> Iterator[View]:
    """The view that fits: bars if a person is at the terminal."""
    console = err()
    if not sys.stderr.isatty():
        yield PlainView(console)
        return
    columns = (
        TextColumn("[bold]{task.description:<9}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=console) as bars:
        yield LiveView(bars)


class PlainView:
    """Lines for log files and pipes: a line per phase and every ten seconds. ``begun``: by the monotonic clock."""

    def __init__(self, console: Console, prefix: str = "", *, begun: float | None = None) -> None:
        self._console, self._prefix = console, prefix
        self._begun = time.monotonic() if begun is None else begun
        self._phase, self._printed = "", 0.0

    def state(self, state: JobState, detail: str) -> None:
        """Print the new state."""
        self._line(f"{state.value}{': ' + detail if detail else ''}")

    def progress(self, progress: Progress) -> None:
        """Print the position, unless a line of the same phase was printed just before."""
        now = time.monotonic()
        finished = progress.total is not None and progress.done >= progress.total
        if progress.phase == self._phase and now - self._printed < PLAIN_EVERY_S and not finished:
            return
        self._phase, self._printed = progress.phase, now
        total = f"/{progress.total}" if progress.total is not None else ""
        self._line(f"{progress.phase} {progress.done}{total} {_units(progress)}  {note(progress)}".rstrip())

    def log(self, level: str, message: str) -> None:
        """Print a log line."""
        self._line(f"{level}: {message}")

    def _line(self, text: str) -> None:
        self._console.print(f"[{time.monotonic() - self._begun:6.1f} s] {self._prefix}{text}", markup=False)


class LiveView:
    """One bar per phase of the job."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._state: JobState | None = None

    def state(self, state: JobState, detail: str) -> None:
        """Say so above the bars, where it is not plain from them."""
        if state is not self._state and (detail or state in {JobState.QUEUED, JobState.LOST, JobState.CANCELLING}):
            self._bars.console.print(f"{state.value}{': ' + escaped(detail) if detail else ''}")
        if state is JobState.SUCCEEDED:  # a phase's last report may have been left out; now all of them are over
            for task in self._bars.tasks:
                self._bars.update(task.id, completed=task.total or 1, total=task.total or 1)
        self._state = state

    def progress(self, progress: Progress) -> None:
        """Move the phase's bar."""
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bars.add_task(progress.phase, total=progress.total, note="")
        self._bars.update(
            self._tasks[progress.phase], completed=progress.done, total=progress.total, note=escaped(note(progress))
        )

    def log(self, level: str, message: str) -> None:
        """Print a log line above the bars."""
        colour = {"error": "red", "warning": "yellow"}.get(level, "dim")
        self._bars.console.print(f"[{colour}]{escaped(message)}[/{colour}]")


def note(progress: Progress) -> str:
    """Speed, time left and newest figures."""
    parts = []
    if progress.rate is not None:
        parts.append(f"{progress.rate:.1f} {'images' if progress.phase == 'train' else _units(progress)}/s")
    if progress.eta_s is not None:
        parts.append(f"ETA {clock(progress.eta_s)}")
    parts += [f"{name} {progress.metrics[name]:.3f}" for name in _SHOWN if name in progress.metrics]
    return "  ".join(parts)


def _units(progress: Progress) -> str:
    return progress.unit + ("es" if progress.unit.endswith("ch") else "s")


def clock(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
