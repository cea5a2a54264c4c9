"""A rollout as a person sees it: its phases, and how they stand, live."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shared.client.cli.camera_view import ACTION_COLOURS
from shared.client.cli.common import Interrupted, age, err, escaped, out, show_fields, table
from shared.client.cli.durations import in_words
from shared.client.cli.watch import clock
from shared.client.errors import ClientError
from shared.client.sdk import PicofleetClient
from shared.contracts.rollouts import (
    ActionState,
    Counts,
    PhaseIn,
    PhaseOut,
    PhaseState,
    PreviewOut,
    RolloutOut,
    RolloutState,
)

COLOURS: Final = {
    RolloutState.FINISHED: "green",
    RolloutState.RUNNING: "cyan",
    RolloutState.PAUSED: "yellow",
    RolloutState.WAITING_FOR_APPROVAL: "yellow",
    RolloutState.ABORTED: "red",
    RolloutState.ROLLING_BACK: "magenta",
    RolloutState.ROLLED_BACK: "red",
}
BAR_CELLS: Final = 20
_RETURNED: Final = (ActionState.RESTORING, ActionState.RESTORED)
_GIVEN_UP: Final = (ActionState.CANCELLED, ActionState.EXPIRED, ActionState.SUPERSEDED)
_PARTS: Final = (
    ("green", (ActionState.RUNNING,)),
    ("red", (ActionState.FAILED,)),
    ("magenta", _RETURNED),
    ("yellow", _GIVEN_UP),
    ("cyan", tuple(s for s in ActionState if s not in ACTION_COLOURS and s is not ActionState.PENDING)),
)
"""Colours of a bar from left to right; pending ones are what is left of it."""


class RolloutFailed(ClientError):
    """A rollout that was followed ended otherwise than finished: exit code 1."""


class View(Protocol):
    """Shows what happens in a rollout."""

    def update(self, rollout: RolloutOut) -> None:
        """Something may have changed."""


@dataclass(frozen=True, slots=True)
class FailureShare:
    """How many cameras of a phase failed, against what it allows."""

    failed: int
    succeeded: int
    limit_percent: int
    failure_min: int

    @classmethod
    def of(cls, phase: PhaseOut) -> "FailureShare":
        """From the counts."""
        failed, succeeded = phase.counts.get(ActionState.FAILED, 0), phase.counts.get(ActionState.RUNNING, 0)
        return cls(failed, succeeded, phase.spec.failure_percent, phase.spec.failure_min)

    @property
    def too_much(self) -> bool:
        """Whether it is above the limit."""
        return self.failed >= self.failure_min and self.failed * 100 > self.limit_percent * (self.failed + self.succeeded)

    def __str__(self) -> str:
        if not self.failed:
            return ""
        return f"failed {100 * self.failed / (self.failed + self.succeeded):.3g} % (limit {self.limit_percent} %)"


def follow_rollout(client: PicofleetClient, rollout: RolloutOut, *, poll_s: float = 1.0) -> RolloutOut:
    """Show a rollout's phases until it has ended; the rollout as it then is. Interrupted at Ctrl-C: it goes on."""
    try:
        with view() as shown:
            return client.fleet.rollouts.wait(rollout.id, poll_s=poll_s, on_poll=shown.update)
    except KeyboardInterrupt:
        hint = f"`picofleet rollouts watch {rollout.id}` comes back to it; `picofleet rollouts pause {rollout.id}` halts it."
        raise Interrupted(f"No longer watching. The rollout {rollout.name} goes on.", hint=hint) from None


@contextmanager
def view() -> Iterator[View]:
    """The view that fits: bars if a person is at the terminal."""
    console = err()
    if not sys.stderr.isatty():
        yield PlainRollout(console)
        return
    shown = LiveRollout()
    with Live(console=console, get_renderable=shown.drawn, refresh_per_second=4):
        yield shown


