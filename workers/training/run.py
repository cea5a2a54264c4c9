"""The training job: the network learns from the masks alone."""

from shared.contracts.training import TrainingSpec
from shared.picosam.objectives import FromMasks
from workers.harness.context import Finished, JobContext
from workers.harness.fitting.job import Course, run_fitting


def run(ctx: JobContext, spec: TrainingSpec) -> Finished:
    """Train, on all ranks; rank 0 also scores, draws and publishes."""
    return run_fitting(ctx, spec, lambda _windows, _stack: Course(objective=FromMasks(spec.recipe)))
