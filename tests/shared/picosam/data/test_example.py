import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.contracts.datasets import ArchiveSource, FolderSource, GeneratorSource, SplitSource
from shared.picosam.data import rle
from shared.picosam.data.errors import DatasetChanged
from shared.picosam.data.example import NoExample, find_example
from shared.picosam.data.generator import draw, generate
from shared.picosam.data.importer import import_dataset

SOURCE = GeneratorSource(images=20, seed=3)
SPLIT = SplitSource(split="all", images="images", annotations="instances.json")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Of generated images, which lie below ``tmp_path / "made"``."""
    generate(SOURCE, tmp_path / "made")
    (tmp_path / "work").mkdir()
    return import_dataset(tmp_path / "made", SOURCE, None, "shapes", tmp_path / "work").manifest_path


def test_a_generated_image_is_the_very_file_that_was_imported(manifest: Path, tmp_path: Path) -> None:
    found = find_example(manifest, "val", SOURCE)
    assert found.content == (tmp_path / "made" / found.name).read_bytes()
    assert 1 <= len(found.instances) <= 3


def test_an_image_in_a_folder_is_read_from_there(manifest: Path, tmp_path: Path) -> None:
    source = FolderSource(root=str(tmp_path / "made"), splits=[SPLIT])
    assert find_example(manifest, "val", source) == find_example(manifest, "val", SOURCE)


def test_the_points_lie_on_objects_of_a_size_that_the_network_can_see(manifest: Path) -> None:
    found = find_example(manifest, "val", SOURCE)
    for (x, y), instance in zip(found.points(), found.instances, strict=True):
        assert rle.to_mask(instance.rle)[y, x]
        assert 24 <= max(instance.bbox[2:]) <= 96


def test_agreement_is_measured_with_the_annotation(manifest: Path) -> None:
    found = find_example(manifest, "val", SOURCE)
    true = rle.to_mask(found.instances[0].rle)
    assert found.iou(0, Image.fromarray(true)) == 1
    assert found.iou(0, np.zeros_like(true)) == 0
    assert found.iou(0, np.ones_like(true)) == pytest.approx(true.mean())


def test_the_content_is_a_picture_of_the_generator(manifest: Path) -> None:
    found = find_example(manifest, "val", SOURCE)
    with Image.open(io.BytesIO(found.content)) as image:
        difference = np.asarray(image).astype(int) - draw(SOURCE, int(Path(found.name).stem)).image
    assert np.abs(difference).mean() < 8


def test_a_file_that_was_changed_is_no_example(manifest: Path, tmp_path: Path) -> None:
    source = FolderSource(root=str(tmp_path / "made"), splits=[SPLIT])
    changed = tmp_path / "made" / find_example(manifest, "val", source).name
    changed.write_bytes(changed.read_bytes() + b" ")
    with pytest.raises(DatasetChanged, match="no longer the file"):
        find_example(manifest, "val", source)


def test_a_split_without_images_has_no_example(manifest: Path) -> None:
    with pytest.raises(NoExample, match="nowhere"):
        find_example(manifest, "nowhere", SOURCE)


def test_an_archive_stays_with_the_platform(manifest: Path) -> None:
    with pytest.raises(NoExample, match="archive"):
        find_example(manifest, "val", ArchiveSource(blob="sha256:" + "0" * 64, splits=[SPLIT]))