class LiveRollout:
    """A line per phase; drawn anew four times a second, so that soaks count down between two answers."""

    def __init__(self) -> None:
        self._rollout: RolloutOut | None = None

    def update(self, rollout: RolloutOut) -> None:
        """What to draw from now on."""
        self._rollout = rollout

    def drawn(self) -> RenderableType:
        """As it stands now."""
        return Text() if self._rollout is None else drawing(self._rollout)


class PlainRollout:
    """Lines for log files and pipes: one for each change of a phase or of the whole."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._told: dict[str, str] = {}

    def update(self, rollout: RolloutOut) -> None:
        """A line for what is new."""
        self._tell(rollout.name, rollout.state.value + (f": {rollout.reason}" if rollout.reason else ""))
        for phase in rollout.phases:
            if phase.state is not PhaseState.WAITING:
                words = [phase.state.value, counts_in_words(phase.counts), str(FailureShare.of(phase))]
                self._tell(f"phase {phase.number}", "  ".join(word for word in words if word))
        if rollout.restores:
            self._tell("returning", counts_in_words(rollout.restores))

    def _tell(self, what: str, words: str) -> None:
        if self._told.get(what) != words:
            self._told[what] = words
            self._console.print(f"[{time.monotonic() - self._begun:6.1f} s] {what}: {words}", markup=False)


def drawing(rollout: RolloutOut, now: datetime | None = None) -> RenderableType:
    """The whole of a rollout in a few lines."""
    head = Text.from_markup(f"[bold]{escaped(rollout.name)}[/bold]  {escaped(rollout.package)}  {coloured(rollout.state)}")
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    for phase in rollout.phases:
        grid.add_row(*_line(phase, now or datetime.now(UTC)))
    if rollout.restores:
        grid.add_row("returning", bar(rollout.restores), Text(counts_in_words(rollout.restores), style="magenta"))
    shown: list[RenderableType] = [head, grid]
    if rollout.reason:
        shown.append(Text(rollout.reason, style="red" if rollout.state in _UNHAPPY else "dim"))
    if rollout.state in _NEXT:
        shown.append(Text(_NEXT[rollout.state].format(id=rollout.id), style="yellow"))
    return Group(*shown)


_UNHAPPY: Final = (RolloutState.PAUSED, RolloutState.ABORTED, RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK)
_NEXT: Final[Mapping[RolloutState, str]] = {
    RolloutState.DRAFT: "It is not started: `picofleet rollouts start {id}`.",
    RolloutState.WAITING_FOR_APPROVAL: "It waits for a person: `picofleet rollouts approve {id}`.",
    RolloutState.PAUSED: "It waits for a person: `picofleet rollouts resume {id}`, `retry`, `abort` or `rollback`.",
}


def bar(counts: Counts, cells: int = BAR_CELLS) -> Text:
    """Cameras by state as one bar. What there is at all has a cell, however few."""
    total = sum(counts.values())
    numbers = [(colour, sum(counts.get(state, 0) for state in states)) for colour, states in _PARTS]
    shown = [(colour, number) for colour, number in numbers if number]
    drawn, left = Text(), cells
    for index, (colour, number) in enumerate(shown):
        kept = len(shown) - index - 1  # a cell for each of those that follow
        width = max(1, min(left - kept, round(cells * number / total)))
        drawn.append("━" * width, style=colour)
        left -= width
    return drawn.append("━" * left, style="bright_black")


def counts_in_words(counts: Counts) -> str:
    """As ``12 running, 1 failed, 87 pending``."""
    order = [ActionState.RUNNING, ActionState.FAILED, *ActionState]
    states = [state for state in dict.fromkeys(order) if counts.get(state)]
    return ", ".join(f"{counts[state]} {state.value}" for state in states)


def soak_left_s(phase: PhaseOut, now: datetime) -> float | None:
    """How long a phase has to hold still; None if it does not soak."""
    if phase.state is not PhaseState.SOAKING or phase.soaking_since is None:
        return None
    return max(0.0, phase.spec.soak_s - (now - phase.soaking_since).total_seconds())


def coloured(state: RolloutState) -> str:
    """A state in its colour."""
    words = state.value.replace("_", " ")
    return f"[{COLOURS[state]}]{words}[/]" if state in COLOURS else words


def size_in_words(phase: PhaseIn) -> str:
    """As ``25 %`` or ``1 camera``."""
    if phase.percent is not None:
        return f"{phase.percent:g} %"
    return "1 camera" if phase.count == 1 else f"{phase.count} cameras"


def show_rollout(found: RolloutOut) -> None:
    """A rollout in full."""
    spec = found.spec
    whom = (
        f"group {spec.group}"
        if spec.group
        else f"labels {spec.selector or '(all)'}"
        if spec.cameras is None
        else "cameras by name"
    )
    took = clock((found.ended_at - found.started_at).total_seconds()) if found.started_at and found.ended_at else ""
    show_fields(
        [
            ("rollout", found.id),
            ("name", found.name),
            ("package", found.package),
            ("to", whom),
            ("state", found.state.value.replace("_", " ")),
            ("reason", found.reason),
            ("cameras", f"{found.cameras}: {counts_in_words(found.counts)}" if found.cameras else ""),
            ("returning", counts_in_words(found.restores)),
            ("on failure", spec.on_failure.value.replace("_", " ")),
            ("deadline", in_words(spec.deadline_s)),
            ("made", f"{age(found.created_at)} ago by {found.created_by}"),
            ("took", took),
        ]
    )
    rows = [_row(phase) for phase in found.phases]
    out().print()
    out().print(table(["phase", "size", "state", "cameras", "failures", "soak", "agreement"], rows))
    if found.state in _NEXT:
        err().print(_NEXT[found.state].format(id=found.id), markup=False)


def show_preview(found: PreviewOut) -> None:
    """Whom a rollout would touch."""
    out().print(f"{found.cameras} cameras; {found.already} run it already, {found.busy} are busy with another rollout.")
    rows = [[str(phase.number), str(phase.cameras), escaped(", ".join(phase.examples))] for phase in found.phases]
    out().print(table(["phase", "cameras", "as"], rows))


def require_finished(found: RolloutOut) -> RolloutOut:
    """``found`` itself if it finished; else RolloutFailed with the reason."""
    if found.state is RolloutState.FINISHED:
        return found
    why = f": {found.reason}" if found.reason else "."
    hint = f"`picofleet rollouts actions {found.id} --state failed` has what its cameras said."
    raise RolloutFailed(f"Rollout {found.name} is {found.state.value.replace('_', ' ')}{why}", hint=hint)


def _row(phase: PhaseOut) -> list[str]:
    agreement = "" if phase.agreement is None else f"{phase.agreement:.3f} over {phase.samples}"
    cells = [str(phase.number), size_in_words(phase.spec), phase.state.value.replace("_", " ")]
    counted = f"{phase.cameras}: {counts_in_words(phase.counts)}" if phase.cameras else ""
    return [*cells, counted, str(FailureShare.of(phase)), in_words(phase.spec.soak_s), agreement]


def _line(phase: PhaseOut, now: datetime) -> tuple[RenderableType, ...]:
    share = FailureShare.of(phase)
    left = soak_left_s(phase, now)
    state = phase.state.value.replace("_", " ") + (f", {clock(left)} left" if left is not None else "")
    words = Text(counts_in_words(phase.counts))
    if str(share):
        words.append(f"  {share}", style="bold red" if share.too_much else "yellow")
    if phase.agreement is not None:
        words.append(f"  agreement {phase.agreement:.3f}")
    return (
        Text(f"{phase.number}  {size_in_words(phase.spec)}"),
        bar(phase.counts),
        Text(state, style=_PHASE_COLOURS[phase.state]),
        words,
    )


_PHASE_COLOURS: Final = {
    PhaseState.WAITING: "dim",
    PhaseState.WAITING_FOR_APPROVAL: "yellow",
    PhaseState.RUNNING: "cyan",
    PhaseState.SOAKING: "blue",
    PhaseState.DONE: "green",
}
