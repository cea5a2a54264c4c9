import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.training import Augmentation
from shared.picosam.augment import (
    DRAWS,
    augment,
    augment_answers,
    canvas_for,
    draws,
    epoch_order,
    matrices,
    recolour,
)

SETTINGS = st.builds(Augmentation, scale_jitter=st.floats(1, 2), shift=st.floats(0, 24), flip=st.floats(0, 1))


def a_canvas(side: int = 168) -> tuple[np.ndarray, np.ndarray]:
    """One noisy window with a block of object off its middle."""
    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    mask = np.zeros((1, side, side), np.bool_)
    mask[0, side // 2 - 10 : side // 2 + 20, side // 2 - 30 : side // 2 + 5] = True
    return image, mask


@given(settings=SETTINGS, seed=st.integers(0, 2**32 - 1), number=st.integers(0, 2**62))
def test_no_draw_looks_beyond_the_canvas(settings, seed, number):
    side = canvas_for(settings)
    matrix = matrices(draws(seed, np.array([number])), settings, side, 96)[0]
    corners = np.array([[-0.5, -0.5, 1], [95.5, 95.5, 1]]).T  # outer edges, half a pixel round the centres
    looked_at = matrix @ corners
    assert looked_at.min() >= -0.5 - 1e-6
    assert looked_at.max() <= side - 0.5 + 1e-6


def test_the_default_canvas_is_168():
    assert canvas_for(Augmentation()) == 168


def test_without_augmentation_the_view_is_the_middle_of_the_canvas(plain):
    image, mask = a_canvas()
    seen, truth = augment(image, mask, np.array([5]), seed=0, settings=plain, size=96)
    np.testing.assert_array_equal(seen, image[:, 36:132, 36:132])
    np.testing.assert_array_equal(truth, mask[:, 36:132, 36:132])


def test_a_flip_mirrors_image_and_mask_exactly(plain):
    image, mask = a_canvas()
    seen, truth = augment(image, mask, np.array([5]), seed=0, settings=plain.model_copy(update={"flip": 1.0}), size=96)
    np.testing.assert_array_equal(seen, image[:, 36:132, 36:132][:, :, ::-1])
    np.testing.assert_array_equal(truth, mask[:, 36:132, 36:132][:, :, ::-1])


def test_scale_jitter_changes_the_objects_area_by_its_square():
    settings = Augmentation(flip=0, shift=0, scale_jitter=1.5)
    uniform = np.full((2, DRAWS), 0.5)
    uniform[:, 1] = [0, 1]
    near, far = matrices(uniform, settings, 168, 96)
    assert near[0, 0] == pytest.approx(1 / 1.5)  # canvas pixels per output pixel: a smaller window, a larger object
    assert far[0, 0] == pytest.approx(1.5)


def test_image_and_mask_move_together():
    mask = a_canvas()[1]
    image = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=-1)
    settings = Augmentation(brightness=0, contrast=0, saturation=0)
    for number in range(20):
        seen, truth = augment(image, mask, np.array([number]), seed=3, settings=settings, size=96)
        np.testing.assert_array_equal(seen[..., 0] >= 128, truth.astype(bool))


def test_a_sample_is_the_same_in_any_batch_and_another_under_another_number():
    image, mask = (np.repeat(array, 3, axis=0) for array in a_canvas())
    together, _ = augment(image, mask, np.array([7, 8, 9]), seed=1, settings=Augmentation(), size=96)
    alone, _ = augment(image[:1], mask[:1], np.array([8]), seed=1, settings=Augmentation(), size=96)
    np.testing.assert_array_equal(together[1], alone[0])
    assert not np.array_equal(together[0], together[1])


def test_draws_are_uniform_and_independent_of_each_other():
    uniform = draws(0, np.arange(4000))
    np.testing.assert_allclose(uniform.mean(axis=0), 0.5, atol=0.02)
    correlation = np.corrcoef(np.vstack([uniform[:-1].T, uniform[1:].T]))  # with the next sample's as well
    assert np.abs(correlation - np.eye(2 * DRAWS)).max() < 0.06


def test_colour_jitter_follows_torchvisions_three_steps():
    window = np.random.default_rng(1).integers(60, 160, (96, 96, 3), dtype=np.uint8)
    settings, uniform = Augmentation(brightness=0.2, contrast=0.2, saturation=0.2), np.array([0.9, 0.1, 0.7])
    brightness, contrast, saturation = 1 + 0.2 * (2 * uniform - 1)
    luma = np.array([0.299, 0.587, 0.114])
    wanted = window * brightness
    wanted = contrast * wanted + (1 - contrast) * (wanted @ luma).mean()
    wanted = saturation * wanted + (1 - saturation) * (wanted @ luma)[..., None]
    assert np.abs(recolour(window, uniform, settings) - wanted).max() < 1  # whole numbers, and coefficients in fixed point


def test_every_epoch_visits_each_window_once_in_an_order_of_its_own():
    first, second = epoch_order(0, 0, 100), epoch_order(0, 1, 100)
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epoch_order(1, 0, 100))


def test_answers_move_with_the_image():
    """The middle level of a steep answer lies where the image's own edge does."""
    mask = a_canvas()[1]
    image = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=-1)
    logits = np.where(mask, 8, -8).astype(np.float16)
    settings = Augmentation(brightness=0, contrast=0, saturation=0)
    for number in range(20):
        numbers = np.array([number])
        seen, _ = augment(image, mask, numbers, seed=3, settings=settings, size=96)
        answers = augment_answers(logits, numbers, seed=3, settings=settings, size=96)
        assert answers.dtype == np.float32
        np.testing.assert_allclose((answers + 8) / 16, seen[..., 0] / 255, atol=0.02)


def test_answers_without_augmentation_are_the_middle_of_the_canvas(plain):
    logits = np.random.default_rng(0).normal(0, 5, (2, 168, 168)).astype(np.float16)
    seen = augment_answers(logits, np.array([5, 6]), seed=0, settings=plain, size=96)
    np.testing.assert_array_equal(seen, logits[:, 36:132, 36:132].astype(np.float32))


def test_an_answer_goes_on_beyond_the_edge_of_the_canvas():
    logits = np.full((8, 96, 96), 3, np.float16)  # too small a canvas: views look beyond it, not by half a pixel only
    seen = augment_answers(logits, np.arange(8), seed=0, settings=Augmentation(shift=24), size=96)
    np.testing.assert_allclose(seen, 3, rtol=1e-6)


def test_an_infinite_logit_is_only_very_sure(plain):
    logits = np.full((1, 168, 168), np.inf, np.float16)
    logits[0, :, :84] = -np.inf
    seen = augment_answers(logits, np.array([1]), seed=0, settings=Augmentation(), size=96)
    assert np.isfinite(seen).all()
    assert (np.abs(seen) > 100).mean() > 0.95
