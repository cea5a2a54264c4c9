"""Which module does which kind of job. Named by text: the supervisor imports none of them."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.contracts.jobs import JobKind
from workers.harness.context import Finished, JobContext

Run = Callable[[JobContext, Any], Finished]
Modules = Mapping[JobKind, str]

MODULES: Final[Modules] = {
    JobKind.TRAINING: "workers.training.run",
    JobKind.DISTILLATION: "workers.distillation.run",
    JobKind.EVALUATION: "workers.evaluation.run",
    JobKind.QUANTIZATION: "workers.quantization.run",
    JobKind.PACKAGING: "workers.packaging.run",
    JobKind.DATASET_IMPORT: "workers.datasets.run",
    JobKind.MODEL_IMPORT: "workers.models.run",
}


def to_arguments(modules: Modules) -> list[str]:
    """As a child's command line carries them: training=workers.training.run ..."""
    return [f"{kind.value}={module}" for kind, module in modules.items()]


def load(arguments: list[str]) -> dict[JobKind, Run]:
    """Import the modules of a command line; the ``run(ctx, spec)`` of each kind."""
    pairs = (argument.split("=", 1) for argument in arguments)
    return {JobKind(kind): importlib.import_module(module).run for kind, module in pairs}
