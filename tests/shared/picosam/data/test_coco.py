"""Each kind of bad row is named, left out and counted, and ends nothing."""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from shared.contracts.datasets import DatasetFormat
from shared.picosam.data import coco as module
from shared.picosam.data import rle
from shared.picosam.data.errors import ImportRefused
from shared.picosam.data.manifest import read_header
from tests.shared.picosam.data.conftest import CocoFolder, annotation, image_row, noise

BOW_TIE = [[10, 10, 30, 30, 30, 10, 10, 30]]
SPECK = [[10.1, 10.1, 10.2, 10.1, 10.2, 10.2]]


def uncompressed(height=48, width=64, **overrides):
    mask = np.zeros((height, width), np.uint8)
    mask[5:20, 7:30] = 1
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0, append=0)), prepend=0)
    counts = [int(run) for run in runs]
    return {"size": [height, width], "counts": [*counts, height * width - sum(counts)]} | overrides


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"segmentation": []}, "empty_polygon"),
        ({"segmentation": [[]]}, "empty_polygon"),
        ({"segmentation": [[1, 1, 5, 5]]}, "empty_polygon"),
        ({"segmentation": [[1, 1, 5, 5, 5, 5, 1, 1]]}, "empty_polygon"),
        ({"segmentation": [[1, 1, 5, 5, 9]]}, "malformed_polygon"),
        ({"segmentation": SPECK, "bbox": [10, 10, 0, 0]}, "empty_mask"),
        ({"segmentation": BOW_TIE}, "self_crossing_polygon"),
        ({"segmentation": [[1, 1, 1e9, 1, 5, 1e9]]}, "polygon_outside"),
        ({"segmentation": uncompressed(size=[64, 48])}, "rle_size_differs"),
        ({"segmentation": uncompressed(counts=[1, 2, 3])}, "rle_size_differs"),
        ({"segmentation": uncompressed(counts=[-5, 48 * 64 + 5])}, "rle_malformed"),
        ({"segmentation": uncompressed(counts=[2**62, 2**62, 2**62])}, "rle_malformed"),
        ({"segmentation": uncompressed(counts="not a code \x7f")}, "rle_malformed"),
        ({"segmentation": uncompressed(counts="ooooooooooo0")}, "rle_malformed"),
        ({"segmentation": uncompressed(counts=[])}, "rle_size_differs"),
        ({"segmentation": uncompressed(counts=[48 * 64])}, "empty_mask"),
        ({"segmentation": uncompressed(counts=[1.5, 2])}, "malformed_row"),
        ({"segmentation": "text"}, "malformed_row"),
        ({"segmentation": None}, "malformed_row"),
        ({"segmentation": [["a", "b"]]}, "malformed_row"),
        ({"bbox": [64.5, 0, 10, 10]}, "box_outside"),
        ({"bbox": [-30, -30, 10, 10]}, "box_outside"),
        ({"bbox": [1, 2, 3]}, "malformed_box"),
        ({"bbox": [1, 1, -5, 5]}, "malformed_box"),
        ({"category_id": 77}, "unknown_category"),
        ({"category_id": "1"}, "malformed_row"),
        ({"image_id": 99}, "unknown_image"),
        ({"image_id": None}, "malformed_row"),
        ({"id": "seven"}, "malformed_row"),
        ({"id": 2**70}, "malformed_row"),
        ({"area": float("nan")}, None),
        ({"bbox": [float("nan"), 1, 2, 3]}, "malformed_row"),
        ({"segmentation": [[float("inf"), 1, 5, 5, 9, 9]]}, "malformed_row"),
    ],
)
def test_a_bad_annotation_is_listed_and_left_out_and_the_rest_is_kept(coco, a_row, overrides, problem):
    report = coco(a_row(1) | overrides, a_row(2, image=2)).report()
    assert report.problems == ({problem: 1} if problem else {})
    assert [row.problem for row in report.bad_rows] == ([problem] if problem else [])
    assert report.splits["all"].instances == (1 if problem else 2)
    assert report.splits["all"].images == 2


def test_duplicate_ids_keep_the_first(coco, a_row, an_image):
    folder = coco(a_row(1), a_row(1, image=2))
    folder.images.append(an_image(2))
    report = folder.report()
    assert report.problems == {"duplicate_id": 2}
    assert report.splits["all"].instances == 1


