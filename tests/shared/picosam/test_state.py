from itertools import pairwise

import pytest

from shared.picosam.state import Best, chosen_weights, learning_rate, new_state


def test_the_rate_warms_up_then_follows_half_a_cosine(a_recipe):
    recipe = a_recipe(samples=400, batch_size=4, learning_rate=0.1, warmup=0.1, final_learning_rate=0.01)
    rates = [learning_rate(step, recipe) for step in range(recipe.steps)]
    assert rates[:10] == pytest.approx([0.01 * step for step in range(1, 11)])
    assert rates[10] == pytest.approx(0.1)
    assert rates[55] == pytest.approx((0.1 + 0.001) / 2)  # half way down
    assert rates[-1] == pytest.approx(0.001, abs=5e-5)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_a_run_of_one_step_has_a_rate(a_recipe):
    assert learning_rate(0, a_recipe(samples=1, warmup=0, learning_rate=0.1)) == pytest.approx(0.1)


def test_biases_and_batchnorm_scales_are_not_decayed(a_recipe, one_thread):
    state = new_state(a_recipe(weight_decay=0.3), one_thread)
    decayed, free = state.optimizer.param_groups
    assert decayed["weight_decay"] == 0.3
    assert free["weight_decay"] == 0
    assert all(parameter.ndim == 4 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in free["params"])


def test_the_seed_decides_the_first_weights(a_recipe, one_thread):
    first, again, other = (new_state(a_recipe(seed=seed), one_thread).model.output_head.weight for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_with_early_stopping_the_best_average_is_published_else_the_last(a_recipe, one_thread):
    patient, plain = a_recipe(early_stop_patience=3), a_recipe()
    state = new_state(patient, one_thread)
    state.best = Best(score=0.4, step=3, weights={"marked": state.model.output_head.bias})
    assert set(chosen_weights(state, patient)) == {"marked"}
    assert set(chosen_weights(state, plain)) == set(state.ema.model.state_dict())
