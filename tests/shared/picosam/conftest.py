"""Small windows with something to learn in them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import shared.picosam.torchvision_ops  # noqa: F401  # before torchmetrics, which imports torchvision
from shared.contracts.training import Augmentation, Compute, Precision, Recipe
from shared.picosam.model import PicoSAM2, build_model


@dataclass
class DrawnWindows:
    """Bright ellipses on dark noise: the answer is in the picture, so a network can learn it in a few steps."""

    count: int
    canvas: int

    def __len__(self) -> int:
        return self.count

    def windows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        drawn = [self._draw(int(index)) for index in indices]
        return np.stack([image for image, _ in drawn]), np.stack([mask for _, mask in drawn])

    def _draw(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        random = np.random.default_rng(index)
        y, x = np.mgrid[: self.canvas, : self.canvas] - self.canvas / 2
        mask = (x / random.uniform(12, 36)) ** 2 + (y / random.uniform(12, 36)) ** 2 < 1
        image = random.integers(0, 80, (self.canvas, self.canvas, 3), dtype=np.uint8)
        image[mask] += np.uint8(120)
        return image, mask


@pytest.fixture
def drawn_windows() -> Callable[..., DrawnWindows]:
    def make(count: int = 12, canvas: int = 168) -> DrawnWindows:
        return DrawnWindows(count=count, canvas=canvas)

    return make


@dataclass
class DrawnAnswers:
    """A teacher that knows the truth, with logits of 4 and -4, and trusts itself more or less."""

    of: DrawnWindows

    def __len__(self) -> int:
        return len(self.of)

    def answers(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        masks = self.of.windows(indices)[1]
        quality = np.array([np.random.default_rng(int(index)).uniform(0.2, 1) for index in indices], np.float32)
        return np.where(masks, 4, -4).astype(np.float16), quality


@pytest.fixture
def drawn_answers() -> Callable[[DrawnWindows], DrawnAnswers]:
    return DrawnAnswers


@pytest.fixture
def a_recipe() -> Callable[..., Recipe]:
    """A run of six steps of four windows."""

    def make(**overrides: object) -> Recipe:
        return Recipe.model_validate({"samples": 24, "batch_size": 4, "warmup": 0.2, "evaluate_every": 1000} | overrides)

    return make


@pytest.fixture
def plain() -> Augmentation:
    """No augmentation at all."""
    return Augmentation(flip=0, scale_jitter=1, shift=0, brightness=0, contrast=0, saturation=0)


@pytest.fixture
def one_thread() -> Compute:
    """Float32 on one thread: the arithmetic that stored values were made with."""
    return Compute(device="cpu", precision=Precision.FP32, threads=1)


def lived_in(model: nn.Module, seed: int = 0) -> nn.Module:
    """Gives every BatchNorm statistics and factors of its own, as training does: fresh ones hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            with torch.no_grad():
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.2, 1.5, generator=generator)
                module.weight.normal_(1.2, 0.2, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def trained_model() -> PicoSAM2:
    """Deterministic, in evaluation mode; one per test module, so leave it as you found it."""
    model = lived_in(build_model(seed=7))
    assert isinstance(model, PicoSAM2)
    return model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two spinning threads on a busy machine of two cores made these tests ten times slower than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
