import threading

import numpy as np
import pytest
import torch

from shared.contracts.training import Augmentation
from shared.picosam.loader import AnswerPool, Loader, Pool, make_batch, sample_numbers, windows_of


class Failing:
    """Windows whose disk dies at the third batch."""

    canvas = 168

    def __init__(self, windows):
        self.good, self.calls = windows, 0

    def __len__(self):
        return len(self.good)

    def windows(self, indices):
        self.calls += 1
        if self.calls == 3:
            raise OSError(5, "Input/output error")
        return self.good.windows(indices)


def test_ranks_share_out_each_batch_without_overlap():
    shares = [sample_numbers(3, 8, rank=rank, world=2) for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate(shares), sample_numbers(3, 8))
    np.testing.assert_array_equal(sample_numbers(3, 8), np.arange(24, 32))


def test_a_batch_may_span_two_epochs():
    numbers = np.arange(8, 16)
    chosen = windows_of(numbers, seed=0, count=12)
    whole = windows_of(np.arange(24), seed=0, count=12)
    np.testing.assert_array_equal(chosen, whole[8:16])
    assert sorted(whole[:12]) == sorted(whole[12:]) == list(range(12))


def test_a_loader_begun_at_step_three_goes_on_with_the_same_batches(drawn_windows, a_recipe):
    data, recipe = drawn_windows(), a_recipe()
    with Loader(data, recipe) as whole, Loader(data, recipe, first_step=3) as rest:
        pairs = list(zip(list(whole)[3:], rest, strict=True))
    assert len(pairs) == 3
    for expected, batch in pairs:
        torch.testing.assert_close(batch.images, expected.images, rtol=0, atol=0)
        torch.testing.assert_close(batch.masks, expected.masks, rtol=0, atol=0)


def test_batches_are_channels_last_bytes(drawn_windows, a_recipe):
    batch = make_batch(drawn_windows(), a_recipe(), np.arange(4))
    assert batch.images.shape == (4, 3, 96, 96)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.masks.shape == (4, 1, 96, 96)
    assert set(batch.masks.unique().tolist()) == {0, 1}


def test_an_error_while_loading_is_raised_where_the_batch_is_asked_for(drawn_windows, a_recipe):
    with Loader(Failing(drawn_windows()), a_recipe()) as loader:
        batches = iter(loader)
        next(batches), next(batches)
        with pytest.raises(OSError, match="Input/output"):
            next(batches)


def test_leaving_early_ends_the_thread(drawn_windows, a_recipe):
    with Loader(drawn_windows(), a_recipe(samples=4000)) as loader:
        next(iter(loader))
    assert "window-loader" not in {thread.name for thread in threading.enumerate()}


def test_a_pool_reads_from_the_part_that_holds_the_window(drawn_windows):
    small, large = drawn_windows(count=3), drawn_windows(count=9)
    pool = Pool([small, large])
    images, masks = pool.windows(np.array([11, 0, 3, 2]))
    assert len(pool) == 12
    for row, (part, index) in enumerate([(large, 8), (small, 0), (large, 0), (small, 2)]):
        wanted = part.windows(np.array([index]))
        np.testing.assert_array_equal(images[row], wanted[0][0])
        np.testing.assert_array_equal(masks[row], wanted[1][0])


def test_parts_of_different_canvas_are_refused(drawn_windows):
    with pytest.raises(ValueError, match=r"\[96, 168\]"):
        Pool([drawn_windows(canvas=96), drawn_windows(canvas=168)])


def test_a_margin_too_small_for_the_augmentation_is_refused(drawn_windows, a_recipe):
    with pytest.raises(ValueError, match="looks 240 pixels wide, the windows have 168"):
        Loader(drawn_windows(), a_recipe(augmentation=Augmentation(scale_jitter=2, shift=12).model_dump()))


def test_a_batch_that_cannot_be_shared_out_is_refused(drawn_windows, a_recipe):
    with pytest.raises(ValueError, match="batch_size 4 cannot be shared by 3 processes"):
        Loader(drawn_windows(), a_recipe(), world=3)


def test_no_windows_at_all_are_refused(drawn_windows, a_recipe):
    with pytest.raises(ValueError, match="no windows to train on"):
        Loader(drawn_windows(count=0), a_recipe())


def test_a_batch_carries_the_answers_to_its_own_windows(drawn_windows, drawn_answers, a_recipe):
    data, recipe = drawn_windows(), a_recipe()
    batch = make_batch(data, recipe, np.arange(10, 14), drawn_answers(data))
    chosen = windows_of(np.arange(10, 14), seed=recipe.seed, count=len(data))
    assert batch.answers.logits.shape == (4, 1, 96, 96)
    assert batch.answers.logits.dtype == torch.float32
    np.testing.assert_array_equal(batch.answers.quality, drawn_answers(data).answers(chosen)[1])
    # The teacher knows the truth: warped alike, its middle level is the mask's edge.
    agreement = ((batch.answers.logits > 0) == batch.masks.bool()).float().mean().item()
    assert agreement > 0.999


def test_answers_change_nothing_else_in_a_batch(drawn_windows, drawn_answers, a_recipe):
    data, recipe = drawn_windows(), a_recipe()
    without, taught = (make_batch(data, recipe, np.arange(4), answers) for answers in (None, drawn_answers(data)))
    assert without.answers is None
    torch.testing.assert_close(taught.images, without.images, rtol=0, atol=0)
    torch.testing.assert_close(taught.masks, without.masks, rtol=0, atol=0)


class Broken:
    """Answers of which one holds a number that is none, and one has no quality."""

    def __init__(self, answers, at):
        self.good, self.at = answers, at

    def __len__(self):
        return len(self.good)

    def answers(self, indices):
        logits, quality = self.good.answers(indices)
        logits[np.isin(indices, self.at[:1]), 80, 80] = np.nan
        quality[np.isin(indices, self.at[1:])] = np.nan
        return logits, quality


def test_an_answer_that_is_no_number_counts_as_none(drawn_windows, drawn_answers, a_recipe):
    data, recipe, numbers = drawn_windows(), a_recipe(), np.arange(4)
    chosen = windows_of(numbers, seed=recipe.seed, count=len(data))
    batch = make_batch(data, recipe, numbers, Broken(drawn_answers(data), chosen[[1, 2]]))
    assert batch.answers.quality.isnan().tolist() == [False, True, True, False]
    assert batch.answers.logits.isfinite().all()
    assert not batch.answers.logits[1:3].any()


def test_a_pool_of_answers_follows_the_pool_of_windows(drawn_windows, drawn_answers):
    small, large = drawn_windows(count=3), drawn_windows(count=9)
    pool = AnswerPool([drawn_answers(small), drawn_answers(large)])
    logits, quality = pool.answers(np.array([11, 0, 3, 2]))
    assert (len(pool), logits.dtype) == (12, np.float16)
    for row, (part, index) in enumerate([(large, 8), (small, 0), (large, 0), (small, 2)]):
        wanted = drawn_answers(part).answers(np.array([index]))
        np.testing.assert_array_equal(logits[row], wanted[0][0])
        assert quality[row] == wanted[1][0]


def test_answers_to_other_windows_are_refused(drawn_windows, drawn_answers, a_recipe):
    with pytest.raises(ValueError, match="answered 5 windows, there are 12"):
        Loader(drawn_windows(), a_recipe(), answers=drawn_answers(drawn_windows(count=5)))
