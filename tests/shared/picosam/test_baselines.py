"""What a box alone scores. The figures on real images are those that networks are held against."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.contracts.datasets import FolderSource, GeneratorSource, SplitSource
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.baselines import BASELINES, ellipse, evaluate_baseline, filled_box
from shared.picosam.data.generator import generate
from shared.picosam.data.importer import import_dataset
from shared.picosam.data.shards import ShardPolicy, prepare
from shared.picosam.jitter import PromptJitter
from shared.picosam.metrics import metric_name, miou_name, scores

BOXES = ShardPolicy(window=WindowPolicy(prompt="box"))


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """Prepares generated pictures under a policy."""
    folder = tmp_path_factory.mktemp("baselines")
    source = GeneratorSource(images=12, width=160, height=120, max_objects=6)
    generate(source, folder / "data")
    (folder / "out").mkdir()
    imported = import_dataset(folder / "data", source, None, "generated", folder / "out")

    def prepared(policy, name):
        out = folder / "out" / name
        return prepare(imported.manifest_path, folder / "data", "train", policy, out, digest=imported.digest)

    return prepared


def test_the_box_and_its_ellipse_are_drawn_at_their_place():
    boxes, places = np.array([[100.0, 110.0, 148.0, 134.0]]), np.array([[76, 74, 172, 170]], np.int32)  # cell = pixel
    box, oval = filled_box(boxes, places)[0], ellipse(boxes, places)[0]
    wanted = np.zeros((96, 96), np.bool_)
    wanted[36:60, 24:72] = True
    assert np.array_equal(box, wanted)
    assert oval.sum() == pytest.approx(np.pi * 24 * 12, rel=0.01)
    rows, columns = np.nonzero(oval)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (36, 59, 24, 71)
    assert not (oval & ~box).any()
    assert not oval[36, 24]


def test_a_window_that_is_not_square_stretches_what_is_drawn():
    boxes, places = np.array([[0.0, 0.0, 48.0, 48.0]]), np.array([[0, 0, 96, 48]], np.int32)
    assert filled_box(boxes, places)[0].sum() == 48 * 96


def test_a_box_thinner_than_a_cell_is_drawn_or_not_but_never_fails():
    boxes, places = np.array([[10.2, 10.2, 10.3, 10.3]]), np.array([[0, 0, 96, 96]], np.int32)
    assert filled_box(boxes, places).sum() == ellipse(boxes, places).sum() == 0


def test_a_baseline_is_scored_like_a_network(windows):
    data = windows(BOXES, "boxes")
    seen = []
    result = evaluate_baseline(filled_box, data, limit=10, batch_size=4, sink=lambda *batch: seen.append(batch))
    masks = data.windows(range(10))[1]
    drawn = filled_box(data.box[:10], data.window[:10])
    wanted = [(a & b).sum() / (a | b).sum() for a, b in zip(drawn, masks, strict=True)]
    assert result.iou == pytest.approx(wanted)
    assert result.confidence.tolist() == result.soft_iou.tolist() == [1.0] * 10
    assert result.area == pytest.approx(drawn.mean(axis=(1, 2)))
    assert np.concatenate([rows for rows, _, _ in seen]).tolist() == list(range(10))
    assert np.array_equal(torch.cat([logits for _, logits, _ in seen])[:, 0].numpy() > 0, drawn)
    assert len(evaluate_baseline(ellipse, data)) == len(data)


def test_a_jittered_box_is_drawn_where_it_was_moved(windows):
    plain = evaluate_baseline(filled_box, windows(BOXES, "boxes")).miou
    moved = ShardPolicy(window=BOXES.window, jitter=PromptJitter(share=0.3))
    assert evaluate_baseline(filled_box, windows(moved, "moved")).miou < plain - 0.05


def test_windows_of_points_or_with_a_margin_are_refused(windows):
    with pytest.raises(ValueError, match="asked for by points"):
        evaluate_baseline(filled_box, windows(ShardPolicy(window=WindowPolicy()), "points"))
    with pytest.raises(ValueError, match="without margin"):
        evaluate_baseline(filled_box, windows(ShardPolicy(window=BOXES.window, canvas=168), "margin"))


@pytest.mark.skipif("PICOFLEET_DATA" not in os.environ, reason="PICOFLEET_DATA names no folder of real images")
@pytest.mark.parametrize(
    ("border", "box", "oval"),
    [(Border.AUTHORS, (0.6003, 0.3031), (0.6367, 0.3680)), (Border.PAD, (0.6000, 0.3021), (0.6363, 0.3670))],
)
def test_on_the_real_validation_windows_box_and_ellipse_score_what_was_measured(tmp_path, border, box, oval):
    root = Path(os.environ["PICOFLEET_DATA"]) / "coco2017"
    split = SplitSource(split="val", images="val2017", annotations="annotations/instances_val2017.json")
    imported = import_dataset(root, FolderSource(root=str(root), splits=[split]), None, "coco", tmp_path)
    policy = ShardPolicy(window=WindowPolicy(prompt="box", border=border))
    data = prepare(imported.manifest_path, root, "val", policy, tmp_path / "val", digest=imported.digest)
    for name, wanted in (("filled_box", box), ("ellipse", oval)):
        result = evaluate_baseline(BASELINES[name], data)
        found = scores(result.iou, border=border, clipped=data.clipped, has_object=result.has_object, label="box")
        assert found[miou_name(border, "box")] == pytest.approx(wanted[0], abs=5e-5)
        assert found[metric_name("hit_rate_50_95", border, "box")] == pytest.approx(wanted[1], abs=5e-5)
