"""Run by test_parallel.py, alone or under torchrun: six steps, then what each process saw, as JSON into a folder."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.contracts.distillation import Distillation
from shared.contracts.training import Compute, Precision, Recipe
from shared.picosam import checkpoint, fit, parallel
from shared.picosam.objectives import FromTeacher
from shared.picosam.state import TrainState, new_state

RECIPE = Recipe(samples=24, batch_size=4, checkpoint_every=3, evaluate_every=2, early_stop_patience=100)
COMPUTE = Compute(device="cpu", processes=2, precision=Precision.FP32, threads=1)


class Noise:
    """Windows of noise; the brighter half is object."""

    canvas = 168

    def __len__(self) -> int:
        return 10

    def windows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        images = [np.random.default_rng(int(index)).integers(0, 256, (168, 168, 3), dtype=np.uint8) for index in indices]
        return np.stack(images), np.stack([image.mean(axis=-1) > 127 for image in images])


class Opinions:
    """Answers of noise, of very different quality."""

    def __len__(self) -> int:
        return len(Noise())

    def answers(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        logits = [np.random.default_rng(100 + int(index)).normal(0, 4, (168, 168)) for index in indices]
        return np.stack(logits).astype(np.float16), (indices / len(self)).astype(np.float32)


class Hooks:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses: list[float] = []
        self.calls: list[str] = []

    def stop_requested(self) -> bool:
        return False

    def on_step(self, report: fit.StepReport) -> None:
        self.losses.append(report.loss)

    def on_eval(self, state: TrainState) -> float:
        self.calls.append(f"evaluate {state.step}")
        return state.step / 10

    def on_checkpoint(self, state: TrainState) -> None:
        self.calls.append(f"save {state.step}")
        checkpoint.save(state, RECIPE, self.folder / "checkpoints")


def a_network(kind: str) -> nn.Module | None:
    """None for the real one; the others have no BatchNorm, so that splitting a batch changes nothing."""
    torch.manual_seed(0)
    return None if kind == "picosam2" else nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))


def main(kind: str, folder: Path) -> None:
    with parallel.process_group():
        state, hooks = new_state(RECIPE, COMPUTE, a_network(kind)), Hooks(folder)
        objective, answers = (FromTeacher(RECIPE, Distillation()), Opinions()) if kind == "taught" else (None, None)
        ending = fit.fit(state, RECIPE, COMPUTE, Noise(), hooks, objective=objective, answers=answers)
        seen = {
            "ending": ending,
            "losses": hooks.losses,
            "calls": hooks.calls,
            "best": state.best.score if state.best else None,
            "weights": [parameter.double().sum().item() for parameter in state.model.parameters()],
        }
        (folder / f"rank-{parallel.rank()}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
