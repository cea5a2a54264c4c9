from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.datasets import SplitRule
from shared.picosam.data.splits import split_names, split_of


def a_rule(**overrides):
    return SplitRule(**({"fractions": {"train": 0.8, "val": 0.2}} | overrides))


shares = st.lists(st.integers(1, 20), min_size=1, max_size=6).map(
    lambda parts: {f"s{number}": part / sum(parts) for number, part in enumerate(parts)}
)


@given(fractions=shares, seed=st.integers(0, 2**32 - 1), images=st.sets(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_every_image_is_in_exactly_one_split_whatever_the_order_of_names(fractions, seed, images):
    rule = a_rule(fractions=fractions, seed=seed)
    turned = a_rule(fractions=dict(reversed(fractions.items())), seed=seed)
    for image in images:
        assert split_of(rule, image) in fractions
        assert split_of(rule, image) == split_of(turned, image)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_shares_are_met(seed):
    counts = Counter(split_of(a_rule(seed=seed), image) for image in range(2000))
    assert abs(counts["train"] / 2000 - 0.8) < 0.06


def test_splits_stay_as_they_are_between_versions():
    """Stored values: other splits would let old validation images into new training."""
    assert "".join(split_of(a_rule(seed=7), image)[0] for image in range(24)) == "vvtttvvttvtttvtvtttttttt"


def test_another_seed_gives_another_split():
    first, second = ([split_of(a_rule(seed=seed), image) for image in range(100)] for seed in (1, 2))
    assert first != second


def test_names_of_the_splits_that_come_out():
    assert split_names(["all", "test"], a_rule()) == ["test", "train", "val"]
    assert split_names(["train"], None) == ["train"]


@pytest.mark.parametrize(("given_splits", "said"), [(["other"], "'all'"), (["all", "val"], "makes val")])
def test_a_rule_that_does_not_fit_is_refused(given_splits, said):
    with pytest.raises(ValueError, match=said):
        split_names(given_splits, a_rule())
