"""Do the masks that are served look like those of validation? Their sizes and confidences, against the version's reference."""

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.inference.engine.loaded import LoadedVersion
from services.inference.metrics import Metrics
from shared.contracts.serving import HISTOGRAM_BINS, Reference

_MEMORY: Final = 1000
"""Masks: one that lies so far back counts 1/e of the newest."""

_LEAST: Final = 100
"""Masks before there is a figure: of fewer, the spread is mostly chance."""

Shares = NDArray[np.float64]


class _Spread:
    """Histograms in which what is older counts less."""

    def __init__(self, reference: Reference) -> None:
        self._wanted = {"area": np.asarray(reference.area), "confidence": np.asarray(reference.confidence)}
        self._found = {name: np.zeros(HISTOGRAM_BINS) for name in self._wanted}
        self._empty, self._wanted_empty = 0.0, reference.empty
        self._weight = 0.0

    def add(self, areas: Shares, confidences: Shares, empty: int) -> None:
        count = len(areas) + empty
        fading = np.exp(-count / _MEMORY)
        self._weight = self._weight * fading + count
        self._empty = self._empty * fading + empty
        for name, values in (("area", areas), ("confidence", confidences)):
            bins = np.minimum((values * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)
            self._found[name] = self._found[name] * fading + np.bincount(bins, minlength=HISTOGRAM_BINS)

    def distances(self) -> dict[str, float]:
        """Total variation, 0..1, by figure; empty while too little was seen."""
        if self._weight < _LEAST:
            return {}
        found = {name: _distance(counts, self._wanted[name]) for name, counts in self._found.items() if counts.sum() > 0}
        return {**found, "empty": abs(self._empty / self._weight - self._wanted_empty)}


class Drift:
    """Keeps the gauge ``picofleet_inference_drift``. Safe to use from several threads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._spreads: dict[tuple[str, str], _Spread] = {}

    def note(self, deployment: str, loaded: LoadedVersion, areas: Shares, confidences: Shares, empty: int) -> None:
        """Masks that were answered: shares of their windows' cells and expected IoU, both 0..1; ``empty`` had no mask."""
        reference = loaded.card.reference if loaded.card else None
        if reference is None:
            return
        with self._lock:
            spread = self._spreads.setdefault((deployment, loaded.model), _Spread(reference))
            spread.add(areas, confidences, empty)
            distances = spread.distances()
        for figure, distance in distances.items():
            self._metrics.drift.labels(deployment, loaded.model, figure).set(distance)

    def forget(self, deployment: str) -> None:
        """A deployment is gone."""
        with self._lock:
            gone = [key for key in self._spreads if key[0] == deployment]
            for key in gone:
                del self._spreads[key]


def _distance(counts: Shares, wanted: Shares) -> float:
    return float(np.abs(counts / counts.sum() - wanted / max(wanted.sum(), 1e-12)).sum() / 2)
