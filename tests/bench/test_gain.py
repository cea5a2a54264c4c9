"""The benchmark of distillation in small: that it runs, goes on where it was, and that its intervals are right."""

import json

import numpy as np
import pytest

from shared.contracts.training import Compute, Recipe
from shared.contracts.windows import Border
from tests.bench import bench_gain, gain_runs
from tests.bench.gain_data import gain_data
from tests.bench.gain_runs import Lesson, train
from tests.bench.intervals import over_seeds_and_images


def of_two_levels(seeds: int, images: int, per_image: int, *, seed_sd: float, image_sd: float):
    """Values [S, N] = 0.01 + an effect of the seed + an effect of the image; with the image of each prompt."""
    random = np.random.default_rng(1)
    effects = random.normal(0, seed_sd, (seeds, 1)) + random.normal(0, image_sd, images).repeat(per_image)
    return 0.01 + effects, np.arange(images).repeat(per_image)


@pytest.mark.parametrize(("seed_sd", "image_sd"), [(0.01, 0.0), (0.0, 0.1), (0.02, 0.2)])
def test_the_interval_is_as_wide_as_theory_says(seed_sd, image_sd):
    values, images = of_two_levels(40, 100, 7, seed_sd=seed_sd, image_sd=image_sd)
    found = over_seeds_and_images(values, images, resamples=4000)
    of_seeds, of_images = values.mean(axis=1), values.mean(axis=0)[::7]
    standard_error = np.sqrt(of_seeds.var() / 40 + of_images.var() / 100)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.07)
    assert (found.high + found.low) / 2 == pytest.approx(found.mean, abs=0.2 * standard_error)


def test_prompts_of_one_image_count_as_one_piece_of_evidence():
    values, images = of_two_levels(5, 30, 20, seed_sd=0.0, image_sd=0.1)
    together = over_seeds_and_images(values, images, resamples=2000)
    apart = over_seeds_and_images(values, np.arange(images.size), resamples=2000)
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_images_weigh_as_many_prompts_as_they_have():
    values = np.array([[0.0, 0.0, 0.0, 1.0]])
    found = over_seeds_and_images(values, np.array([7, 7, 7, 3]), resamples=4000)
    assert found.mean == 0.25
    assert (found.low, found.high) == (0.0, 1.0)  # of two images one may be drawn twice


def test_what_never_varies_has_no_width_and_nothing_has_no_interval():
    found = over_seeds_and_images(np.full((3, 6), 0.5), np.arange(6))
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    assert str(found) == "+50.00 (+50.00 .. +50.00)"
    with pytest.raises(ValueError, match="needs values"):
        over_seeds_and_images(np.empty((2, 0)), np.empty(0, np.int64))


TINY = ["--images", "8", "--seeds", "2", "--samples", "16", "--teacher-samples", "16", "--threads", "1", "--resamples", "200"]


def test_the_whole_benchmark_in_small_and_again_without_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PICOFLEET_DATA", raising=False)
    arguments = ["--work", str(tmp_path), *TINY]
    bench_gain.main(arguments)
    written, said = json.loads((tmp_path / "results.json").read_text()), capsys.readouterr().out
    assert written["seeds"] == 2
    assert list(written["arms"]) == ["masks", "distilled"]
    interval = written["arms"]["distilled"]["gain_miou_96_pad"]
    means = [np.mean(written["arms"][arm]["miou_96_pad"]) for arm in ("distilled", "masks")]
    assert interval["mean"] == pytest.approx(means[0] - means[1])
    assert interval["low"] <= interval["mean"] <= interval["high"]
    assert "distilled better than masks alone in miou_96_pad" in said
    assert "distilled: IoU with the teacher's own masks" in said
    monkeypatch.setattr(gain_runs, "fit", None)  # nothing is left to be trained
    bench_gain.main(arguments)
    assert json.loads((tmp_path / "results.json").read_text()) == written


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(tmp_path, monkeypatch):
    data, compute = gain_data(tmp_path / "data", images=12), Compute(threads=1)
    recipe = Recipe(samples=24, batch_size=4, checkpoint_every=2)
    whole = train(tmp_path / "whole", data, recipe, compute, Lesson(), label="whole")

    def cut_off(self, report):
        if report.step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(gain_runs._Hooks, "on_step", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", data, recipe, compute, Lesson(), label="cut")
    again = train(tmp_path / "cut", data, recipe, compute, Lesson(), label="cut")
    assert all(np.array_equal(again.ious[border], whole.ious[border]) for border in (Border.AUTHORS, Border.PAD))
    with pytest.raises(SystemExit, match="another recipe"):
        train(tmp_path / "cut", data, Recipe(samples=48), compute, Lesson(), label="cut")
