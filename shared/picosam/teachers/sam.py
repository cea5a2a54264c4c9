"""SAM 2.1 as a teacher, through the sam2 package.

The package's predictor takes one image and one prompt at a time. Here a view is embedded once for all its prompts, prompts of
one or of several views go through the decoder together, and of the masks only the one that counts leaves the device. The
answers are those of ``SAM2ImagePredictor.predict``, which a test holds against them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import shared.picosam.torchvision_ops  # noqa: F401  # before sam2, parts of which import torchvision
from shared.contracts.distillation import SamSize
from shared.picosam.model import IMAGENET_MEAN, IMAGENET_STD
from shared.picosam.placement import has_fast_bf16
from shared.picosam.teachers.base import Answer, TeacherFailed, View, digest_of
from shared.picosam.teachers.sam_weights import fill, read_checkpoint

SIDE: Final = 1024
"""Every view is resized to a square of this side, as SAM was trained; its masks have a quarter of it."""

_CONFIGS: Final = {SamSize.TINY: "t", SamSize.SMALL: "s", SamSize.BASE_PLUS: "b+", SamSize.LARGE: "l"}
_LABELS: Final = {"point": (1,), "box": (2, 3)}  # the prompt encoder's: inside the object; the two corners
_CPU_PROMPTS, _CUDA_PROMPTS = 8, 64  # of one pass of the decoder, which takes about 35 MB per prompt
_CODE_VERSION: Final = 1

Masks = Literal["best", "weighted"]


@dataclass(frozen=True, slots=True)
class _Embedded:
    """What the image encoder made of B views: [B, 256, 64, 64], and finer levels [B, 32, 256, 256], [B, 64, 128, 128]."""

    coarse: Tensor
    fine: tuple[Tensor, Tensor]

    def of(self, views: Tensor) -> "_Embedded":
        """A copy per prompt: ``views`` int64 [P]."""
        if self.coarse.shape[0] == 1:  # no copies of the only one
            count = views.numel()
            fine = tuple(level.expand(count, -1, -1, -1) for level in self.fine)
            return _Embedded(self.coarse.expand(count, -1, -1, -1), (fine[0], fine[1]))
        return _Embedded(self.coarse[views], (self.fine[0][views], self.fine[1][views]))


class SamTeacher:
    """SAM 2.1 with weights, on a device. ``digest`` names weights and settings."""

    def __init__(
        self,
        network: nn.Module,
        *,
        digest: str,
        masks: Masks = "best",
        device: torch.device | None = None,
        bf16: bool | None = None,
    ) -> None:
        """bf16: arithmetic of the encoder and decoder; None: where the device computes it in hardware."""
        self.digest = digest
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network: Any = network.to(self._device).eval().requires_grad_(False)
        self._masks = masks
        self._bf16 = has_fast_bf16(self._device) if bf16 is None else bf16

    @property
    def views_at_once(self) -> int:
        """On a CPU one view keeps all cores busy, and more take memory alone."""
        return 8 if self._device.type == "cuda" else 1

    @torch.inference_mode()
    def answer(self, views: Sequence[View]) -> list[Answer]:
        """One answer per view: logits [P, 256, 256] over the view, with SAM's own guess of their IoU."""
        answers = []
        for start in range(0, len(views), self.views_at_once):
            answers += self._answer(views[start : start + self.views_at_once])
        return answers

    def _answer(self, views: Sequence[View]) -> list[Answer]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            embedded = self._embed(views)
            chosen = [self._decode(embedded, *prompts) for prompts in self._prompts(views)]
        logits, quality = (torch.cat(parts).cpu().numpy() for parts in zip(*chosen, strict=True))
        if not (np.isfinite(logits).all() and np.isfinite(quality).all()):
            raise TeacherFailed("SAM's answer is not finite")
        ends = np.cumsum([len(view) for view in views])[:-1]
        return [Answer(*pair) for pair in zip(np.split(logits, ends), np.split(quality, ends), strict=True)]

    def _embed(self, views: Sequence[View]) -> _Embedded:
        pictures = torch.cat([self._picture(view.image) for view in views])
        found = self._network.forward_image(pictures)
        _, levels, _, sizes = self._network._prepare_backbone_features(found)
        levels[-1] = levels[-1] + self._network.no_mem_embed  # as for the first frame of a video, which has no memory yet
        fine0, fine1, coarse = (
            level.permute(1, 2, 0).unflatten(2, tuple(size)) for level, size in zip(levels, sizes, strict=True)
        )
        return _Embedded(coarse, (fine0, fine1))

    def _picture(self, image: NDArray[np.uint8]) -> Tensor:
        """As the predictor prepares it: float [1, 3, 1024, 1024], resized with a wider filter where pixels are dropped."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1)[None].float() / 255
        square = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values, device=self._device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return (square - mean) / std

    def _prompts(self, views: Sequence[View]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches of (view number [P], positions [P, 1 or 2, 2] in SAM's square, labels [P, 1 or 2]), in order."""
        at_once = _CUDA_PROMPTS if self._device.type == "cuda" else _CPU_PROMPTS
        for kind, numbered in groupby(enumerate(views), lambda pair: pair[1].prompt):
            alike = list(numbered)
            owner = np.concatenate([np.full(len(view), number) for number, view in alike])
            positions = np.concatenate([_positions(view) for _, view in alike])
            for start in range(0, len(owner), at_once):
                part = slice(start, start + at_once)
                labels = torch.tensor([_LABELS[kind]], dtype=torch.int32, device=self._device).expand(len(owner[part]), -1)
                yield self._here(owner[part]), self._here(positions[part]), labels

    def _here(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _decode(self, embedded: _Embedded, views: Tensor, positions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """float32: logits [P, 256, 256], quality [P] in 0..1."""
        network = self._network
        sparse, dense = network.sam_prompt_encoder(points=(positions, labels), boxes=None, masks=None)
        of_prompts = embedded.of(views)
        masks, quality, _, _ = network.sam_mask_decoder(
            image_embeddings=of_prompts.coarse,
            image_pe=network.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=False,
            high_res_features=list(of_prompts.fine),
        )
        return choose(masks.float(), quality.float().clamp(0, 1), self._masks)


def _positions(view: View) -> NDArray[np.float32]:
    """Points [P, 1, 2] or corners [P, 2, 2], in SAM's square."""
    height, width = view.image.shape[:2]
    given = view.points[:, None] if view.prompt == "point" else view.boxes.reshape(-1, 2, 2)
    return (given / np.array([width, height], dtype=np.float32) * SIDE).astype(np.float32)


def choose(masks: Tensor, quality: Tensor, how: Masks) -> tuple[Tensor, Tensor]:
    """Of three masks the best by predicted IoU, or all weighted by it.

    masks: logits [P, 3, h, w]; quality: [P, 3] in 0..1. Returns [P, h, w] and [P].
    """
    if how == "best":
        best = quality.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        return masks[rows, best], quality[rows, best]
    weight = quality.clamp(min=1e-6)
    weight = weight / weight.sum(dim=1, keepdim=True)
    return (masks * weight[:, :, None, None]).sum(dim=1), (quality * weight).sum(dim=1)


def sam_digest(size: SamSize, checkpoint: str, masks: Masks) -> str:
    """Names a SAM teacher before it is built. ``checkpoint``: digest of its file, or ``random:SEED``."""
    return digest_of({"kind": "sam2", "code": _CODE_VERSION, "size": size.value, "weights": checkpoint, "masks": masks})


def load_sam(
    path: Path,
    size: SamSize,
    *,
    digest: str,
    masks: Masks = "best",
    device: torch.device | None = None,
    bf16: bool | None = None,
) -> SamTeacher:
    """A teacher with the weights of a checkpoint as Meta publishes it.

    BadWeights if the file is not of ``digest``, holds anything but tensors, or is of another size or version of SAM.
    """
    state = read_checkpoint(path, digest)
    network = build_sam(size)
    fill(network, state, size)
    return SamTeacher(network, digest=sam_digest(size, digest, masks), masks=masks, device=device, bf16=bf16)


def random_sam(
    size: SamSize, *, seed: int = 0, masks: Masks = "best", device: torch.device | None = None, bf16: bool | None = None
) -> SamTeacher:
    """A teacher that knows nothing, the same for the same seed: for tests of the machinery."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_sam(size)
    return SamTeacher(network, digest=sam_digest(size, f"random:{seed}", masks), masks=masks, device=device, bf16=bf16)


def build_sam(size: SamSize) -> nn.Module:
    """SAM 2.1 of that size on the CPU, with random weights, in evaluation mode."""
    from sam2.build_sam import build_sam2  # reads its configurations on import, 0.5 s

    network: nn.Module = build_sam2(f"configs/sam2.1/sam2.1_hiera_{_CONFIGS[size]}.yaml", None, device="cpu")
    return network