@pytest.mark.parametrize("row", [5, None, [], "text", {"file_name": "1.png"}, {"id": True}])
def test_an_image_row_of_a_wrong_type_is_listed(coco, a_row, row):
    folder = coco(a_row(1))
    folder.images.append(row)
    assert folder.report().problems == {"malformed_row": 1}


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"file_name": "3.png"}, "missing_image"),
        ({"file_name": "../instances.json"}, "unsafe_path"),
        ({"file_name": "/etc/hostname"}, "unsafe_path"),
        ({"file_name": "a\0b.png"}, "missing_image"),
        ({"file_name": "x" * 5000}, "missing_image"),
        ({"file_name": None}, "malformed_row"),
        ({"file_name": ["1.png"]}, "malformed_row"),
        ({"width": 63}, "image_size_differs"),
        ({"width": 48, "height": 64}, "image_size_differs"),
        ({"file_name": "."}, "missing_image"),
    ],
)
def test_a_bad_image_takes_its_annotations_with_it(coco, a_row, an_image, overrides, problem):
    folder = coco(a_row(1), a_row(2, image=2))
    folder.images[1] = an_image(2, **overrides)
    report = folder.report()
    assert report.problems == {problem: 1}
    assert (report.splits["all"].images, report.splits["all"].instances) == (1, 1)
    assert report.bad_rows[0].image_id == "2"


def test_links_that_lead_out_of_the_root_and_pipes_are_refused(coco, a_row, an_image, tmp_path):
    folder = coco(a_row(1))
    (tmp_path / "outside.png").write_bytes((folder.root / "images/1.png").read_bytes())
    (folder.root / "images/link.png").symlink_to(tmp_path / "outside.png")
    (folder.root / "images/loop.png").symlink_to("loop.png")
    os.mkfifo(folder.root / "images/pipe.png")
    names = enumerate(["link.png", "loop.png", "pipe.png"], 3)
    folder.images += [an_image(number, file_name=name) for number, name in names]
    assert folder.report().problems == {"missing_image": 2, "unsafe_path": 1}


def test_a_link_inside_the_root_is_followed(coco, a_row, an_image):
    folder = coco(a_row(1))
    (folder.root / "images/link.png").symlink_to("2.png")
    folder.images[1] = an_image(2, file_name="link.png")
    assert folder.report().problems == {}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 with numpy 2.4
@pytest.mark.parametrize("form", ["polygon", "list", "text"])
def test_polygons_and_both_kinds_of_rle_give_the_mask_that_cocos_tools_give(coco, a_row, form):
    plain = uncompressed()
    text = coco_mask.frPyObjects(plain, 48, 64)["counts"].decode()
    segmentation: Any = {"polygon": a_row()["segmentation"], "list": plain, "text": plain | {"counts": text}}[form]
    (row, _) = coco(a_row(1, segmentation=segmentation)).rows()
    code = coco_mask.frPyObjects(segmentation, 48, 64) if form == "list" else {"size": [48, 64], "counts": text}
    if form == "polygon":
        code = coco_mask.merge(coco_mask.frPyObjects(segmentation, 48, 64))
    assert np.array_equal(rle.to_mask(row.instances[0].rle), coco_mask.decode(code))


def test_odd_but_usable_rows_are_kept_with_a_warning(coco, a_row):
    touching = [[10, 10, 20, 20, 30, 10, 30, 30, 20, 20, 10, 30]]
    rows = [
        a_row(1, bbox=[-20, 10, 60, 20]),
        a_row(2, bbox=None, area=None),
        a_row(3, segmentation=touching),
        a_row(4, segmentation=[[-20, 10, 30, 10, 30, 30, -20, 30]]),
    ]
    folder = coco(*rows)
    expected = {"area_from_mask": 1, "box_cut": 1, "box_from_mask": 1, "polygon_cut": 1, "polygon_touches_itself": 1}
    assert folder.report().warnings == expected
    first, second, *_ = folder.rows()[0].instances
    assert first.bbox == (0.0, 10.0, 40.0, 20.0)
    assert second.bbox == rle.tight_box(second.rle)


def test_crowds_are_kept_and_counted_apart(coco, a_row):
    folder = coco(a_row(1, iscrowd=1, segmentation=uncompressed()), a_row(2))
    counts = folder.report().splits["all"]
    assert (counts.instances, counts.crowd) == (1, 1)
    assert [instance.id for instance in folder.rows()[0].prompts()] == [2]


def test_instances_come_in_the_order_of_images_and_then_of_annotations(coco, a_row):
    folder = coco(a_row(9, image=2), a_row(3, image=1), a_row(5, image=2), a_row(1, image=1))
    assert [[instance.id for instance in row.instances] for row in folder.rows()] == [[3, 1], [9, 5]]


def test_lvis_names_files_by_url_and_says_what_was_not_looked_for(coco, a_row):
    folder = coco(a_row(1, iscrowd=0))
    folder.format = DatasetFormat.LVIS
    url = "http://images.cocodataset.org/train2017/000000000001.jpg"
    lvis = {"neg_category_ids": [4, 5], "not_exhaustive_category_ids": [6]}
    folder.images = [{"id": 1, "coco_url": url, "width": 64, "height": 48} | lvis]
    (folder.root / "images/train2017").mkdir()
    (folder.root / "images/1.png").rename(folder.root / "images/train2017/000000000001.jpg")
    del folder.annotations[0]["iscrowd"]
    (row,) = folder.rows()
    assert row.file == "images/train2017/000000000001.jpg"
    assert (row.negative_categories, row.unfinished_categories) == ((4, 5), (6,))
    (folder.root / "images/train2017/000000000001.jpg").rename(folder.root / "images/000000000001.jpg")
    assert folder.rows()[0].file == "images/000000000001.jpg"


