"""Which module does which kind of job. Named by text: the harness imports none of them."""

import importlib
from collections.abc import Callable
from typing import Any, Final

from shared.contracts.jobs import JobKind
from workers.harness.context import Finished, JobContext

Run = Callable[[JobContext, Any], Finished]

MODULES: Final = {
    JobKind.TRAINING: "workers.training.run",
    JobKind.DATASET_IMPORT: "workers.datasets.run",
    JobKind.MODEL_IMPORT: "workers.models.run",
}


def load(kind: JobKind) -> Run:
    """The ``run(ctx, spec)`` of that kind."""
    run: Run = importlib.import_module(MODULES[kind]).run
    return run


def preload(kinds: list[JobKind]) -> None:
    """Import ahead what jobs of these kinds will need: seconds that a job then does not wait for."""
    for kind in kinds:
        load(kind)
