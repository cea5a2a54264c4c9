"""Prepared windows of two small images, and SAM 2.1 with random weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.contracts.datasets import GeneratorSource
from shared.contracts.distillation import SamSize
from shared.contracts.windows import WindowPolicy
from shared.picosam.data.generator import generate
from shared.picosam.data.importer import import_dataset
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy, prepare
from shared.picosam.teachers.answers import Asked
from shared.picosam.teachers.base import View
from shared.picosam.teachers.sam import SamTeacher, random_sam
from shared.picosam.teachers.views import DatasetImages


@dataclass(frozen=True)
class Prepared:
    """A split's windows and images."""

    windows: ShardReader
    policy: ShardPolicy
    images: DatasetImages


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Manifest and root of six generated images."""
    folder = tmp_path_factory.mktemp("generated")
    source = GeneratorSource(images=6, width=200, height=150, max_objects=4, seed=3)
    generate(source, folder / "images")
    return import_dataset(folder / "images", source, None, "test", folder).manifest_path, folder / "images"


@pytest.fixture
def prepared(generated: tuple[Path, Path], tmp_path: Path) -> Callable[..., Prepared]:
    def make(canvas: int = 168, **window: object) -> Prepared:
        manifest, root = generated
        policy = ShardPolicy(window=WindowPolicy.model_validate(window), canvas=canvas)
        name = f"{canvas}-{'-'.join(map(str, window.values()))}"
        windows = prepare(manifest, root, "train", policy, tmp_path / name, digest="sha256:" + "0" * 64)
        return Prepared(windows, policy, DatasetImages(manifest, root, "train"))

    return make


@pytest.fixture
def asked() -> Callable[..., Asked]:
    def make(**overrides: object) -> Asked:
        known = {"teacher": "sha256:1", "dataset": "sha256:2", "split": "train", "shards": "3", "view": "window"}
        return Asked(**(known | {"context_side": None} | overrides))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def sam() -> SamTeacher:
    """In float32 on the CPU."""
    return random_sam(SamSize.TINY, seed=5, device=torch.device("cpu"), bf16=False)


@pytest.fixture
def a_view() -> Callable[..., View]:
    """A noisy picture of a bright square, with prompts."""

    def make(prompts: int = 3, height: int = 90, width: int = 120, **overrides: object) -> View:
        random = np.random.default_rng(prompts)
        image = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
        image[20:60, 30:80] += np.uint8(120)
        points = (random.random((prompts, 2)) * [width, height]).astype(np.float32)
        boxes = np.concatenate([points * 0.5, points * 0.5 + 30], axis=1).astype(np.float32)
        known = {"image": image, "points": points, "boxes": boxes, "prompt": "point", "scale": (1.0, 1.0), "image_width": width}
        return View(**(known | overrides))  # type: ignore[arg-type]

    return make
