import numpy as np
import pytest
from PIL import Image

from shared.picosam.pictures import PREDICTED, TRUE, Sample, curves, iou_histogram, reliability, sample_grid


def a_sample(**overrides):
    mask = np.zeros((96, 96), dtype=bool)
    mask[30:60, 30:60] = True
    values = {"image": np.full((96, 96, 3), 128, dtype=np.uint8), "prompt": (48.0, 48.0), "predicted": mask, "truth": ~mask}
    return Sample(**(values | {"iou": 0.5} | overrides))


def opened(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("count", [0, 1, 3, 16])
def test_the_grid_has_a_row_for_every_three_samples(tmp_path, count):
    sample_grid([a_sample()] * count, tmp_path / "sub" / "grid.png")
    height, width, _ = opened(tmp_path / "sub" / "grid.png").shape
    assert width == 3 * (3 * 144 + 4 * 6)
    assert height == max(1, -(-count // 3)) * (144 + 18 + 12) + 24


def test_the_grid_shows_prompt_predicted_and_true_mask(tmp_path):
    sample_grid([a_sample()], tmp_path / "grid.png", columns=1)
    picture = opened(tmp_path / "grid.png")[30:174]
    window, predicted, true = (picture[:, x : x + 144] for x in (6, 156, 306))
    centre = 72, 72
    assert window[centre].tolist() == [220, 0, 0]
    blue, orange = (np.array(colour) * 0.6 + 128 * 0.4 for colour in (PREDICTED, TRUE))
    assert np.abs(predicted[centre] - blue).max() < 2
    assert np.abs(true[5, 5] - orange).max() < 2
    assert np.ptp(true[centre]) == 0  # grey: not object


def test_equal_samples_make_equal_files(tmp_path):
    for name in ("a.png", "b.png"):
        sample_grid([a_sample(label="person 7")], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("count", [0, 1, 500])
def test_the_histogram_has_a_ground_of_its_own(tmp_path, count):
    random = np.random.default_rng(0)
    iou_histogram(random.random(count), random.random(count) * 20_000, tmp_path / "h.png")
    assert opened(tmp_path / "h.png")[0, 0].tolist() == [250, 250, 250]


@pytest.mark.parametrize("points", [0, 1, 5, 200])
def test_curves_are_drawn_from_any_number_of_points(tmp_path, points):
    series = [(step, 1 / (step + 1)) for step in range(points)]
    curves({"loss": series}, {f"metric_{number}": series for number in range(8)}, tmp_path / "c.png")
    picture = opened(tmp_path / "c.png")
    assert picture.shape[1] > picture.shape[0] > 300


def test_curves_without_any_series_are_an_empty_picture(tmp_path):
    curves({}, {}, tmp_path / "c.png")
    assert opened(tmp_path / "c.png").min() < 200


def test_reliability_shows_each_kind_of_confidence_in_its_colour(tmp_path):
    means = np.linspace(0.1, 0.9, 10)
    reliability({"calibrated": (means, means), "as it is": (means, means**2)}, tmp_path / "both.png")
    reliability({"calibrated": (means, means)}, tmp_path / "one.png")
    both, one = (opened(tmp_path / name) for name in ("both.png", "one.png"))
    assert both.shape == one.shape
    orange = (213, 94, 0)
    assert (both == orange).all(axis=2).sum() > 50
    assert not (one == orange).all(axis=2).any()
