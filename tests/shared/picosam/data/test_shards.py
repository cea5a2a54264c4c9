"""Prepared windows: the published protocol to the byte, the same bytes each time, whole folders or none."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from shared.contracts.datasets import FolderSource, GeneratorSource, SplitSource
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.data import rle, shard_files
from shared.picosam.data.errors import DataError, DatasetChanged, DatasetGone, Stopped
from shared.picosam.data.generator import generate
from shared.picosam.data.importer import Imported, import_dataset
from shared.picosam.data.manifest import read_rows
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy, _prompt, prepare, resampled, shard_key
from shared.picosam.jitter import PromptJitter
from shared.picosam.prompt import Window, extract, extract_mask, window_for

AUTHORS = ShardPolicy(window=WindowPolicy(border=Border.AUTHORS))
MARGIN = ShardPolicy(window=WindowPolicy(), canvas=168)
BOXES = ShardPolicy(window=WindowPolicy(prompt="box"), canvas=168)


@dataclass
class Prepared:
    root: Path
    imported: Imported
    out: Path

    def prepare(self, policy, name="shard", split="train", **options) -> ShardReader:
        options = {"digest": self.imported.digest} | options
        return prepare(self.imported.manifest_path, self.root, split, policy, self.out / name, **options)


def bring_in(root: Path, out: Path) -> Prepared:
    source = GeneratorSource(images=24, width=160, height=120, max_objects=6)
    generate(source, root)
    out.mkdir()
    return Prepared(root, import_dataset(root, source, None, "generated", out), out)


@pytest.fixture(scope="module")
def shared_dataset(tmp_path_factory) -> Prepared:
    folder = tmp_path_factory.mktemp("shards")
    return bring_in(folder / "data", folder / "out")


@pytest.fixture
def dataset(shared_dataset, tmp_path) -> Prepared:
    """Generated pictures, read only; shards go into a folder of the test's own."""
    return Prepared(shared_dataset.root, shared_dataset.imported, tmp_path)


@pytest.fixture
def own_dataset(tmp_path) -> Prepared:
    """Pictures that a test may spoil."""
    return bring_in(tmp_path / "data", tmp_path / "out")


def published_roi(bbox, image):
    """PicoSAM3's published code, written down again: a tenth of each side added, squared, cut at the image, rounded down."""
    x, y, width, height = bbox
    x, y, width, height = x - 0.1 * width, y - 0.1 * height, 1.2 * width, 1.2 * height
    side = max(width, height)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    corners = max(0, left), max(0, top), min(image.width, left + side), min(image.height, top + side)
    return tuple(int(corner) for corner in corners)


