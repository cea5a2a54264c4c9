"""What the user sees while the quantizers work, and how they are stopped."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from shared.contracts.jobs import Progress
from shared.picosam.fit import StepReport
from shared.picosam.state import TrainState
from workers.harness.context import JobContext
from workers.harness.progress import Meter

_PHASES: Final = {
    "Statistics Collection": "calibrate",
    "Calculating quantization parameters": "thresholds",
    "Running GPTQ optimization": "gptq",
    "": "search",
}
"""The toolkit's names of its phases, and ours. The search for bit widths has none of its own."""

_UNITS: Final = {"calibrate": "batch", "thresholds": "layer", "gptq": "epoch", "search": "layer"}


def reporter(ctx: JobContext, batches: int) -> Callable[[str, int, int], None]:
    """Takes phase, done, total (0: unknown) from a quantizer; ``batches`` of calibration windows. Raises Stopped."""
    meters: dict[str, Meter] = {}

    def report(phase: str, done: int, total: int) -> None:
        ctx.raise_if_stopped()
        ours = _PHASES.get(phase, phase)
        meter = meters.setdefault(ours, Meter(ctx, ours, _UNITS.get(ours, "step")))
        known = total or (batches if ours == "calibrate" else 0)
        if known:
            meter(done, known)
        else:
            ctx.report(Progress(phase=ours, done=done, unit=meter.unit))

    return report


@dataclass(slots=True)
class Training:
    """QAT's hooks: no scores in between and no checkpoints; it takes minutes."""

    ctx: JobContext
    steps: int
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.ctx, "train", "step")

    def stop_requested(self) -> bool:
        """As the harness says."""
        return self.ctx.stop_requested()

    def on_step(self, report: StepReport) -> None:
        """Shows how far it is."""
        self.meter(report.step, self.steps)

    def on_eval(self, state: TrainState) -> None:
        """Nothing is scored before the end."""

    def on_checkpoint(self, state: TrainState) -> None:
        """A killed job begins anew."""
