"""The trainings of `bench_gain`, each in a folder of its own: done once, taken up again where they were cut off."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.contracts.distillation import Distillation
from shared.contracts.training import Compute, Recipe
from shared.contracts.windows import Border
from shared.picosam import checkpoint
from shared.picosam.evaluate import evaluate
from shared.picosam.fit import StepReport, fit
from shared.picosam.loader import AnswerPool, Pool, Windows
from shared.picosam.metrics import predicted_masks
from shared.picosam.objectives import FromMasks, FromTeacher
from shared.picosam.placement import place
from shared.picosam.state import TrainState, new_state
from shared.picosam.weights import ModelConfig, save_weights
from tests.bench.gain_data import GainData

WEIGHTS, FIGURES, IOUS = "model.safetensors", "figures.json", "ious.npz"
_EVERY_S = 60.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a student learns from: masks alone where there are no answers."""

    distillation: Distillation | None = None
    answers: AnswerPool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished training: IoU of each validation prompt under each border rule, and its seconds of training steps."""

    ious: dict[Border, NDArray[np.float64]]
    seconds: float


def train(folder: Path, data: GainData, recipe: Recipe, compute: Compute, lesson: Lesson, *, label: str) -> Run:
    """Trains and scores, unless ``folder`` holds the result; ``label`` begins the lines that tell how far it is."""
    if (folder / FIGURES).is_file():
        return _finished(folder, recipe)
    state = new_state(recipe, compute)
    if (newest := checkpoint.newest(folder)) is not None:
        checkpoint.restore(state, recipe, newest)
    objective = FromMasks(recipe) if lesson.distillation is None else FromTeacher(recipe, lesson.distillation)
    folder.mkdir(parents=True, exist_ok=True)
    hooks = _Hooks(folder, recipe, label)
    fit(state, recipe, compute, Pool(data.train), hooks, objective=objective, answers=lesson.answers)
    ious = score(state.ema.model, data, compute)
    save_weights(state.ema.model, folder / WEIGHTS, ModelConfig(architecture=recipe.architecture, recipe=recipe))
    np.savez(folder / IOUS, **{border.value: values for border, values in ious.items()})  # type: ignore[arg-type]  # arrays
    figures = {"recipe": recipe.model_dump(mode="json"), "seconds": hooks.seconds}
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n")  # last: it says that all is there
    checkpoint.prune(folder, keep=1)
    return Run(ious=ious, seconds=hooks.seconds)


def score(model: nn.Module, data: GainData, compute: Compute) -> dict[Border, NDArray[np.float64]]:
    """IoU of each validation prompt under each border rule, [N]."""
    placement = place(compute)
    model = placement.put(model)
    return {border: evaluate(model, windows, placement).iou for border, windows in data.validation.items()}


def masks_of(network: nn.Module, windows: Windows, compute: Compute) -> Tensor:
    """A network's masks over the windows, bool [N, 1, 96, 96]."""
    placement = place(compute)
    found: list[Tensor] = []
    evaluate(
        placement.put(network), windows, placement, sink=lambda _rows, logits, _truth: found.append(predicted_masks(logits))
    )
    return torch.cat(found)


def _finished(folder: Path, recipe: Recipe) -> Run:
    figures = json.loads((folder / FIGURES).read_text())
    if Recipe.model_validate(figures["recipe"]) != recipe:
        raise SystemExit(f"{folder} holds a run of another recipe; delete it or choose another --work")
    with np.load(folder / IOUS) as stored:
        return Run(ious={Border(name): stored[name] for name in stored.files}, seconds=figures["seconds"])


class _Hooks:
    """Checkpoints, and a line now and then. Seconds survive an interruption beside the checkpoints."""

    def __init__(self, folder: Path, recipe: Recipe, label: str) -> None:
        self._folder, self._recipe, self._label = folder, recipe, label
        self._clock = folder / "seconds.json"
        self.seconds: float = json.loads(self._clock.read_text()) if self._clock.is_file() else 0.0
        self._told = 0.0

    def stop_requested(self) -> bool:
        return False

    def on_step(self, report: StepReport) -> None:
        self.seconds += report.seconds
        if time.monotonic() - self._told > _EVERY_S:
            rate = report.images / report.seconds
            step = f"step {report.step} of {self._recipe.steps}"
            print(f"{self._label}: {step}, loss {report.loss:.3f}, {rate:.0f} images/s", flush=True)
            self._told = time.monotonic()

    def on_eval(self, state: TrainState) -> None:
        """None: nothing is chosen by interim scores here."""

    def on_checkpoint(self, state: TrainState) -> None:
        checkpoint.save(state, self._recipe, self._folder)
        checkpoint.prune(self._folder, keep=1)
        self._clock.write_text(json.dumps(self.seconds))