def test_lvis_says_how_frequent_categories_are(coco, a_row):
    folder = coco(a_row(1))
    folder.categories = [
        {"id": 1, "name": "a", "frequency": "r"},
        {"id": 2, "name": "b"},
        {"id": 3, "name": "c", "frequency": [1]},
    ]
    as_coco = read_header(folder.load().manifest_path).categories
    assert [category.frequency for category in as_coco] == [None, None, None]
    folder.format = DatasetFormat.LVIS
    folder.images = [image | {"coco_url": image["file_name"]} for image in folder.images]
    imported = folder.load()
    assert [category.frequency for category in read_header(imported.manifest_path).categories] == ["r", None, None]
    assert imported.report.warnings == {"frequency_missing": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"images": 5, "annotations": []}',
        '{"images": [], "annotations": ',
        '{"images": [], "annotations": [' + "[" * 200_000,
        '{"images": [], "annotations": [' + "[" * 200_000 + "]" * 200_000 + "]}",
        '{"images": [NaN], "annotations": ' + "[" * 200_000,
        '{"images": [NaN], "annotations": 7}',
        "\x00\x01\x02",
    ],
)
def test_a_file_that_is_no_annotation_file_is_refused_in_words(coco, text):
    folder = coco()
    (folder.root / "instances.json").write_text(text)
    with pytest.raises(ImportRefused, match=r"instances\.json"):
        folder.load_as_is()


def test_a_deeply_nested_row_spoils_itself_alone(coco, a_row):
    folder = coco(a_row(1), a_row(2, segmentation="HERE"))
    folder.write()
    text = (folder.root / "instances.json").read_text().replace('"HERE"', "[" * 500 + "]" * 500)
    (folder.root / "instances.json").write_text(text)
    assert folder.load_as_is().report.problems == {"malformed_row": 1}


def test_bytes_that_are_not_utf8_spoil_their_row(coco, a_row):
    folder = coco(a_row(1))
    folder.write()
    content = (folder.root / "instances.json").read_bytes().replace(b'"2.png"', b'"\xff\xfe.png"')
    (folder.root / "instances.json").write_bytes(content)
    assert folder.load_as_is().report.problems == {"malformed_row": 1}


def test_a_file_too_large_is_refused_before_it_is_read(coco, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)
    with pytest.raises(ImportRefused, match="an annotation file has 1 to 10"):
        coco().load()


def test_details_quote_hostile_text_without_its_control_characters(coco, a_row, an_image):
    folder = coco(a_row(1))
    folder.images[1] = an_image(2, file_name="\x1b[31m\n" + "x" * 900)
    (bad,) = folder.report().bad_rows
    assert bad.detail.isprintable()
    assert len(bad.detail) <= 500


def test_categories_that_are_bad_or_double_are_listed(coco, a_row):
    folder = coco(a_row(1))
    folder.categories += [{"id": 1, "name": "other"}, {"id": 2}, 7]
    assert folder.report().problems == {"duplicate_id": 1, "malformed_row": 2}


def test_a_file_without_categories_takes_any(coco, a_row):
    folder = coco(a_row(1, category_id=5))
    folder.categories = []
    assert folder.report().problems == {}


def test_one_image_of_ten_megapixels_costs_no_row_its_place(coco, a_row, an_image):
    folder = coco(a_row(1), a_row(2, image=2))
    Image.fromarray(np.zeros((2500, 4000, 3), np.uint8)).save(folder.root / "images/2.png")
    folder.images[1] = an_image(2, width=4000, height=2500)
    assert folder.report().splits["all"].instances == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["size", "counts", "id", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ["id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd"]


@settings(max_examples=150)
@given(
    changes=st.lists(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=3) | json_values, max_size=4),
    image=st.dictionaries(st.sampled_from(["id", "file_name", "coco_url", "width", "height"]), json_values, max_size=2),
)
def test_no_row_whatever_it_holds_ends_the_import(fuzzed_folder, changes, image):
    right = annotation(1)
    fuzzed_folder.images = [image_row(1), image_row(2) | image]
    changed = [annotation(number) | change if isinstance(change, dict) else change for number, change in enumerate(changes, 2)]
    fuzzed_folder.annotations = [right, *changed]
    report = fuzzed_folder.report()
    assert report.splits["all"].instances >= 1
    assert len(report.bad_rows) == sum(report.problems.values())


@pytest.fixture(scope="module")
def fuzzed_folder(tmp_path_factory):
    folder = CocoFolder(tmp_path_factory.mktemp("fuzz") / "data")
    (folder.root / "images").mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(noise(number)).save(folder.root / "images" / f"{number}.png")
    return folder
