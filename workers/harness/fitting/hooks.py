"""What happens round the fitting loop: progress, curves, interim evaluations, checkpoints."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Final

from shared.contracts.jobs import Progress
from shared.contracts.training import FittingSpec
from shared.contracts.windows import Border
from shared.kit.tracking import RunSink
from shared.picosam import checkpoint, metrics, pictures
from shared.picosam.fit import StepReport
from shared.picosam.state import TrainState
from workers.harness.checkpoints import Checkpoints
from workers.harness.context import JobContext
from workers.harness.fitting.scoring import Scorer, draw_samples

_POINTS: Final = 2000
"""Points per curve at most: MLflow's charts thin out further, its database would not."""

_SMOOTHING: Final = 0.9


@dataclass(slots=True)
class History:
    """Curves of this run, for the picture at its end. Kept beside the checkpoints, so that a resumed run draws them whole."""

    path: Path
    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def add(self, step: int, figures: dict[str, float]) -> None:
        """One point on each named curve."""
        for name, value in figures.items():
            self.points.setdefault(name, []).append((step, value))

    def save(self) -> None:
        """Write it down; a kill leaves the old file or the new one."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.points))
        partial.replace(self.path)

    def load(self, until_step: int) -> None:
        """Take up what an earlier attempt left, up to the step that training goes on from."""
        if self.path.exists():
            kept = json.loads(self.path.read_text()).items()
            self.points = {name: [(step, value) for step, value in points if step <= until_step] for name, points in kept}

    def draw(self, folder: Path) -> Path:
        """Losses and IoU by step as a PNG."""
        path = folder / "curves.png"
        losses = {name: points for name, points in self.points.items() if name.startswith("loss")}
        ious = {name: points for name, points in self.points.items() if name.startswith(("miou", "hit_rate"))}
        pictures.curves(losses, ious, path)
        return path


@dataclass(slots=True)
class FittingHooks:
    """The loop's hooks on process 0; implements ``shared.picosam.fit.Hooks``."""

    ctx: JobContext
    spec: FittingSpec
    sink: RunSink
    scorer: Scorer
    checkpoints: Checkpoints
    history: History
    figures: dict[str, float] = field(default_factory=dict)
    """Newest value of each metric."""
    _seconds: float = 0.0
    _since: list[dict[str, float]] = field(default_factory=list)
    """Losses of the steps since the last point on the curves."""

    @property
    def losses(self) -> dict[str, float]:
        """The newest loss and its parts; empty if this attempt has taken no step."""
        return {name: value for name, value in self.figures.items() if name.startswith("loss")}

    def stop_requested(self) -> bool:
        """Asked before every step."""
        return self.ctx.stop_requested()

    def on_step(self, report: StepReport) -> None:
        """Progress at each step, a point on the curves every few."""
        self._seconds = report.seconds if not self._seconds else _smoothed(self._seconds, report.seconds)
        rate, steps = report.images / self._seconds, self.spec.recipe.steps
        losses = {"loss": report.loss, **report.parts}
        self.figures |= losses
        eta_s = (steps - report.step) * self._seconds
        newest = dict(self.figures)
        self.ctx.report(
            Progress(phase="train", done=report.step, total=steps, unit="step", rate=rate, eta_s=eta_s, metrics=newest)
        )
        self._since.append(losses)
        if report.step % max(1, steps // _POINTS) == 0:
            self._log_step(report, rate)

    def on_eval(self, state: TrainState) -> float | None:
        """Score the averaged weights on the first prompts and draw the fixed samples."""
        settings = self.spec.evaluation
        scores = self.scorer.score(state.ema.model, limit=settings.interim_prompts, mask_ap=False)
        self._note(state.step, scores.figures)
        if settings.pictures:
            among = settings.interim_prompts or len(self.scorer.windows)
            samples = self.scorer.samples(state.ema.model, among=among, count=settings.pictures)
            self.sink.artifact(draw_samples(samples, self.ctx.folder), f"evaluations/step_{state.step:06d}/samples.png")
        names = [metrics.miou_name(border, self.scorer.label) for border in (Border.AUTHORS, Border.PAD)]
        shown = ", ".join(f"{name} {scores.figures[name]:.4f}" for name in names if name in scores.figures)
        self.ctx.log(f"step {state.step}: loss {self.figures['loss']:.4f}, {shown}")
        return scores.figures.get(names[-1])

    def on_checkpoint(self, state: TrainState) -> None:
        """Write the state down and let it be uploaded."""
        path = checkpoint.save(state, self.spec.recipe, self.checkpoints.folder)
        self.history.save()
        self.checkpoints.saved(path, state.step)

    def _log_step(self, report: StepReport, rate: float) -> None:
        losses = {name: fmean(step[name] for step in self._since) for name in self._since[-1]}
        self._since.clear()
        self.history.add(report.step, losses)
        figures = {"gradient_norm": report.gradient_norm, "learning_rate": report.learning_rate}
        speed = {"images_per_second": rate, "waited_s": report.waited_s}
        self.sink.metrics({**losses, **figures, **speed}, step=report.step)

    def _note(self, step: int, figures: dict[str, float]) -> None:
        self.figures |= figures
        self.history.add(step, figures)
        self.sink.metrics(figures, step=step)


def _smoothed(old: float, new: float) -> float:
    return _SMOOTHING * old + (1 - _SMOOTHING) * new


class NoHooks:
    """For the ranks beside rank 0, whose hooks the loop never calls."""

    def stop_requested(self) -> bool:
        """Decided by rank 0."""
        return False

    def on_step(self, report: object) -> None:
        """Rank 0 reports."""

    def on_eval(self, state: object) -> None:
        """Rank 0 scores."""

    def on_checkpoint(self, state: object) -> None:
        """Rank 0 writes."""
