import numpy as np
import pytest

from shared.contracts.evaluation import Comparison
from shared.picosam.evaluation.compare import compare

HOW = Comparison(resamples=1000, seed=3)


def pairs(gain, *, images=40, per_image=5, seed=0, noise=0.1, shared=0.0):
    """Two models whose difference is ``gain`` on average; ``shared`` noise is common to an image's prompts."""
    random = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), per_image)
    first = random.uniform(0.2, 0.8, image.size)
    second = first + gain + noise * random.standard_normal(image.size) + shared * random.standard_normal(images)[image]
    return first, second, image


def test_the_mean_is_that_of_the_prompts_and_the_interval_holds_it():
    first, second, images = pairs(0.1)
    found = compare(first, second, images, HOW)
    assert found.mean == pytest.approx(np.mean(second - first))
    assert 0 < found.low < found.mean < found.high
    assert found.p_value == pytest.approx(1 / 1001)
    assert (found.prompts, found.images) == (200, 40)


def test_equal_models_do_not_differ():
    first, _, images = pairs(0)
    found = compare(first, first, images, HOW)
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_swapping_the_models_turns_everything_round():
    first, second, images = pairs(0.02)
    one, other = compare(first, second, images, HOW), compare(second, first, images, HOW)
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low))
    assert other.p_value == one.p_value


def test_prompts_of_one_image_do_not_count_as_independent():
    first, second, images = pairs(0.0, noise=0.01, shared=0.2)
    by_image, by_prompt = compare(first, second, images, HOW), compare(first, second, np.arange(images.size), HOW)
    assert by_image.high - by_image.low > 1.8 * (by_prompt.high - by_prompt.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    how = Comparison(resamples=400, confidence=0.9)
    found = [compare(*pairs(0.05, seed=seed, shared=0.1), how) for seed in range(100)]
    assert 80 <= sum(each.low <= 0.05 <= each.high for each in found) <= 98


def test_chance_alone_is_rarely_significant():
    found = [compare(*pairs(0.0, seed=seed, shared=0.1), Comparison(resamples=400)).p_value for seed in range(100)]
    assert sum(each <= 0.05 for each in found) <= 12


def test_the_same_seed_gives_the_same_and_many_images_fit_into_memory(monkeypatch):
    first, second, images = pairs(0.01)
    whole = compare(first, second, images, HOW)
    assert compare(first, second, images, HOW) == whole
    monkeypatch.setattr("shared.picosam.evaluation.compare._CELLS", 400)
    parts = compare(first, second, images, HOW)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=5e-3)


def test_nothing_cannot_be_compared():
    with pytest.raises(ValueError, match="no prompt"):
        compare(np.empty(0), np.empty(0), np.empty(0, np.int64), HOW)
