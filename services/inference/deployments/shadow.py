"""Shadows: versions that see what a deployment is asked, and whose masks are only compared."""

import itertools
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from services.inference.engine.masks import ious
from services.inference.engine.runners import Logits
from services.inference.engine.served import Served, is_turn_of
from services.inference.metrics import Metrics
from shared.contracts.deployments import ShadowReport

log = structlog.get_logger(__name__)

AGREEING_IOU: Final = 0.9

_MOST_WINDOWS: Final = 512
"""Waiting: 64 kB each."""


@dataclass(slots=True)
class _Tally:
    """Of one generation of a deployment. Changed under the lock of Shadows."""

    served: tuple[str, int]
    """Deployment's id and generation."""
    model: str
    turn: "itertools.count[int]" = field(default_factory=itertools.count)
    compared: int = 0
    skipped: int = 0
    failed: int = 0
    prompts: int = 0
    iou_sum: float = 0.0
    agreeing: int = 0


@dataclass(frozen=True, slots=True)
class _Offer:
    served: Served
    tally: _Tally
    windows: NDArray[np.uint8]
    logits: Logits


class Shadows:
    """One thread that compares, for all deployments of the process. Safe to use from several threads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._tallies: dict[str, _Tally] = {}
        self._waiting: deque[_Offer] = deque()
        self._windows = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def offer(self, served: Served, windows: NDArray[np.uint8], logits: Logits) -> None:
        """Compare this answer with the shadow's, some time, if it is its turn and there is time. Never waits, never raises.

        windows: uint8 [N, S, S, 3] RGB; logits: float32 [N, S, S], as they were answered. Neither may change afterwards.
        """
        if served.shadow is None or served.spec.shadow is None or not len(windows):
            return
        with self._changed:
            tally = self._tally(served, served.shadow.model)
            if not is_turn_of(next(tally.turn), served.spec.shadow.percent):
                return
            if self._closed or self._windows + len(windows) > _MOST_WINDOWS:
                self._count(served, tally, "skipped")
                return
            self._waiting.append(_Offer(served, tally, windows, logits))
            self._windows += len(windows)
            self._begin()
            self._changed.notify()

    def report(self, deployment: str, generation: int) -> ShadowReport | None:
        """How the shadow of this generation did here; None if it has none, or was not asked yet."""
        with self._changed:
            tally = self._tallies.get(deployment)
            if tally is None or tally.served[1] != generation:
                return None
            return ShadowReport(
                model=tally.model,
                compared=tally.compared,
                skipped=tally.skipped,
                failed=tally.failed,
                mask_iou=tally.iou_sum / tally.prompts if tally.prompts else None,
                agreeing=tally.agreeing / tally.prompts if tally.prompts else None,
            )

    def forget(self, deployment: str) -> None:
        """The deployment is gone."""
        with self._changed:
            self._tallies.pop(deployment, None)

    def close(self) -> None:
        """Compare nothing more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(5)

    def _tally(self, served: Served, model: str) -> _Tally:
        now = (served.deployment_id, served.generation)
        tally = self._tallies.get(served.name)
        # A request that holds the generation before must not begin its tally anew.
        if tally is None or tally.served[0] != now[0] or tally.served[1] < now[1]:
            tally = self._tallies[served.name] = _Tally(now, model)
        return tally

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadows", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (offer := self._next()) is not None:
            self._settle(offer)
            del offer  # it holds a version that may be gone by the next one

    def _next(self) -> _Offer | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            offer = self._waiting.popleft()
            self._windows -= len(offer.windows)
            return offer

    def _settle(self, offer: _Offer) -> None:
        if offer.served.desk.waiting > 0:  # those who wait for an answer come first
            with self._changed:
                self._count(offer.served, offer.tally, "skipped")
            return
        try:
            ious = _compared(offer)
        except Exception as exc:  # engines raise what they like
            log.warning("shadow.failed", deployment=offer.served.name, model=offer.tally.model, error=str(exc))
            with self._changed:
                self._count(offer.served, offer.tally, "failed")
            return
        self._add(offer, ious)

    def _add(self, offer: _Offer, ious: NDArray[np.float64]) -> None:
        with self._changed:
            self._count(offer.served, offer.tally, "compared")
            offer.tally.prompts += len(ious)
            offer.tally.iou_sum += float(ious.sum())
            offer.tally.agreeing += int((ious >= AGREEING_IOU).sum())
        histogram = self._metrics.shadow_iou.labels(offer.served.name, offer.tally.model)
        for iou in ious:
            histogram.observe(float(iou))

    def _count(self, served: Served, tally: _Tally, outcome: str) -> None:
        setattr(tally, outcome, getattr(tally, outcome) + 1)
        self._metrics.shadow.labels(served.name, tally.model, outcome).inc()


def _compared(offer: _Offer) -> NDArray[np.float64]:
    """IoU per prompt; 1 where both see nothing."""
    assert offer.served.shadow is not None
    return ious(offer.logits > 0, offer.served.shadow.logits(offer.windows) > 0)
