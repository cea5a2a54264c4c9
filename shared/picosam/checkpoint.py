"""Checkpoints: a folder that is either whole or not there. Nothing in it is ever unpickled."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.contracts.training import Recipe
from shared.picosam.state import Best, TrainState

FORMAT: Final = 1

MODEL, EMA, OPTIMIZER, BEST, STATE = (
    "model.safetensors",
    "ema.safetensors",
    "optimizer.safetensors",
    "best.safetensors",
    "state.json",
)


class CheckpointError(Exception):
    """A checkpoint that cannot be taken up: damaged, of another format, or of another recipe."""


def folder_name(step: int) -> str:
    """The name of the checkpoint after ``step`` optimiser steps; names sort by step."""
    return f"step-{step:09d}"


def save(state: TrainState, recipe: Recipe, folder: Path) -> Path:
    """Write ``state`` to ``folder/step-...`` and return that path.

    Written under a temporary name, flushed to disk, renamed: a kill at any moment leaves the old checkpoints and perhaps
    a ``.partial`` folder that the next save removes. OSError (ENOSPC) if the disk is full, with nothing left behind.
    """
    target = folder / folder_name(state.step)
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write(state, recipe, partial)
        shutil.rmtree(target, ignore_errors=True)  # the same step again, after a resume
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _flush(folder)
    return target


def newest(folder: Path) -> Path | None:
    """The checkpoint with the most steps below ``folder``, None if there is none."""
    return max(folder.glob("step-*"), default=None)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints."""
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def restore(state: TrainState, recipe: Recipe, path: Path) -> None:
    """Put the checkpoint at ``path`` into a state made by ``new_state`` for the same recipe; training then goes on bit for bit.

    CheckpointError if it is damaged, or was written under another recipe. ``state`` is then unusable.
    """
    try:
        header = json.loads((path / STATE).read_text())
        _check(header, recipe)
        state.model.load_state_dict(load_file(path / MODEL))
        state.ema.model.load_state_dict(load_file(path / EMA))
        _restore_optimizer(state.optimizer, load_file(path / OPTIMIZER))
        state.best = _restore_best(header["best"], path)
    except (OSError, SafetensorError, ValidationError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path.name} cannot be read: {error}") from error
    state.evaluations_without_better = header["evaluations_without_better"]
    state.step = header["step"]


def _check(header: dict[str, Any], recipe: Recipe) -> None:
    if header["format"] != FORMAT:
        raise CheckpointError(f"the checkpoint has format {header['format']}, this version reads {FORMAT}")
    theirs, ours = Recipe.model_validate(header["recipe"]).model_dump(), recipe.model_dump()
    other = sorted(name for name in ours if ours[name] != theirs[name])
    if other:
        raise CheckpointError(f"the checkpoint belongs to another recipe; these differ: {', '.join(other)}")


def _write(state: TrainState, recipe: Recipe, folder: Path) -> None:
    save_file(_plain(state.model.state_dict()), folder / MODEL)
    save_file(_plain(state.ema.model.state_dict()), folder / EMA)
    save_file(_plain(_optimizer_tensors(state.optimizer)), folder / OPTIMIZER)
    if state.best is not None and state.best.weights is not None:
        save_file(_plain(state.best.weights), folder / BEST)
    (folder / STATE).write_text(json.dumps(_header(state, recipe), indent=2, sort_keys=True) + "\n")
    for file in folder.iterdir():
        _flush(file)


def _header(state: TrainState, recipe: Recipe) -> dict[str, Any]:
    best = None if state.best is None else {"score": state.best.score, "step": state.best.step}
    return {
        "format": FORMAT,
        "step": state.step,
        "recipe": recipe.model_dump(mode="json"),
        "best": best,
        "evaluations_without_better": state.evaluations_without_better,
        "torch": torch.__version__,
    }


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors refuses channels-last strides."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's moments and step counts by parameter number, as ``12.exp_avg``. Rates are a function of the step."""
    rows = optimizer.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, row in rows.items() for name, tensor in row.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    rows: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        rows.setdefault(int(number), {})[name] = tensor
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if rows and set(rows) != set(range(len(parameters))):
        raise ValueError(f"the optimiser's state covers {len(rows)} of {len(parameters)} parameters")
    optimizer.load_state_dict(optimizer.state_dict() | {"state": rows})
    # The fused kernel walks weight and moments in memory order: the moments must be laid out as the weight is, and
    # load_state_dict leaves them contiguous.
    for parameter, row in zip(parameters, (optimizer.state[parameter] for parameter in parameters), strict=True):
        row.update({name: torch.empty_like(parameter).copy_(row[name]) for name in ("exp_avg", "exp_avg_sq") if name in row})


def _restore_best(header: dict[str, Any] | None, path: Path) -> Best | None:
    if header is None:
        return None
    weights = load_file(path / BEST) if (path / BEST).exists() else None
    return Best(score=header["score"], step=header["step"], weights=weights)


def _flush(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
