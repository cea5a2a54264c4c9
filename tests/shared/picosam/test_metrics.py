import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_jaccard_index

from shared.contracts.windows import Border
from shared.picosam.metrics import (
    HIT_THRESHOLDS,
    confidence,
    hit_rate_50_95,
    iou,
    iou_by_area,
    metric_name,
    miou,
    predicted_masks,
    scores,
)


def masks(seed, count=6, size=8, share=0.5):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed)) < share


@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95))
def test_iou_of_each_sample_equals_torchmetrics(seed, share):
    predicted, truth = masks(seed, share=share), masks(seed + 1)
    wanted = [binary_jaccard_index(p.int(), t.int()).double() for p, t in zip(predicted, truth, strict=True)]
    torch.testing.assert_close(iou(predicted, truth), torch.stack(wanted), rtol=1e-6, atol=1e-6)


def test_an_empty_union_counts_as_full_agreement_and_a_false_alarm_as_none():
    empty, full = torch.zeros(1, 4, 4, dtype=torch.bool), torch.ones(1, 4, 4, dtype=torch.bool)
    assert iou(empty, empty).tolist() == [1.0]
    assert iou(full, empty).tolist() == [0.0]
    assert iou(empty, full).tolist() == [0.0]


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        iou(masks(0, size=8), masks(0, size=4))


def test_a_logit_of_zero_is_not_object():
    assert predicted_masks(torch.tensor([-1.0, 0.0, 1e-6])).tolist() == [False, False, True]


def test_miou_is_the_mean_over_samples():
    assert miou(np.array([0.0, 0.5, 1.0, 0.1])) == pytest.approx(0.4)


def test_an_iou_of_exactly_a_threshold_is_a_hit():
    assert len(HIT_THRESHOLDS) == 10
    for percent in range(50, 100, 5):
        truth = torch.arange(100).view(1, 100) < 100
        exact = iou(torch.arange(100).view(1, 100) < percent, truth).numpy()
        assert hit_rate_50_95(exact) == pytest.approx((percent - 45) / 50), percent


def test_hit_rate_averages_the_shares_over_thresholds():
    # 0.49 hits none of the ten, 0.72 hits 0.50..0.70, 1.0 hits all.
    assert hit_rate_50_95(np.array([0.49, 0.72, 1.0])) == pytest.approx((0 + 5 + 10) / 30)


def test_hit_rate_leaves_out_samples_without_an_object_and_miou_keeps_them():
    ious, has_object = np.array([1.0, 0.0]), np.array([False, True])
    found = scores(ious, border=Border.AUTHORS, clipped=np.array([False, False]), has_object=has_object)
    assert found == {"miou_96": 0.5, "hit_rate_50_95": 0.0, "miou_96_unclipped": 0.5}


def test_names_carry_the_border_rule_except_the_published_one():
    names = [metric_name("miou_96", border) for border in Border]
    assert names == ["miou_96", "miou_96_pad", "miou_96_clamp", "miou_96_shrink"]


def test_unclipped_counts_only_windows_that_touch_no_border():
    found = scores(np.array([0.2, 0.8]), border=Border.PAD, clipped=np.array([True, False]))
    assert found["miou_96_unclipped"] == 0.8
    assert found["miou_96_pad"] == 0.5


def test_figures_without_samples_are_left_out():
    assert scores(np.zeros(0), border=Border.PAD, clipped=np.zeros(0, dtype=bool)) == {}
    found = scores(np.array([0.5]), border=Border.PAD, clipped=np.array([True]), has_object=np.array([False]))
    assert found == {"miou_96_pad": 0.5}


def test_size_bands_are_cocos_with_the_lower_bound_included():
    areas = np.array([0, 1023.9, 1024, 9215.9, 9216, 1e6])
    bands = iou_by_area(np.array([0.1, 0.3, 0.4, 0.6, 0.8, 1.0]), areas)
    assert {name: (round(band.miou, 6), band.samples) for name, band in bands.items()} == {
        "small": (0.2, 2),
        "medium": (0.5, 2),
        "large": (0.9, 2),
    }


def test_a_band_without_samples_says_so():
    assert iou_by_area(np.array([0.5]), np.array([10.0]))["large"].samples == 0


def test_confidence_is_the_mean_probability_inside_the_mask():
    logits = torch.full((2, 1, 4, 4), -5.0)
    logits[0, 0, 0, :2] = torch.tensor([0.0, 0.0]) + torch.logit(torch.tensor([0.6, 0.8]))
    assert confidence(logits).tolist() == pytest.approx([0.7, 0.0], abs=1e-6)
