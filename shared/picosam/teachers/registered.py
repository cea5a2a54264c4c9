"""A registered PicoSAM as teacher.

A PicoSAM knows its object by the window's middle, so it is asked with windows of its own kind, cut from the view round the
prompt: somewhat smaller and larger than its own, each also in the mirror, and averaged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from shared.contracts.training import Compute
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.data.shards import resampled
from shared.picosam.placement import Placement, place
from shared.picosam.prompt import WIDTH_SHARE, Window
from shared.picosam.teachers.base import OUTSIDE_LOGIT, Answer, TeacherFailed, View, digest_of
from shared.picosam.weights import load_weights

AVERAGED: Final = (0.8, 1.25)
"""Sides of the windows whose answers are averaged, times the model's own."""

WIDE: Final = 1.75
"""The side of the window that is believed where those do not reach: it covers the margin for augmentation.

Chosen on COCO val windows with a PicoSAM2 of 1500 steps; mIoU of the middle window, and of the whole canvas of 168 cells:
the own window alone 0.441, 0.357; with its mirror image 0.443, 0.360; with the wide one round it 0.443, 0.380; these three
0.453, 0.390; with 0.67, 0.8, 1, 1.25 and 1.5 averaged, twice the work, 0.455, 0.393; all but the wide one 0.447, 0.386 if it is
averaged with the others.
"""

_CODE_VERSION: Final = 1
_WINDOWS_AT_ONCE: Final = 48


@dataclass(frozen=True, slots=True)
class _Asked:
    """One window of one prompt."""

    view: int
    prompt: int
    place: Window
    wide: bool


class RegisteredTeacher:
    """A network that takes square windows of ``size`` cells, cut as ``policy`` says. ``digest`` names weights and settings."""

    def __init__(
        self,
        network: nn.Module,
        policy: WindowPolicy,
        *,
        digest: str,
        size: int = 96,
        placement: Placement | None = None,
    ) -> None:
        self.digest = digest
        self._placement = placement or place(Compute())
        self._network = self._placement.put(network).eval()
        self._policy, self._size = policy, size

    @property
    def views_at_once(self) -> int:
        """As many as fill a batch of windows."""
        return max(1, _WINDOWS_AT_ONCE // (len(AVERAGED) + 1))

    @torch.inference_mode()
    def answer(self, views: Sequence[View]) -> list[Answer]:
        """One answer per view: logits [P, H, W] in the view's own pixels, ``OUTSIDE_LOGIT`` where no window reached."""
        asked = [window for number, view in enumerate(views) for window in self._windows(number, view)]
        gathered = [[_Gathered(view.image.shape[:2]) for _ in range(len(view))] for view in views]
        pictures = [Image.fromarray(view.image) for view in views]
        for start in range(0, len(asked), _WINDOWS_AT_ONCE):
            some = asked[start : start + _WINDOWS_AT_ONCE]
            logits = self._logits(np.stack([resampled(pictures[one.view], one.place, self._size) for one in some]))
            for one, found in zip(some, logits, strict=True):
                gathered[one.view][one.prompt].add(found, one)
        return [_answer(view, found) for view, found in zip(views, gathered, strict=True)]

    def _windows(self, number: int, view: View) -> Iterator[_Asked]:
        for prompt in range(len(view)):
            for factor in (*AVERAGED, WIDE):
                yield _Asked(number, prompt, self._window(view, prompt, factor), factor == WIDE)

    def _window(self, view: View, prompt: int, factor: float) -> Window:
        """The model's window times ``factor``, in view pixels, its prompt in the middle as under the rule ``pad``."""
        x, y, width, height = self._own(view, prompt)
        width, height = max(1, round(width * factor)), max(1, round(height * factor))
        x0, y0 = int(np.floor(x)) - width // 2, int(np.floor(y)) - height // 2
        return Window(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height, border=Border.PAD, clipped=False)

    def _own(self, view: View, prompt: int) -> tuple[float, float, float, float]:
        """Middle, width and height of the model's own window, in view pixels."""
        across, down = view.scale
        if self._policy.prompt == "point":
            x, y = view.points[prompt]
            side = self._policy.side or max(1, round(WIDTH_SHARE * view.image_width))
        else:
            x0, y0, x1, y1 = view.boxes[prompt]
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            side = max((x1 - x0) / across, (y1 - y0) / down) * (1 + 2 * self._policy.box_margin)
        return float(x), float(y), float(side * across), float(side * down)

    def _logits(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[B, size, size], mean of the window and its mirror image."""
        images = torch.from_numpy(windows).permute(0, 3, 1, 2)
        logits = (self._run(images) + self._run(images.flip(3)).flip(2)) / 2
        if not torch.isfinite(logits).all():
            raise TeacherFailed("the teacher's answer is not finite")
        return logits.numpy()

    def _run(self, images: Tensor) -> Tensor:
        with self._placement.autocast():
            logits: Tensor = self._network(self._placement.inputs(images))
        return logits[:, 0].float().cpu()


def registered_digest(weights: str) -> str:
    """Names a registered teacher. ``weights``: digest of its safetensors file, which holds its configuration too."""
    return digest_of({"kind": "model", "code": _CODE_VERSION, "weights": weights, "windows": [*AVERAGED, WIDE]})


def load_registered(path: Path, *, weights: str, placement: Placement | None = None) -> RegisteredTeacher:
    """A teacher from a registered version's safetensors file, whose digest is ``weights``. BadWeights if it cannot be read."""
    network, config = load_weights(path)
    digest = registered_digest(weights)
    return RegisteredTeacher(network, config.window, digest=digest, size=config.input_size, placement=placement)


class _Gathered:
    """What the windows round one prompt said about the pixels of a view [H, W]."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum, self._count = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        self._wide = np.full(shape, OUTSIDE_LOGIT, dtype=np.float32)

    def add(self, logits: NDArray[np.float32], asked: _Asked) -> None:
        """logits: of the window, [S, S]."""
        place, (height, width) = asked.place, self._sum.shape
        x0, x1, y0, y1 = max(0, place.x0), min(width, place.x1), max(0, place.y0), min(height, place.y1)
        if x0 >= x1 or y0 >= y1:
            return
        resized = Image.fromarray(logits).resize((place.width, place.height), Image.Resampling.BILINEAR)
        seen = np.asarray(resized.crop((x0 - place.x0, y0 - place.y0, x1 - place.x0, y1 - place.y0)))
        if asked.wide:
            self._wide[y0:y1, x0:x1] = seen
        else:
            self._sum[y0:y1, x0:x1] += seen
            self._count[y0:y1, x0:x1] += 1

    def mean(self) -> NDArray[np.float32]:
        """Logits [H, W]; ``OUTSIDE_LOGIT`` where nothing was asked."""
        return np.where(self._count > 0, self._sum / np.maximum(self._count, 1), self._wide)


def _answer(view: View, gathered: Sequence[_Gathered]) -> Answer:
    empty = np.empty((0, *view.image.shape[:2]), dtype=np.float32)
    return Answer(np.stack([each.mean() for each in gathered]) if gathered else empty, None)
