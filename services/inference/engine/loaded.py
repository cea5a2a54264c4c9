"""A version of a model, loaded, checked and warm: what requests are answered with."""

import base64
import io
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ValidationError

from services.inference.engine.errors import Damaged, WrongDigest, WrongNetwork
from services.inference.engine.masks import ious
from services.inference.engine.runners import Inputs, Logits, Opened, Runner, open_runner
from shared.contracts.base import digest_of_file
from shared.contracts.deployments import Engine
from shared.contracts.serving import CONFIG_FILE, NETWORK_FILE, SERVING_FILE, Golden, ServedConfig, ServingCard
from shared.picosam.errors import BadWeights
from shared.picosam.prompt import to_input

LEAST_GOLDEN_IOU: Final = 0.9
"""Of a golden mask: other processors round otherwise, other networks or inputs give far less."""

_STEPS: Final = (1, 4, 8)
"""Windows per run that are tried when a version warms up."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class LoadedVersion:
    """One version on one engine. Requests hold it while they run: it goes with the last of them."""

    model: str
    """name/version."""
    engine: Engine
    config: ServedConfig
    card: ServingCard | None
    """None of versions made before there were such cards."""
    runner: Runner
    step: int
    """Windows per run that took least time each."""
    golden_iou: float | None
    """Of the golden masks, on this engine and machine; None without golden windows."""

    def logits(self, windows: NDArray[np.uint8], *, alone: bool = False) -> Logits:
        """uint8 [N, S, S, 3] RGB to float32 [N, S, S]."""
        return self.run(to_input(windows), alone=alone)

    def run(self, inputs: Inputs, *, alone: bool = False) -> Logits:
        """float32 [N, 3, S, S] to float32 [N, S, S], in runs of the fastest size."""
        if len(inputs) <= self.step:
            return self.runner.run(inputs, alone=alone)
        parts = [inputs[start : start + self.step] for start in range(0, len(inputs), self.step)]
        return np.concatenate([self.runner.run(part, alone=alone) for part in parts])


def load(folder: Path, model: str, engine: Engine, *, digest: str | None, threads: int, processors: int) -> LoadedVersion:
    """Open, check and warm up the version in ``folder``. Unusable says why it cannot be served.

    ``digest``: of model.onnx as the registry has it; None for versions registered without one.
    """
    config = _read(folder / CONFIG_FILE, ServedConfig)
    card = _read(folder / SERVING_FILE, ServingCard) if (folder / SERVING_FILE).exists() else None
    network = folder / NETWORK_FILE
    _check_digest(network, digest, card.network_digest if card else None)
    try:
        runner = open_runner(engine, network, config, threads=threads, processors=processors)
        step = _warm_up(runner, config.input_size)
    except BadWeights as exc:
        raise WrongNetwork(str(exc), hint=exc.hint) from exc
    iou = _check_golden(runner, card.golden, config.input_size) if card and card.golden else None
    return LoadedVersion(model=model, engine=engine, config=config, card=card, runner=runner, step=step, golden_iou=iou)


def _read(path: Path, contract: type[M]) -> M:
    try:
        return contract.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        raise Damaged(f"{path.name} of this version cannot be read: {exc}"[:500], hint="Register the model again.") from exc


def _check_digest(network: Path, *registered: str | None) -> None:
    found = digest_of_file(network)
    wanted = next((each for each in registered if each not in (None, found)), None)
    if wanted is not None:
        raise WrongDigest(
            f"{network.name} has the digest {found}, registered was {wanted}.",
            hint="The file was damaged or replaced since it was registered; register the model again.",
        )


def _warm_up(runner: Opened, size: int) -> int:
    """Run both sessions at each number of windows; the number that took least time per window.

    WrongNetwork if the answers are not of the windows' shape, or not numbers.
    """
    quickest = _seconds_per_window(runner, size)
    # Fewer windows at once unless more are clearly better: a run that is short lets others in between, and each window
    # costs twenty megabytes.
    chosen = min(step for step in _STEPS if quickest[step] <= 1.1 * min(quickest.values()))
    for alone in (True, False):
        _tried(runner, _grey(chosen, size), alone=alone)
    return chosen


def _seconds_per_window(runner: Opened, size: int) -> dict[int, float]:
    """The best of a few runs by their number of windows; what memory the runs took is given back."""
    taken: dict[int, list[float]] = {step: [] for step in _STEPS}
    for step, keep in itertools.product(_STEPS, (True, True, False)):
        begun = time.perf_counter()
        _tried(runner, _grey(step, size), alone=False, keep=keep)
        taken[step].append((time.perf_counter() - begun) / step)
    return {step: min(times) for step, times in taken.items()}


def _grey(step: int, size: int) -> Inputs:
    return np.full((step, 3, size, size), 0.5, np.float32)


def _tried(runner: Opened, inputs: Inputs, *, alone: bool, keep: bool = True) -> None:
    try:
        logits = runner.run(inputs, alone=alone, keep=keep)
    except Exception as exc:  # engines raise what they like
        raise WrongNetwork(f"The network fails on a grey window: {exc}"[:500], hint="Choose another version.") from exc
    if logits.shape != (len(inputs), *inputs.shape[2:]) or not np.isfinite(logits).all():
        raise WrongNetwork(
            f"The network answers {logits.shape} to {inputs.shape}, or what is no number; expected is a logit per cell.",
            hint="Choose another version.",
        )


def _check_golden(runner: Runner, golden: list[Golden], size: int) -> float:
    """Mean IoU with the golden masks; WrongNetwork if it is too low."""
    windows, masks = (np.stack(parts) for parts in zip(*(_decoded(each, size) for each in golden), strict=True))
    found = np.concatenate([runner.run(to_input(window[None]), alone=False) for window in windows]) > 0
    iou = float(ious(found, masks).mean())
    if iou < LEAST_GOLDEN_IOU:
        raise WrongNetwork(
            f"The network's masks of the golden windows have an IoU of {iou:.3f} with those it had when it was made "
            f"(expected {LEAST_GOLDEN_IOU} or more).",
            hint="Choose another engine or version.",
        )
    return iou


def _decoded(golden: Golden, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    try:
        window = _picture(golden.window, "RGB", size)
        return window, _picture(golden.mask, "1", size).astype(bool)
    except (ValueError, OSError) as exc:
        raise Damaged(f"{SERVING_FILE} of this version is damaged: {exc}"[:500], hint="Register the model again.") from exc


def _picture(content: str, mode: str, size: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(content, validate=True)), formats=("PNG",)) as image:
        if image.size != (size, size):
            raise ValueError(f"a golden picture has {image.size} pixels")
        return np.asarray(image.convert(mode), np.uint8)
