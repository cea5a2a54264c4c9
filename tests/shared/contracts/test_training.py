from typing import get_args

import pytest
from pydantic import ValidationError

from shared.contracts.imports import ModelImportSpec
from shared.contracts.training import Architecture, Recipe, TrainingSpec
from shared.picosam.model import ARCHITECTURES


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


def test_recipes_can_name_exactly_the_architectures_there_are():
    assert set(get_args(Architecture)) == set(ARCHITECTURES)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_model_is_registered_under_its_architectures_name_unless_told_otherwise(architecture):
    recipe = {"architecture": architecture}
    assert a_spec(recipe=recipe).register_as == architecture
    assert a_spec(recipe=recipe, register_as="mine").register_as == "mine"
    assert a_spec(recipe=recipe, register_as=None).register_as is None
    imported = {"blob": "sha256:" + "0" * 64, "format": "onnx", "architecture": architecture}
    assert ModelImportSpec.model_validate(imported).register_as == architecture


def test_a_bad_recipe_is_named_and_nothing_else_is():
    with pytest.raises(ValidationError) as refused:
        a_spec(recipe={"architecture": "picosam9"})
    assert [error["loc"] for error in refused.value.errors()] == [("recipe", "architecture")]
