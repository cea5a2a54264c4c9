"""Values of a sweep's fields."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.sweeps.values import NoSuchPlace, combination, extremes, put_in, total
from shared.contracts.pipelines import GridSearch, OptunaSearch

FIELDS = st.dictionaries(
    st.sampled_from(["a", "b.c", "d", "e.0"]), st.lists(st.integers(), min_size=1, max_size=4), min_size=1, max_size=3
)


@given(FIELDS)
def test_a_grid_has_every_combination_once(fields):
    search = GridSearch(fields=fields)
    made = [combination(search, number) for number in range(total(search))]
    names = sorted(fields)
    assert made == [dict(zip(names, values, strict=True)) for values in itertools.product(*(fields[name] for name in names))]


@given(FIELDS)
def test_the_order_of_the_fields_does_not_matter(fields):
    search, other = GridSearch(fields=fields), GridSearch(fields=dict(reversed(fields.items())))
    assert all(combination(search, number) == combination(other, number) for number in range(total(search)))


def test_extremes_have_each_value_once():
    search = OptunaSearch.model_validate({"fields": {"lr": {"low": 1, "high": 3}, "seed": {"choices": [7, 8, 9]}}})
    assert list(extremes(search)) == [
        {"lr": 1, "seed": 7},
        {"lr": 3, "seed": 7},
        {"lr": 1, "seed": 8},
        {"lr": 1, "seed": 9},
    ]


def test_values_are_put_in_and_the_spec_is_not_changed():
    spec = {"train": [{"dataset": "a"}, {"dataset": "b"}], "recipe": {"seed": 1}}
    filled = put_in(spec, {"train.1.dataset": "c", "recipe.augmentation.flip": 0.5})
    assert filled == {
        "train": [{"dataset": "a"}, {"dataset": "c"}],
        "recipe": {"seed": 1, "augmentation": {"flip": 0.5}},
    }
    assert spec == {"train": [{"dataset": "a"}, {"dataset": "b"}], "recipe": {"seed": 1}}


@pytest.mark.parametrize("path", ["train.2.dataset", "train.x", "recipe.seed.more"])
def test_a_path_through_something_else_is_refused(path):
    with pytest.raises(NoSuchPlace, match=path.split(".")[0]):
        put_in({"train": [1, 2], "recipe": {"seed": 1}}, {path: 5})
