"""What the service counts. Labels have few values: deployments and versions in use, never paths or keys."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.inference.engine.errors import DeadlineExceeded, Overloaded
from shared.kit.problems import Problem

STAGES: Final = ("queue", "decode", "window", "run", "encode")

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WINDOWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHARES: Final = tuple(step / 20 for step in range(1, 21))


class Metrics:
    """Prometheus metrics of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        version = ["deployment", "model"]
        self.stage = Histogram(
            "picofleet_inference_stage_seconds",
            "Time that requests spend in each stage",
            ["deployment", "stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests = Counter("picofleet_inference_requests", "Requests by outcome", [*version, "outcome"], registry=registry)
        self.windows = Histogram(
            "picofleet_inference_windows", "Windows per run", ["deployment"], buckets=_WINDOWS, registry=registry
        )
        self.inside = Gauge(
            "picofleet_inference_requests_inside", "Requests at work or waiting", ["deployment"], registry=registry
        )
        self.generation = Gauge(
            "picofleet_inference_generation", "Generation of a deployment that is served", ["deployment"], registry=registry
        )
        self.area = Histogram(
            "picofleet_inference_mask_area", "Mask cells / window cells", version, buckets=_SHARES, registry=registry
        )
        self.confidence = Histogram(
            "picofleet_inference_confidence", "IoU to expect", version, buckets=_SHARES, registry=registry
        )
        self.empty = Counter("picofleet_inference_empty_masks", "Prompts where nothing was found", version, registry=registry)
        self.drift = Gauge(
            "picofleet_inference_drift",
            "Distance (total variation, 0..1) of the last masks' spread from that of validation",
            [*version, "figure"],
            registry=registry,
        )
        self.shadow_iou = Histogram(
            "picofleet_inference_shadow_iou", "IoU of the shadow's masks", version, buckets=_SHARES, registry=registry
        )
        self.shadow = Counter(
            "picofleet_inference_shadow", "Requests for the shadow by outcome", [*version, "outcome"], registry=registry
        )

    @contextmanager
    def counted(self, deployment: str, model: str) -> Iterator[None]:
        """Count the request that the block answers, by what comes of it."""
        outcome = "failed"
        try:
            yield
            outcome = "answered"
        except Problem as problem:
            outcome = _outcome_of(problem)
            raise
        except asyncio.CancelledError:
            outcome = "left"
            raise
        finally:
            self.requests.labels(deployment, model, outcome).inc()

    def ran(self, deployment: str, windows: int, stages: Mapping[str, float]) -> None:
        """A request was answered: its windows, and the seconds of its stages."""
        self.windows.labels(deployment).observe(windows)
        for stage, seconds in stages.items():
            self.stage.labels(deployment, stage).observe(seconds)


def _outcome_of(problem: Problem) -> str:
    if isinstance(problem, Overloaded):
        return "overloaded"
    return "late" if isinstance(problem, DeadlineExceeded) else "invalid"
