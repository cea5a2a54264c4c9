from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.contracts.datasets import DatasetFormat, FolderSource, SplitSource
from shared.picosam.data import rle
from shared.picosam.data.errors import ImportRefused
from shared.picosam.data.importer import import_dataset
from shared.picosam.data.manifest import read_rows
from shared.picosam.data.mask_folder import id_of

SHAPE = (48, 64)


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks", "out"):
        (tmp_path / name).mkdir()
    return tmp_path


def add(folder: Path, name: str, mask: np.ndarray | None, *, image: bool = True) -> None:
    (folder / "images" / name).parent.mkdir(exist_ok=True)
    (folder / "masks" / name).parent.mkdir(exist_ok=True)
    if image:
        pixels = np.random.default_rng(len(name)).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.jpg")
    if mask is not None:
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


def load(folder: Path):
    split = SplitSource(split="all", images="images", annotations="masks")
    source = FolderSource(root=str(folder), format=DatasetFormat.MASKS, splits=[split])
    imported = import_dataset(folder, source, None, "test", folder / "out")
    return imported.report, list(read_rows(imported.manifest_path))


def labels(**values):
    mask = np.zeros(SHAPE, np.uint16)
    for number, (_, value) in enumerate(values.items()):
        mask[5 + 10 * number : 12 + 10 * number, 8:30] = value
    return mask


def test_a_black_and_white_mask_is_one_object(folder):
    add(folder, "a", (labels(one=255)).astype(np.uint8))
    report, (row,) = load(folder)
    (instance,) = row.instances
    assert np.array_equal(rle.to_mask(instance.rle), labels(one=255) > 0)
    assert (instance.bbox, instance.area) == ((8, 5, 22, 7), 154)
    assert report.problems == {}


def test_every_label_is_an_object_of_its_own(folder):
    add(folder, "a", labels(one=3, two=7, three=60_000))
    _, (row,) = load(folder)
    assert [instance.id & 0xFFFF for instance in row.instances] == [3, 7, 60_000]


def test_files_are_paired_by_name_in_subfolders_too(folder):
    add(folder, "b", labels(one=1))
    add(folder, "sub/a", labels(one=1))
    _, rows = load(folder)
    assert [row.file for row in rows] == ["images/b.jpg", "images/sub/a.jpg"]
    assert [row.image_id for row in rows] == [id_of("b"), id_of("sub/a")]


def test_what_has_no_partner_or_does_not_fit_is_listed(folder):
    add(folder, "good", labels(one=1))
    add(folder, "no_mask", None)
    add(folder, "no_image", labels(one=1), image=False)
    add(folder, "blank", labels())
    add(folder, "small", labels(one=1)[:20])
    add(folder, "colour", np.zeros((*SHAPE, 3), np.uint8))
    add(folder, "photo", np.arange(48 * 64, dtype=np.uint16).reshape(SHAPE))
    (folder / "images/broken.jpg").write_bytes(b"no image")
    (folder / "masks/broken.png").write_bytes(b"no image")
    report, rows = load(folder)
    assert [row.file for row in rows] == ["images/good.jpg"]
    named = {"missing_mask": 1, "missing_image": 1, "empty_mask": 1, "mask_size_differs": 1, "unreadable_image": 1}
    assert report.problems == named | {"unreadable_mask": 2}


@pytest.mark.parametrize("masks", ["nowhere", "../outside", "images/a.jpg"])
def test_a_folder_that_is_none_is_refused(folder, masks):
    add(folder, "a", labels(one=1))
    source = FolderSource(
        root=str(folder),
        format=DatasetFormat.MASKS,
        splits=[SplitSource(split="all", images="images", annotations=masks)],
    )
    with pytest.raises(ImportRefused, match="is not a folder below"):
        import_dataset(folder, source, None, "test", folder / "out")


def test_two_files_of_one_name_are_refused(folder):
    add(folder, "a", labels(one=1))
    (folder / "images/a.png").write_bytes(b"")
    with pytest.raises(ImportRefused, match="two files named 'a'"):
        load(folder)
