"""gRPC's messages: numbers arrive as they were, in either form, and what is no request is refused."""

import subprocess
import sys

import numpy as np
import pytest
import tritonclient.grpc
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import service_pb2 as pb

from services.inference.oip.grpc_messages import decode, encode
from services.inference.oip.messages import InferRequest
from services.inference.oip.tensors import to_inputs
from shared.kit.problems import Problem

SIDE = 16
"""Of the windows here: nothing depends on it."""

FINITE = st.floats(-1e6, 1e6, width=32)
SHARED = {"shared_memory_region": pb.InferParameter(string_param="mine")}
CLASSES = {"classification": pb.InferParameter(int64_param=3)}
ONE = np.zeros((1, 3, SIDE, SIDE), np.float32)


def a_message(*inputs, raw=(), outputs=()):
    """A request; inputs and outputs by their members."""
    tensors = [pb.ModelInferRequest.InferInputTensor(**given) for given in inputs]
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(**given) for given in outputs]
    return pb.ModelInferRequest(model_name="street", inputs=tensors, outputs=wanted, raw_input_contents=raw)


def an_input(values, **changes):
    return {"name": "window", "datatype": "FP32", "shape": values.shape} | changes


def typed(values, **changes):
    return an_input(values, contents=pb.InferTensorContents(fp32_contents=values.ravel()), **changes)


def inputs_of(message):
    return to_inputs(decode(message).tensors, SIDE)


@given(values=arrays.arrays(np.float32, (2, 3, SIDE, SIDE), elements=FINITE, fill=FINITE))
def test_numbers_arrive_as_they_were_raw_or_typed(values):
    assert np.array_equal(inputs_of(a_message(an_input(values), raw=[values.tobytes()])), values)
    assert np.array_equal(inputs_of(a_message(typed(values))), values)


@given(logits=arrays.arrays(np.float32, (2, SIDE, SIDE), elements=FINITE, fill=FINITE), name=st.text())
def test_tritons_client_reads_what_the_network_said(logits, name):
    answer = encode(InferRequest(id=name, tensors=(), binary=True), model="street", version="3", logits=logits)
    found = tritonclient.grpc.InferResult(pb.ModelInferResponse.FromString(answer.SerializeToString()))
    assert np.array_equal(found.as_numpy("logits")[:, 0], logits)
    assert (found.get_response().id, found.get_response().model_version) == (name, "3")


def test_typed_pixels_are_bytes():
    def pixels(number):
        numbers = [number] * (SIDE * SIDE * 3)
        contents = pb.InferTensorContents(uint_contents=numbers)
        return a_message({"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "contents": contents})

    assert inputs_of(pixels(255)).max() == 255 / 256
    with pytest.raises(Problem, match="does not hold"):
        inputs_of(pixels(256))


@pytest.mark.parametrize(
    "wrong",
    [
        a_message(),
        a_message(an_input(ONE)),
        a_message(an_input(ONE, datatype="FP64")),
        a_message(an_input(ONE, shape=[-1, 3, SIDE, SIDE]), raw=[ONE.tobytes()]),
        a_message(an_input(ONE, shape=[2**62, 3, SIDE, SIDE]), raw=[ONE.tobytes()]),
        a_message(an_input(ONE, shape=[10_000, 3, SIDE, SIDE]), raw=[ONE.tobytes()]),
        a_message(an_input(ONE), raw=[ONE.tobytes()[1:]]),
        a_message(an_input(ONE), raw=[ONE.tobytes(), b""]),
        a_message(typed(ONE), raw=[ONE.tobytes()]),
        a_message(an_input(ONE), an_input(ONE), raw=[ONE.tobytes()] * 2),
        a_message(an_input(ONE, parameters=SHARED)),
        a_message(an_input(np.full_like(ONE, np.nan)), raw=[np.full_like(ONE, np.nan).tobytes()]),
        a_message(typed(ONE), outputs=[{"name": "mask"}]),
        a_message(typed(ONE), outputs=[{"name": "logits"}] * 2),
        a_message(typed(ONE), outputs=[{"name": "logits", "parameters": CLASSES}]),
    ],
)
def test_what_is_no_request_is_refused(wrong):
    with pytest.raises(Problem) as refusal:
        inputs_of(wrong)
    assert refusal.value.status == 400


@given(st.binary())
def test_of_random_bytes_comes_a_refusal(content):
    with pytest.raises((Problem, DecodeError)):
        inputs_of(pb.ModelInferRequest.FromString(content))


def test_who_wants_no_grpc_does_not_wait_for_its_import():
    script = "import sys, services.inference.app; sys.exit(sorted({'grpc', 'tritonclient'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", script], check=True)
