"""Whole imports: digests, splits, leaks, stopping, and the real images where they are."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.contracts.datasets import FolderSource, SplitRule, SplitSource
from shared.picosam.data import findings as findings_module
from shared.picosam.data.errors import ImportRefused, Stopped
from shared.picosam.data.importer import import_dataset
from shared.picosam.data.manifest import manifest_digest, read_header, read_rows

real = pytest.mark.skipif(
    "PICOFLEET_DATA" not in os.environ, reason="PICOFLEET_DATA names no folder of real images; the other tests make their own"
)


def test_the_digest_is_that_of_the_manifest_and_knows_every_byte(coco, a_row):
    folder = coco(a_row(1), a_row(2, image=2))
    imported = folder.load()
    assert imported.digest == manifest_digest(imported.manifest_path)
    assert folder.load().digest == imported.digest
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder.root / "images/1.png")
    assert folder.load().digest != imported.digest
    folder.annotations[0]["segmentation"] = [[10, 10, 31, 10, 30, 30, 10, 30]]
    assert folder.load().digest != imported.digest


def test_a_rule_makes_splits_and_no_image_is_in_two(coco, a_row):
    folder = coco(*[a_row(number, image=number) for number in range(1, 41)], images=40)
    imported = folder.load(SplitRule(from_split="all", fractions={"train": 0.5, "val": 0.5}))
    placed = {row.image_id: row.split for row in read_rows(imported.manifest_path)}
    assert len(placed) == 40
    assert set(placed.values()) == {"train", "val"}
    assert read_header(imported.manifest_path).splits == ("train", "val")
    assert sum(counts.images for counts in imported.report.splits.values()) == 40


def test_a_picture_that_is_also_in_another_split_is_left_out_of_the_later_one(coco, a_row, tmp_path):
    folder = coco(*[a_row(number, image=number) for number in range(1, 21)], images=20)
    for number in range(2, 21):
        (folder.root / f"images/{number}.png").write_bytes((folder.root / "images/1.png").read_bytes())
    report = folder.load(SplitRule(fractions={"train": 0.5, "val": 0.5})).report
    assert 0 < report.problems["image_in_two_splits"] < 20
    assert {counts.images == 0 for counts in report.splits.values()} == {True, False}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (SplitRule(from_split="other", fractions={"train": 1.0}), "'other'"),
        (SplitRule(from_split="all", fractions={"train": 1.0}), None),
    ],
)
def test_a_rule_has_to_fit_the_source(coco, a_row, rule, said):
    folder = coco(a_row(1))
    if said is None:
        assert folder.load(rule).report.splits["train"].images == 2
    else:
        with pytest.raises(ImportRefused, match=said):
            folder.load(rule)


def test_a_dataset_without_a_usable_image_is_refused_with_the_first_problem(coco, a_row, tmp_path):
    folder = coco(a_row(1))
    for path in (folder.root / "images").iterdir():
        path.unlink()
    with pytest.raises(ImportRefused, match=r"2 bad rows; the first problem: 'images/1\.png': no such file"):
        folder.load()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("annotations", ["nowhere.json", "../secret.json", "images", "/etc/hostname"])
def test_annotations_that_are_not_there_are_refused(coco, annotations):
    folder = coco()
    source = FolderSource(root="/x", splits=[SplitSource(split="a", images="images", annotations=annotations)])
    with pytest.raises(ImportRefused, match="split 'a'"):
        import_dataset(folder.root, source, None, "test", folder.root)


def test_a_root_that_is_gone_and_a_split_named_twice_are_refused(coco):
    folder = coco()
    split = folder.source().splits[0]
    with pytest.raises(ImportRefused, match="is not a folder"):
        import_dataset(folder.root / "gone", folder.source(), None, "test", folder.root)
    with pytest.raises(ImportRefused, match="more than once"):
        import_dataset(folder.root, FolderSource(root="/x", splits=[split, split]), None, "test", folder.root)


def test_stopping_leaves_no_manifest_behind(coco, a_row, tmp_path):
    folder = coco(a_row(1), images=30)
    folder.write()
    (tmp_path / "out").mkdir()
    seen: list[int] = []
    with pytest.raises(Stopped):
        import_dataset(
            folder.root,
            folder.source(),
            None,
            "test",
            tmp_path / "out",
            progress=lambda done, _total: seen.append(done),
            stop=lambda: len(seen) >= 5,
        )
    assert len(seen) == 5
    assert list((tmp_path / "out").iterdir()) == []


def test_the_list_of_bad_rows_ends_and_the_counts_go_on(coco, a_row, monkeypatch):
    monkeypatch.setattr(findings_module, "MAX_LISTED", 3)
    report = coco(a_row(1), *[a_row(number, category_id=9) for number in range(2, 12)]).report()
    assert (len(report.bad_rows), report.bad_rows_truncated, report.problems) == (3, True, {"unknown_category": 10})


def splits_of(root: Path) -> FolderSource:
    names = ("train", "val")
    splits = [
        SplitSource(split=name, images=f"{name}2017", annotations=f"annotations/instances_{name}2017.json") for name in names
    ]
    return FolderSource(root=str(root), splits=splits)


@real
def test_the_real_subset_gives_every_prompt_and_is_imported_in_seconds(tmp_path):
    root = Path(os.environ["PICOFLEET_DATA"]) / "coco2017"
    began = time.monotonic()
    report = import_dataset(root, splits_of(root), None, "coco", tmp_path).report
    assert {name: (c.images, c.instances, c.crowd) for name, c in report.splits.items()} == {
        "train": (343, 2945, 29),
        "val": (117, 1062, 13),
    }
    assert report.problems == {}
    assert report.warnings == {"polygon_touches_itself": 19}
    assert time.monotonic() - began < 30


@real
def test_the_real_person_windows_are_kept_with_boxes_cut_at_the_border(tmp_path):
    root = Path(os.environ["PICOFLEET_DATA"]) / "coco2017_person_windows"
    source = FolderSource(root=str(root), splits=[SplitSource(split="train", images="images", annotations="instances.json")])
    report = import_dataset(root, source, None, "person", tmp_path).report
    assert (report.splits["train"].instances, report.problems, report.warnings) == (1000, {}, {"box_cut": 570})