def published_window(image, mask, size=96):
    """The protocol of the PicoSAM2 paper's code, written down again: Pillow's crop and bilinear resize, nearest for masks."""
    rows, columns = np.nonzero(mask)
    x, y = (columns.min() + columns.max()) // 2, (rows.min() + rows.max()) // 2
    if not mask[y, x]:
        nearest = np.argmin((columns - x) ** 2 + (rows - y) ** 2)
        x, y = columns[nearest], rows[nearest]
    left, top = max(0, int(x) - size // 2), max(0, int(y) - size // 2)
    right, bottom = min(image.width, left + size), min(image.height, top + size)
    crop = image.crop((left, top, right, bottom)).resize((size, size), Image.Resampling.BILINEAR)
    part = Image.fromarray(mask[top:bottom, left:right].astype(np.uint8))
    return np.asarray(crop), np.asarray(part.resize((size, size), Image.Resampling.NEAREST)) > 0, (x, y)


def assert_published(reader: ShardReader, prepared: Prepared, split: str) -> None:
    images, masks = reader.windows(range(len(reader)))
    rows = ((row, instance) for row in read_rows(prepared.imported.manifest_path, split) for instance in row.prompts())
    number = -1
    for number, (row, instance) in enumerate(rows):
        picture = Image.open(prepared.root / row.file).convert("RGB")
        window, mask, point = published_window(picture, rle.to_mask(instance.rle))
        assert np.array_equal(images[number], window)
        assert np.array_equal(masks[number], mask)
        assert tuple(reader.point[number]) == point
    assert number + 1 == len(reader) > 0


def test_windows_under_the_authors_rule_are_those_of_the_published_code_byte_for_byte(dataset):
    reader = dataset.prepare(AUTHORS)
    assert reader.clipped.sum() > 10
    assert_published(reader, dataset, "train")


def test_the_margin_of_the_authors_rule_shows_the_objects_where_they_are_in_the_image(dataset):
    policy = ShardPolicy(window=WindowPolicy(border=Border.AUTHORS), canvas=168)
    reader = dataset.prepare(policy)
    _, masks = reader.windows(range(len(reader)))
    beyond = 0
    for number, (mask, (x0, y0, x1, y1)) in enumerate(zip(masks, reader.window, strict=True)):
        x, y = (36 * (x1 - x0) / 96, 36 * (y1 - y0) / 96)
        window = Window(
            x0=x0 - round(x), y0=y0 - round(y), x1=x1 + round(x), y1=y1 + round(y), border=Border.PAD, clipped=False
        )
        expected = extract_mask(rle.to_mask(reader.truth(number)), window, 168)
        assert (mask ^ expected).sum() <= 0.05 * expected.sum() + 4  # of two pixels equally near Pillow may take the other
        beyond += window.x0 < 0 or window.y0 < 0
    assert beyond > 10


@pytest.mark.skipif("PICOFLEET_DATA" not in os.environ, reason="PICOFLEET_DATA names no folder of real images")
def test_the_real_validation_windows_are_those_of_the_published_code_byte_for_byte(tmp_path):
    root = Path(os.environ["PICOFLEET_DATA"]) / "coco2017"
    split = SplitSource(split="val", images="val2017", annotations="annotations/instances_val2017.json")
    source = FolderSource(root=str(root), splits=[split])
    prepared = Prepared(root, import_dataset(root, source, None, "coco", tmp_path), tmp_path)
    reader = prepared.prepare(AUTHORS, split="val")
    assert len(reader) == 1062
    assert_published(reader, prepared, "val")
    assert reader.box is None
    assert_published_boxes(prepared.prepare(PUBLISHED_BOXES, "boxes", split="val"), prepared, "val")


def assert_published_boxes(reader: ShardReader, prepared: Prepared, split: str) -> None:
    images, masks = reader.windows(range(len(reader)))
    rows = [(row, instance) for row in read_rows(prepared.imported.manifest_path, split) for instance in row.prompts()]
    off = 0
    for number, (row, instance) in enumerate(rows):
        picture = Image.open(prepared.root / row.file).convert("RGB")
        corners = published_roi(instance.bbox, picture)
        if (
            tuple(reader.window[number].tolist()) != corners
        ):  # a sum that was written otherwise may round down to one pixel less
            off += 1
            continue
        wanted = picture.crop(corners).resize((96, 96), Image.Resampling.BILINEAR)
        mask = (
            Image.fromarray(rle.to_mask(instance.rle).astype(np.uint8)).crop(corners).resize((96, 96), Image.Resampling.NEAREST)
        )
        assert np.array_equal(images[number], np.asarray(wanted))
        assert np.array_equal(masks[number], np.asarray(mask) > 0)
        assert reader.box[number].tolist() == pytest.approx(_corners(instance.bbox))
    assert off <= len(rows) / 200
    assert len(rows) == len(reader) > 0


def _corners(bbox):
    x, y, width, height = bbox
    return [x, y, x + width, y + height]


PUBLISHED_BOXES = ShardPolicy(window=WindowPolicy(prompt="box", border=Border.AUTHORS))


def test_boxes_under_the_authors_rule_are_those_of_picosam3s_published_code_byte_for_byte(dataset):
    reader = dataset.prepare(PUBLISHED_BOXES)
    assert reader.clipped.sum() > 10
    assert_published_boxes(reader, dataset, "train")


@pytest.mark.parametrize("policy", [AUTHORS, MARGIN, BOXES, ShardPolicy(window=WindowPolicy(side=None, border=Border.SHRINK))])
def test_pixels_agree_with_the_serving_code_but_for_rounding(dataset, policy):
    reader = dataset.prepare(policy)
    images, masks = reader.windows(range(len(reader)))
    middle = slice((policy.canvas - policy.size) // 2, (policy.canvas + policy.size) // 2)
    pictures = {row.image_id: row.file for row in read_rows(dataset.imported.manifest_path)}
    for number in range(len(reader)):
        picture = np.asarray(Image.open(dataset.root / pictures[int(reader.image_id[number])]).convert("RGB"))
        x0, y0, x1, y1 = (int(edge) for edge in reader.window[number])
        grown = [round((end - start) * (policy.canvas / policy.size - 1) / 2) for start, end in ((x0, x1), (y0, y1))]
        window = Window(
            x0=x0 - grown[0], y0=y0 - grown[1], x1=x1 + grown[0], y1=y1 + grown[1], border=Border.PAD, clipped=False
        )
        served = extract(picture, window, policy.canvas)
        difference = np.abs(served.astype(int) - images[number])
        assert difference.max() <= 2
        assert (difference > 1).mean() < 1e-3
        if policy is not AUTHORS:
            assert np.array_equal(extract_mask(rle.to_mask(reader.truth(number)), window, policy.canvas), masks[number])
        if policy.canvas > policy.size and x1 - x0 == policy.size:
            nominal = Window(x0=x0, y0=y0, x1=x1, y1=y1, border=Border.PAD, clipped=False)
            assert np.array_equal(extract(picture, nominal), images[number][middle, middle])


@pytest.mark.parametrize("policy", [AUTHORS, MARGIN, BOXES])
def test_the_same_bytes_come_out_whatever_the_number_of_threads(dataset, policy):
    digests = []
    for threads in (1, 4):
        files = dataset.prepare(policy, f"threads-{threads}", threads=threads).files()
        digests.append({name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()})
    assert digests[0] == digests[1]
    assert set(digests[0]) == {"images-00000.npy", "masks-00000.npy", "index.npz", "meta.json"}


def test_windows_come_in_the_dataset_s_order_and_in_any_order_asked_for(dataset):
    reader = dataset.prepare(MARGIN)
    rows = list(read_rows(dataset.imported.manifest_path, "train"))
    assert reader.instance_id.tolist() == [instance.id for row in rows for instance in row.prompts()]
    images, masks = reader.windows([5, 0, 5])
    assert np.array_equal(images[0], images[2])
    assert np.array_equal(images[1], reader.windows([0])[0][0])
    assert (images.shape, images.dtype, masks.shape, masks.dtype) == ((3, 168, 168, 3), "uint8", (3, 168, 168), "bool")
    with pytest.raises(IndexError):
        reader.windows([len(reader)])


def test_many_parts_read_like_one(dataset, monkeypatch):
    whole = dataset.prepare(AUTHORS, "whole").windows(range(20))
    monkeypatch.setattr(shard_files, "PART_BYTES", 7 * 96 * 96 * 3)
    parts = dataset.prepare(AUTHORS, "parts")
    assert len([name for name in parts.files() if name.startswith("images")]) == -(-len(parts) // 7)
    order = np.random.default_rng(0).permutation(20)
    for one, other in zip(parts.windows(order), whole, strict=True):
        assert np.array_equal(one, other[order])


def resident_kb(file: Path) -> list[int]:
    """Of each mapping of ``file`` into this process."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [number for number, line in enumerate(lines) if line.endswith(str(file))]
    return [int(next(line for line in lines[start:] if line.startswith("Rss:")).split()[1]) for start in starts]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux says what a process holds in memory")
def test_windows_that_were_read_do_not_count_as_the_process_s_memory(dataset):
    reader = dataset.prepare(MARGIN)
    reader.windows(range(len(reader)))
    assert [resident_kb(path) for path in reader.files().values() if path.suffix == ".npy"] == [[0], [0]]


def test_the_first_so_many_windows_are_the_first_ones_of_all(dataset):
    some = dataset.prepare(ShardPolicy(window=AUTHORS.window, max_windows=9), "some")
    assert len(some) == 9
    assert np.array_equal(some.instance_id, dataset.prepare(AUTHORS, "all").instance_id[:9])


def test_the_key_knows_what_shapes_the_windows_and_nothing_else():
    key = shard_key("sha256:1", "train", MARGIN)
    assert len(key) == 64
    others = [
        shard_key("sha256:2", "train", MARGIN),
        shard_key("sha256:1", "val", MARGIN),
        shard_key("sha256:1", "train", AUTHORS),
        shard_key("sha256:1", "train", BOXES),
        shard_key("sha256:1", "train", ShardPolicy(window=WindowPolicy(side=64), canvas=168)),
    ]
    assert len({key, *others}) == 6
    assert shard_key("sha256:1", "train", ShardPolicy(window=WindowPolicy(box_margin=0.3), canvas=168)) == key


def test_windows_of_points_keep_the_name_they_had_before_there_was_jitter():
    assert shard_key("sha256:1", "train", MARGIN) == "52d0a10b1685a1414752aeeed29aa03da7a0c515f80f9f541a459407573394c7"


def test_jitter_is_part_of_the_key_where_it_moves_anything():
    jitters = [None, PromptJitter(share=0.1), PromptJitter(share=0.2), PromptJitter(share=0.1, seed=1)]
    for window in (MARGIN.window, BOXES.window):
        keys = {shard_key("sha256:1", "val", ShardPolicy(window=window, jitter=jitter)) for jitter in jitters}
        assert len(keys) == 4
        still = ShardPolicy(window=window, jitter=PromptJitter(share=0, seed=5))
        assert shard_key("sha256:1", "val", still) == shard_key("sha256:1", "val", ShardPolicy(window=window))


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_jittered_windows_lie_where_the_moved_prompt_is_and_keep_the_truth(dataset, prompt):
    window, jitter = WindowPolicy(prompt=prompt), PromptJitter(share=0.3)
    plain = dataset.prepare(ShardPolicy(window=window), "plain")
    moved = dataset.prepare(ShardPolicy(window=window, jitter=jitter), "moved")
    still = dataset.prepare(ShardPolicy(window=window, jitter=PromptJitter(share=0)), "still")
    assert np.array_equal(still.windows(range(len(plain)))[0], plain.windows(range(len(plain)))[0])
    instances = [instance for row in read_rows(dataset.imported.manifest_path, "train") for instance in row.prompts()]
    _, masks = moved.windows(range(len(moved)))
    away = 0
    for number, instance in enumerate(instances):
        shape, box = tuple(int(side) for side in moved.image_shape[number]), tuple(_corners(instance.bbox))
        point = jitter.point(tuple(plain.point[number].tolist()), box, shape, instance.id)
        wanted = window_for(window, shape, point=point, box=jitter.box(box, shape, instance.id))
        assert moved.window[number].tolist() == [wanted.x0, wanted.y0, wanted.x1, wanted.y1]
        assert moved.point[number].tolist() == list(point)
        assert np.array_equal(masks[number], extract_mask(rle.to_mask(instance.rle), wanted))
        away += moved.window[number].tolist() != plain.window[number].tolist()
    assert away > 0.8 * len(instances)
    assert [moved.truth(number) for number in range(len(moved))] == [instance.rle for instance in instances]


def test_an_annotated_box_without_area_gives_way_to_the_masks_own(own_dataset):
    rows = list(read_rows(own_dataset.imported.manifest_path, "train"))
    flat = [
        msgspec.structs.replace(
            row, instances=tuple(msgspec.structs.replace(one, bbox=(3.0, 3.0, 0.0, 9.0)) for one in row.instances)
        )
        for row in rows
    ]
    mask = rle.to_mask(flat[0].instances[0].rle)
    assert _prompt(BOXES, flat[0].instances[0], mask)[1] == tuple(_corners(rle.tight_box(flat[0].instances[0].rle)))
    nothing = msgspec.structs.replace(flat[0].instances[0], rle=rle.from_mask(np.zeros((120, 160), np.bool_)))
    assert _prompt(BOXES, nothing, np.zeros((120, 160), np.bool_)) == ((80, 60), (80.0, 60.0, 81.0, 61.0))


def test_a_prepared_folder_is_used_as_it_is(dataset):
    first = dataset.prepare(AUTHORS)
    again = prepare(Path("gone"), Path("gone"), "train", AUTHORS, first.folder, digest="sha256:0")
    assert len(again) == len(first)


def test_progress_counts_windows_and_stopping_leaves_nothing(dataset):
    seen: list[tuple[int, int]] = []
    reader = dataset.prepare(AUTHORS, "whole", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(reader), len(reader))
    seen.clear()
    with pytest.raises(Stopped):
        dataset.prepare(AUTHORS, "stopped", progress=lambda done, total: seen.append((done, total)), stop=lambda: len(seen) > 2)
    assert [path.name for path in dataset.out.iterdir()] == ["whole"]


def test_a_picture_that_changed_or_went_away_is_named(own_dataset):
    picture = next(read_rows(own_dataset.imported.manifest_path, "train")).file
    Image.new("RGB", (160, 120)).save(own_dataset.root / picture)
    with pytest.raises(DatasetChanged, match=picture):
        own_dataset.prepare(AUTHORS)
    (own_dataset.root / picture).unlink()
    with pytest.raises(DatasetGone, match=picture):
        own_dataset.prepare(AUTHORS)
    shutil.rmtree(own_dataset.root)
    with pytest.raises(DatasetGone, match="is gone"):
        own_dataset.prepare(AUTHORS)
    assert [path.name for path in own_dataset.out.iterdir()] == ["manifest.jsonl.gz"]


def test_a_full_disk_is_an_error_and_leaves_nothing(dataset, monkeypatch):
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_files.ShardWriter, "add", full)
    with pytest.raises(OSError, match="No space left"):
        dataset.prepare(AUTHORS)
    assert list(dataset.out.iterdir()) == []


def test_a_split_without_prompts_is_refused_with_the_names_of_the_others(dataset):
    with pytest.raises(DataError, match="splits are train, val"):
        dataset.prepare(AUTHORS, split="test")


def test_of_two_that_prepare_the_same_the_slower_gives_way(dataset):
    lengths: list[int] = []

    def another_is_quicker(_done: int, _total: int) -> None:
        if not lengths:
            lengths.append(len(dataset.prepare(AUTHORS)))

    lengths.append(len(dataset.prepare(AUTHORS, progress=another_is_quicker)))
    assert lengths[0] == lengths[1]
    assert [path.name for path in dataset.out.iterdir()] == ["shard"]


@pytest.mark.parametrize("name", ["meta.json", "index.npz", "images-00000.npy"])
def test_a_damaged_folder_says_so(dataset, name):
    reader = dataset.prepare(AUTHORS)
    (reader.folder / name).write_bytes(b"")
    with pytest.raises(DataError, match="holds no prepared windows"):
        ShardReader(reader.folder)


@pytest.mark.parametrize("options", [{"canvas": 88}, {"canvas": 100}, {"canvas": 168, "size": 95}, {"max_windows": 0}])
def test_policies_that_cannot_be_stored_are_refused(options):
    with pytest.raises(ValueError, match=r"canvas|max_windows"):
        ShardPolicy(window=WindowPolicy(), **options)


def test_a_window_much_larger_than_its_image_costs_little():
    panorama = Image.fromarray(np.full((300, 20_000, 3), 200, np.uint8))
    window = Window(x0=-10_000, y0=-19_650, x1=30_000, y1=20_350, border=Border.PAD, clipped=True)
    pixels = resampled(panorama, window, 96)
    assert pixels[47, 48].min() > 60
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert extract_mask(np.ones((300, 20_000), np.bool_), window).sum(axis=1).max() == 48
