import pytest
from pydantic import ValidationError

from shared.contracts.training import Recipe, TrainingSpec


def a_spec(**overrides: object) -> TrainingSpec:
    data = {"train": [{"dataset": "d", "split": "train"}], "validation": {"dataset": "d", "split": "val"}}
    return TrainingSpec.model_validate(data | overrides)


def test_validation_must_be_held_out():
    with pytest.raises(ValidationError, match="d/train is also in train; choose a held-out split"):
        a_spec(validation={"dataset": "d", "split": "train"})


def test_a_batch_must_be_shared_out_evenly():
    a_spec(recipe={"batch_size": 12}, compute={"processes": 3})
    with pytest.raises(ValidationError, match=r"batch_size 16 cannot be shared by 3 processes; choose a multiple"):
        a_spec(recipe={"batch_size": 16}, compute={"processes": 3})


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (16, 1), (17, 2), (24_000, 1500)])
def test_a_partial_batch_is_a_whole_step(samples, steps):
    assert Recipe(samples=samples, batch_size=16).steps == steps


def test_an_unknown_knob_is_refused_by_name():
    with pytest.raises(ValidationError, match="learning_rat"):
        a_spec(recipe={"learning_rat": 0.1})
