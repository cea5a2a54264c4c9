"""Windows of several requests in one run."""

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from services.inference.engine.runners import Inputs, Logits, Runner


@dataclass(slots=True, eq=False)
class _Share:
    """One caller's windows in a run."""

    inputs: Inputs
    alone: bool
    woken: threading.Event = field(default_factory=threading.Event)
    """Set when the caller has something to do: to run ``batch``, or to go with its answer."""
    batch: "list[_Share] | None" = None
    """What this caller is to run for all who are in it, itself first."""
    logits: Logits | None = None
    error: BaseException | None = None

    def answer(self) -> Logits:
        """What came of it."""
        if self.error is not None:
            raise self.error
        assert self.logits is not None
        return self.logits


class BatchingRunner:
    """A Runner whose runs take the windows of all who asked while the runs before were at work.

    There are ``lanes`` runs at the same time. A caller that finds a lane free runs at once; others wait, and when a lane gets
    free the first of them runs what waits by then, in the order of asking, up to ``max_batch`` windows. So an idle server
    delays nobody, unless ``max_delay_s`` says so.
    """

    def __init__(self, runner: Runner, *, max_batch: int, max_delay_s: float, lanes: int) -> None:
        self._runner, self._max_batch, self._max_delay_s = runner, max_batch, max_delay_s
        self._free = lanes
        self._gathering = False
        self._waiting: deque[_Share] = deque()
        self._changed = threading.Condition()

    def run(self, inputs: Inputs, *, alone: bool) -> Logits:
        """As ``Runner`` says. What a run raises, all raise whose windows were in it."""
        mine = _Share(inputs, alone)
        with self._changed:
            self._waiting.append(mine)
            self._changed.notify_all()
            self._give_lanes()
        mine.woken.wait()
        if mine.batch is not None:
            self._lead(mine.batch)
        return mine.answer()

    def _lead(self, batch: list[_Share]) -> None:
        try:
            self._gather(batch)
            _run_together(self._runner, batch)
        finally:
            with self._changed:
                self._free += 1
                self._give_lanes()

    def _give_lanes(self) -> None:
        """Holding the lock: let the first who wait run, as far as lanes are free."""
        while self._free and self._waiting and not self._gathering:
            leader = self._waiting.popleft()
            leader.batch = [leader]
            self._take(leader.batch)
            self._free -= 1
            self._gathering = self._max_delay_s > 0
            leader.woken.set()

    def _gather(self, batch: list[_Share]) -> None:
        """Wait as long as the delay says, and take who has come since."""
        with self._changed:
            if self._max_delay_s > 0:
                self._changed.wait_for(lambda: _windows(batch) + _windows(self._waiting) >= self._max_batch, self._max_delay_s)
                self._gathering = False
            self._take(batch)
            self._give_lanes()

    def _take(self, batch: list[_Share]) -> None:
        room = self._max_batch - _windows(batch)
        # Of one shape only: whoever sends another one must not spoil the run of the others.
        while self._waiting and len(self._waiting[0].inputs) <= room and _alike(self._waiting[0], batch[0]):
            batch.append(self._waiting.popleft())
            room -= len(batch[-1].inputs)


def _windows(shares: "list[_Share] | deque[_Share]") -> int:
    return sum(len(share.inputs) for share in shares)


def _alike(one: _Share, other: _Share) -> bool:
    return one.inputs.shape[1:] == other.inputs.shape[1:]


def _run_together(runner: Runner, batch: list[_Share]) -> None:
    """Run the batch and wake the others; whatever happens, nobody is left waiting."""
    leader, *others = batch
    try:
        inputs = np.concatenate([share.inputs for share in batch]) if others else leader.inputs
        logits = runner.run(inputs, alone=leader.alone and not others)
        start = 0
        for share in batch:
            share.logits = logits[start : start + len(share.inputs)]
            start += len(share.inputs)
    except BaseException as exc:
        for share in batch:
            share.error = exc
    finally:
        for share in others:
            share.woken.set()
