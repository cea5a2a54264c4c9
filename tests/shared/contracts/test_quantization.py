"""What a quantization may be asked for."""

import pytest
from pydantic import ValidationError

from shared.contracts.quantization import QuantizationSpec


def a_spec(**changes):
    body = {
        "model": "picosam2/2",
        "calibration": {"dataset": {"dataset": "coco", "split": "train"}},
        "validation": {"dataset": "coco", "split": "val"},
    }
    return QuantizationSpec.model_validate(body | changes)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "picosam2.imx500"),
        ({"platform": "cpu"}, "picosam2.int8"),
        ({"model": "mine@champion"}, "mine.imx500"),
        ({"register_as": "other"}, "other"),
        ({"register_as": None}, None),
    ],
)
def test_a_version_is_named_after_its_float_model(changes, name):
    assert a_spec(**changes).register_as == name


def test_the_name_of_a_long_name_is_still_a_name():
    assert len(a_spec(model=f"{'a' * 63}/1").register_as) <= 63


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"platform": "cpu", "method": "gptq"}, "platform cpu knows ptq only"),
        ({"imx500": {"weights_error": "hmse"}}, "works with method gptq only"),
        ({"validation": {"dataset": "coco", "split": "train"}}, "choose a held-out split"),
        ({"calibration": {"dataset": {"dataset": "coco", "split": "train"}, "samples": 3}}, "greater than or equal to 16"),
        ({"gates": {"max_miou_drop": -1}}, "greater than or equal to 0"),
        ({"imx500": {"mixed_precision": {}}}, "max_weights_bytes"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        a_spec(**changes)
