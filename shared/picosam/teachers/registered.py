"""A registered PicoSAM as teacher.

A PicoSAM knows its object by the window's middle, so it is asked with windows of its own kind, cut from the view round the
prompt: its own window and a larger one, which covers the student's margin too, each also in the mirror.
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

from shared.contracts.training import Border, Compute, WindowPolicy
from shared.picosam.data.shards import resampled
from shared.picosam.placement import Placement, place
from shared.picosam.prompt import WIDTH_SHARE, Window
from shared.picosam.teachers.base import OUTSIDE_LOGIT, Answer, TeacherFailed, View, digest_of
from shared.picosam.weights import load_weights

FACTORS: Final = (1.0, 1.75)
"""Sides of the windows that are asked about, times the model's own, ascending: of what a window saw, the smaller ones' word holds.

Measured on COCO val windows with a PicoSAM2 of 1500 steps (mIoU of the middle window; of the whole canvas of 168): its own window
0.437; with its mirror image 0.441; 0.364. Averaged with windows of 1.75: 0.439; 0.371. With 4/3 and 1.75: 0.439; 0.373, for half
as much work again. So own and mirrored window decide the middle, and one large window says what lies round it.
"""

_CODE_VERSION: Final = 1
_WINDOWS_AT_ONCE: Final = 48


@dataclass(frozen=True, slots=True)
class _Asked:
    """One window of one prompt."""

    view: int
    prompt: int
    place: Window


class RegisteredTeacher:
    """A network that takes square windows of ``size`` cells, cut as ``policy`` says. ``digest`` names weights and settings."""

    def __init__(
        self,
        network: nn.Module,
        policy: WindowPolicy,
        *,
        digest: str,
        size: int = 96,
        factors: Sequence[float] = FACTORS,
        mirrored: bool = True,
        placement: Placement | None = None,
    ) -> None:
        """mirrored: each window is also asked about in the mirror."""
        self.digest = digest
        self._placement = placement or place(Compute())
        self._network = self._placement.put(network).eval()
        self._policy, self._size, self._factors, self._mirrored = policy, size, tuple(sorted(factors)), mirrored

    @property
    def views_at_once(self) -> int:
        """As many as fill a batch of windows."""
        return max(1, _WINDOWS_AT_ONCE // len(self._factors))

    @torch.inference_mode()
    def answer(self, views: Sequence[View]) -> list[Answer]:
        """One answer per view: logits [P, H, W] in the view's own pixels, ``OUTSIDE_LOGIT`` where no window reached."""
        asked = [window for number, view in enumerate(views) for window in self._windows(number, view)]
        answers = [np.full((len(view), *view.image.shape[:2]), np.nan, dtype=np.float32) for view in views]
        pictures = [Image.fromarray(view.image) for view in views]
        for start in range(0, len(asked), _WINDOWS_AT_ONCE):
            some = asked[start : start + _WINDOWS_AT_ONCE]
            logits = self._logits(np.stack([resampled(pictures[one.view], one.place, self._size) for one in some]))
            for one, found in zip(some, logits, strict=True):
                _put(found, one.place, answers[one.view][one.prompt])
        return [Answer(np.nan_to_num(answer, nan=OUTSIDE_LOGIT), None) for answer in answers]

    def _windows(self, number: int, view: View) -> Iterator[_Asked]:
        for prompt in range(len(view)):
            for factor in self._factors:
                yield _Asked(number, prompt, self._window(view, prompt, factor))

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
        logits = self._run(images)
        if self._mirrored:
            logits = (logits + self._run(images.flip(3)).flip(2)) / 2
        if not torch.isfinite(logits).all():
            raise TeacherFailed("the teacher's answer is not finite")
        return logits.numpy()

    def _run(self, images: Tensor) -> Tensor:
        with self._placement.autocast():
            logits: Tensor = self._network(self._placement.inputs(images))
        return logits[:, 0].float().cpu()


def registered_digest(weights: str) -> str:
    """Names a registered teacher. ``weights``: digest of its safetensors file, which holds its configuration too."""
    return digest_of({"kind": "model", "code": _CODE_VERSION, "weights": weights, "factors": FACTORS, "mirrored": True})


def load_registered(path: Path, *, weights: str, placement: Placement | None = None) -> RegisteredTeacher:
    """A teacher from a registered version's safetensors file, whose digest is ``weights``. BadWeights if it cannot be read."""
    network, config = load_weights(path)
    digest = registered_digest(weights)
    return RegisteredTeacher(network, config.window, digest=digest, size=config.input_size, placement=placement)


def _put(logits: NDArray[np.float32], place: Window, answer: NDArray[np.float32]) -> None:
    """Write a window's logits [S, S] to the view pixels it covers and that no smaller window has reached."""
    height, width = answer.shape
    x0, x1, y0, y1 = max(0, place.x0), min(width, place.x1), max(0, place.y0), min(height, place.y1)
    if x0 >= x1 or y0 >= y1:
        return
    resized = Image.fromarray(logits).resize((place.width, place.height), Image.Resampling.BILINEAR)
    part = np.asarray(resized.crop((x0 - place.x0, y0 - place.y0, x1 - place.x0, y1 - place.y0)))
    seen = answer[y0:y1, x0:x1]
    np.copyto(seen, part, where=np.isnan(seen))
