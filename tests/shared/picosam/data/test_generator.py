import hashlib

import numpy as np
import pytest

from shared.contracts.datasets import GeneratorSource, SplitRule
from shared.picosam.data.errors import Stopped
from shared.picosam.data.generator import MIN_VISIBLE, draw, generate
from shared.picosam.data.importer import import_dataset
from shared.picosam.data.manifest import read_rows


def a_source(**overrides):
    return GeneratorSource(**({"images": 12, "width": 128, "height": 96, "max_objects": 6} | overrides))


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_same_values_give_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        generate(a_source(), tmp_path / name)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    generate(a_source(seed=1), tmp_path / "third")
    assert digests(tmp_path / "third")["000001.jpg"] != digests(tmp_path / "first")["000001.jpg"]


def test_a_longer_dataset_begins_with_the_shorter_one(tmp_path):
    generate(a_source(images=3), tmp_path / "short")
    generate(a_source(images=5), tmp_path / "long")
    short, long = digests(tmp_path / "short"), digests(tmp_path / "long")
    assert all(long[name] == digest for name, digest in short.items() if name.endswith(".jpg"))


def test_visible_masks_never_overlap_and_some_objects_are_partly_hidden():
    touching = 0
    for number in range(1, 30):
        drawing = draw(a_source(), number)
        masks = np.array([mask for _, mask in drawing.objects]).reshape(-1, 96, 128)
        assert (masks.sum(axis=0) <= 1).all()
        assert (masks.sum(axis=(1, 2)) >= MIN_VISIBLE).all()
        touching += sum((np.roll(mask, 1, axis=1) & other).any() for mask in masks for other in masks if other is not mask)
    assert touching > 30


def test_the_pixels_of_an_object_look_unlike_what_is_round_it():
    """Else there would be nothing to learn: over many objects inside and outside differ in colour."""
    distances = []
    for number in range(1, 30):
        drawing = draw(a_source(), number)
        for _, mask in drawing.objects:
            distances.append(np.abs(drawing.image[mask].mean(axis=0) - drawing.image[~mask].mean(axis=0)).max())
    assert np.median(distances) > 25


def test_what_is_generated_imports_without_a_bad_row_and_is_split_four_to_one(tmp_path):
    source = a_source(images=100, max_objects=3)
    generate(source, tmp_path / "data")
    (tmp_path / "out").mkdir()
    imported = import_dataset(tmp_path / "data", source, None, "generated", tmp_path / "out")
    assert (imported.report.problems, imported.report.warnings) == ({}, {})
    assert 70 <= imported.report.splits["train"].images <= 90
    assert imported.report.splits["val"].images == 100 - imported.report.splits["train"].images


def test_a_rule_of_ones_own_splits_generated_pictures(tmp_path):
    generate(a_source(), tmp_path / "data")
    (tmp_path / "out").mkdir()
    rule = SplitRule(fractions={"everything": 1.0})
    imported = import_dataset(tmp_path / "data", a_source(), rule, "generated", tmp_path / "out")
    assert {row.split for row in read_rows(imported.manifest_path)} == {"everything"}


def test_progress_and_stop(tmp_path):
    seen: list[tuple[int, int]] = []
    generate(a_source(images=4), tmp_path / "data", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(Stopped):
        generate(a_source(), tmp_path / "stopped", stop=lambda: True)
