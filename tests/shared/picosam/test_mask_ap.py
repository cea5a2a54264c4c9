import numpy as np
import pytest

from shared.picosam.mask_ap import PromptedMask, encode, mask_ap

SHAPE = (120, 160)


def a_rectangle(x=20, y=20, width=50, height=50):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[y : y + height, x : x + width] = True
    return mask


def a_mask(predicted=None, truth=None, **overrides):
    truth = a_rectangle() if truth is None else truth
    predicted = truth if predicted is None else predicted
    values = {"image_id": 1, "category_id": 1, "confidence": 0.9, "area": float(truth.sum())}
    return PromptedMask(**(values | {"predicted": encode(predicted), "truth": encode(truth)} | overrides))


def test_perfect_masks_have_full_ap_in_their_size_band_only():
    assert mask_ap([a_mask(), a_mask(image_id=2)]) == {
        "mask_ap": 1.0,
        "mask_ap_50": 1.0,
        "mask_ap_75": 1.0,
        "mask_ap_medium": 1.0,
    }


def test_masks_that_miss_have_none():
    assert mask_ap([a_mask(predicted=a_rectangle(x=100))])["mask_ap"] == 0.0


def test_an_empty_prediction_is_a_miss_and_no_error():
    assert mask_ap([a_mask(predicted=np.zeros(SHAPE, dtype=bool))])["mask_ap_50"] == 0.0


def test_an_iou_of_0_72_passes_five_of_the_ten_thresholds():
    found = mask_ap([a_mask(predicted=a_rectangle(height=36))])
    assert found["mask_ap"] == pytest.approx(0.5)
    assert (found["mask_ap_50"], found["mask_ap_75"]) == pytest.approx((1.0, 0.0))


def test_a_sure_miss_costs_more_than_an_unsure_one():
    hits = [a_mask(image_id=number, confidence=0.5) for number in range(1, 5)]
    miss = a_rectangle(x=100)
    unsure = mask_ap([*hits, a_mask(miss, image_id=9, confidence=0.1)])["mask_ap"]
    sure = mask_ap([*hits, a_mask(miss, image_id=9, confidence=0.9)])["mask_ap"]
    assert sure < unsure < 1


def test_bands_follow_the_annotated_area_not_the_masks():
    assert "mask_ap_small" in mask_ap([a_mask(area=100.0)])


def test_categories_weigh_equally():
    hits = [a_mask(category_id=1, image_id=number) for number in range(1, 10)]
    assert mask_ap([*hits, a_mask(a_rectangle(x=100), category_id=2)])["mask_ap"] == pytest.approx(0.5)


def test_nothing_scored_is_nothing_found():
    assert mask_ap([]) == {}


def test_the_library_stays_silent(capsys):
    mask_ap([a_mask()])
    assert capsys.readouterr() == ("", "")


def test_masks_of_different_images_are_refused():
    with pytest.raises(ValueError, match="differ in size"):
        a_mask(predicted=np.zeros((10, 10), dtype=bool))
