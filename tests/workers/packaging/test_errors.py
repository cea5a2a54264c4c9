"""What a user is told when something is wrong with a network."""

import json
from pathlib import Path

import pytest

from shared.kit.toolchain.errors import JavaMissing, ToolchainBusy, ToolchainMissing
from workers.packaging import errors

GOLDEN = Path(__file__).parent / "golden"
MIB = 1024**2


@pytest.mark.parametrize(
    ("side", "required", "advice"),
    [
        (192, 10.38, "160x160 instead of 192x192"),  # which takes 7.60 MB: converted to see
        (320, 26.57, "160x160 instead of 320x320"),
        (96, 9.0, "80x80 instead of 96x96"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(side, required, advice):
    failed = errors.does_not_fit(8 * MIB, round(required * MIB), (1, 3, side, side))
    assert failed.error.type == "does_not_fit"
    assert f"{required:.2f} MB" in failed.error.message
    assert "8.00 MB" in failed.error.message
    assert advice in failed.error.hint
    assert "channels" in failed.error.hint


@pytest.mark.parametrize("shape", [(), (1, 10), (1, 3, 0, 0), (1, 3, 16, 16)])
def test_where_no_input_would_fit_the_channels_are_left(shape):
    hint = errors.does_not_fit(8 * MIB, 100 * MIB, shape).error.hint
    assert "instead of" not in hint
    assert "8% of the channels" in hint


def test_sizes_are_found_in_the_converters_message():
    message = "ConvFe error (ISM) on 'wide': Not enough memory, available: 8.00MB , required: 12.85MB"
    assert errors.sizes_in(message) == ("8.00MB", "12.85MB")
    assert errors.sizes_in("Not enough memory") is None


def test_a_form_of_an_operator_that_is_refused_is_told_with_node_and_reason():
    last = (GOLDEN / "restricted.log").read_text().splitlines()[-1]
    told = errors.faults_in(json.loads(last)["message"])
    assert told == [errors.Fault("Resize", "/Resize", "mode cubic (Supported values: ['linear', 'nearest'])")]
    assert errors.faults_in("something else") == []


def test_bit_widths_that_are_refused_are_told_once_for_each_node():
    messages = [json.loads(line)["message"] for line in (GOLDEN / "bits.log").read_text().splitlines() if line[0] == "{"]
    assert errors.bits_in(message.removeprefix("CODE: [GE] ") for message in messages) == [
        errors.Fault("Conv", "/a/layer/Conv", "16 bits"),
        errors.Fault("Conv", "/b/layer/Conv", "16 bits"),
        errors.Fault("Add", "/Add", "16 bits"),
    ]
    assert errors.bits_in(["Not enough memory"]) == []


@pytest.mark.parametrize(
    ("exc", "kind"), [(ToolchainMissing, "toolchain_missing"), (JavaMissing, "java_missing"), (ToolchainBusy, "toolchain_busy")]
)
def test_troubles_of_the_toolchain_keep_their_words(exc, kind):
    error = errors.toolchain_failed(exc("gone", hint="install it")).error
    assert (error.type, error.message, error.hint) == (kind, "gone", "install it")
