"""Hostile and mistaken files: refused, with the place named."""

import json

import pytest

from shared.picosam.predictions import BadPredictions, score_predictions

SHAPE = [100, 120]


def a_mask(size=SHAPE, counts=None):
    return {"size": size, "counts": [size[0] * size[1] - 50, 50] if counts is None else counts}


def a_prediction(**changes):
    return {"image_id": 1, "category_id": 1, "segmentation": a_mask(), "score": 0.5} | changes


def an_object(**changes):
    square = [[10, 10, 30, 10, 30, 30, 10, 30]]
    return {"id": 1, "image_id": 1, "category_id": 1, "segmentation": square, "area": 400, "iscrowd": 0} | changes


def instances(*objects, **changes):
    images = [{"id": 1, "height": SHAPE[0], "width": SHAPE[1]}, {"id": 2, "height": SHAPE[0], "width": SHAPE[1]}]
    return {"images": images, "annotations": list(objects), "categories": [{"id": 1, "name": "thing"}]} | changes


TWO = instances(an_object(), an_object(id=2), an_object(id=3, image_id=2), an_object(id=4, iscrowd=1))


@pytest.fixture
def score(tmp_path):
    """Scores contents (JSON values, or text as it stands)."""

    def run(predictions, annotations=TWO):
        for name, content in (("predictions.json", predictions), ("instances.json", annotations)):
            (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return score_predictions(tmp_path / "predictions.json", tmp_path / "instances.json")

    return run


def test_a_plain_file_is_scored(score):
    assert score([a_prediction(), a_prediction()]).predictions == 2


@pytest.mark.parametrize(
    ("predictions", "told"),
    [
        ("", "predictions.json has 0 bytes"),
        ("[{", "predictions.json is not JSON"),
        ("[NaN]", "predictions.json is not JSON"),
        ("[" * 100_000, "nested too deeply|is not JSON|Expected"),
        ("{}", r"predictions.json: Expected `array`"),
        ("[]", "holds no prediction"),
        ([a_prediction(), {"image_id": 1}], "entry 1: Object missing required field `segmentation`"),
        ([a_prediction(), a_prediction(image_id="1")], "entry 1, field image_id: Expected `int`"),
        ([a_prediction(image_id=2**70)], "entry 0, field image_id"),
        ([a_prediction(segmentation=[[1, 1, 5, 1, 5, 5]])], "entry 0, field segmentation: Expected `object`"),
        ([a_prediction(), a_prediction(segmentation=a_mask([100], counts=[100]))], "entry 1, field segmentation.size"),
        (
            [a_prediction(), a_prediction(segmentation=a_mask([120, 100]))],
            r"entry 1 \(image 1\), field segmentation.size: \[120",
        ),
        ([a_prediction(), a_prediction(segmentation=a_mask([96, 96]))], "entry 1 .* a mask on the window, while .* the image"),
        ([a_prediction(segmentation=a_mask(counts=[100]))], "entry 0 .* field segmentation.counts: RLE counts add up to 100"),
        ([a_prediction(segmentation=a_mask(counts=[-1, 12001]))], "entry 0 .* field segmentation.counts"),
        ([a_prediction(segmentation=a_mask(counts="\u20ac~"))], "entry 0 .* field segmentation.counts"),
        ([a_prediction(segmentation=a_mask(counts="oooooooooo0"))], "entry 0 .* field segmentation.counts"),
        ([a_prediction(image_id=5)], "none of the predictions' images"),
        ([a_prediction(), a_prediction(), a_prediction()], r"entry 2 \(image 1\): the image has 2 objects"),
        ([a_prediction(annotation_id=9)], "entry 0 .* field annotation_id: 9 is not in"),
        ([a_prediction(annotation_id=3)], "entry 0 .* field annotation_id: 3 belongs to image 2"),
        ([a_prediction(annotation_id=4)], "entry 0 .* field annotation_id: 4 is a crowd"),
        ([a_prediction(annotation_id=1), a_prediction(annotation_id=1)], "entry 1 .* 1 is already that of entry 0"),
        ([a_prediction(annotation_id=1), a_prediction()], "entry 1 .* only some entries of this image"),
        ([a_prediction(category_id=7)], "entry 0 .* field category_id: 7 is not in"),
    ],
    ids=range(25),
)
def test_wrong_predictions_are_refused_with_their_place(score, predictions, told):
    with pytest.raises(BadPredictions, match=told) as caught:
        score(predictions)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ("[]", "instances.json: Expected `object`"),
        (instances(an_object(), an_object()), r"annotations\[1\], field id: 1 is there more than once"),
        (instances(an_object(image_id=8)), r"annotations\[0\] \(id 1\), field image_id: 8 is not among"),
        (instances(an_object(), images=[{"id": 1, "height": 10**6, "width": 10**6}]), r"images\[0\] .* is no image's size"),
        (instances(an_object(), images=[{"id": 1, "height": -5, "width": -5}]), r"images\[0\] .* is no image's size"),
        (instances(an_object(segmentation=[[1, 2, 3, 4]])), "annotation 1 of image 1, field segmentation: a polygon of 4"),
        (instances(an_object(segmentation=[[1, 2, 1e30, 4, 5, 6]])), "annotation 1 of image 1, .* far outside"),
        (instances(an_object(segmentation=[])), "annotation 1 of image 1, .* without a polygon"),
        (instances(an_object(segmentation=a_mask([5, 5]))), r"annotation 1 of image 1, .* RLE of size \[5, 5\]"),
        (instances(an_object(segmentation="x")), "annotation 1 of image 1, field segmentation: Expected"),
    ],
    ids=range(10),
)
def test_wrong_annotations_are_refused_with_their_place(score, annotations, told):
    with pytest.raises(BadPredictions, match=told):
        score([a_prediction()], annotations)


def test_objects_without_a_prediction_are_counted(score):
    assert score([a_prediction(), a_prediction(image_id=2)]).unanswered == 1


def test_an_annotation_without_a_mask_is_no_prompt(score):
    bare = {name: value for name, value in an_object(id=9).items() if name != "segmentation"}
    assert score([a_prediction()], instances(bare, an_object())).samples[0].annotation_id == 1


def test_masks_without_scores_have_iou_but_no_ap(score):
    found = score([{"image_id": 1, "segmentation": a_mask()}])
    assert "miou_96" in found.figures
    assert not any("ap" in name for name in found.figures)
    assert "no mask AP" in found.notes[0]


def test_an_empty_object_is_asked_at_the_images_middle_and_left_out_of_the_hit_rate(score):
    found = score(
        [a_prediction(segmentation=a_mask(counts=[12000]))], instances(an_object(segmentation=a_mask(counts=[12000])))
    )
    assert found.figures["miou_96"] == 1.0
    assert "hit_rate_50_95" not in found.figures
