"""The bytes of HTTP messages: what is encoded is decoded again, and nothing else than a refusal comes of nonsense."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.inference.oip.messages import InferRequest, decode, encode
from services.inference.oip.tensors import Tensor, to_inputs
from shared.kit.problems import Problem

SIDE = 16
"""Of the windows here: nothing depends on it."""

FINITE = st.floats(-1e6, 1e6, width=32)
COUNTS = st.integers(1, 3)


def floats(shape):
    return arrays.arrays(np.float32, shape, elements=FINITE, fill=FINITE)


windows = COUNTS.flatmap(lambda count: floats((count, 3, SIDE, SIDE)))
logits_of = COUNTS.flatmap(lambda count: floats((count, SIDE, SIDE)))


def an_input(values, **changes):
    return {"name": "window", "datatype": "FP32", "shape": list(values.shape)} | changes


def a_body(*inputs, behind=b"", **members):
    """A body and the length of its JSON."""
    head = json.dumps({"inputs": list(inputs)} | members).encode()
    return head + behind, str(len(head))


def inputs_of(body, length=None):
    return to_inputs(decode(body, length).tensors, SIDE)


@given(values=windows, padding=st.integers(0, 7))
def test_binary_tensors_arrive_as_they_were_wherever_they_begin(values, padding):
    tensor = an_input(values, parameters={"binary_data_size": values.nbytes})
    found = inputs_of(*a_body(tensor, behind=values.tobytes(), id="x" * padding))
    assert np.array_equal(found, values)
    assert found.flags.aligned


@given(values=windows, nested=st.booleans())
def test_json_tensors_arrive_as_they_were_nested_or_flat(values, nested):
    listed = values.tolist() if nested else values.ravel().tolist()
    assert np.array_equal(inputs_of(a_body(an_input(values, data=listed))[0]), values)


@given(logits=logits_of, binary=st.booleans(), name=st.none() | st.text())
def test_answers_say_what_the_network_said(logits, binary, name):
    answer = encode(InferRequest(id=name, tensors=(), binary=binary), model="street", version="3", logits=logits)
    head = json.loads(answer.body[: answer.json_bytes])
    (output,) = head.pop("outputs")
    assert head == {"model_name": "street", "model_version": "3"} | ({} if name is None else {"id": name})
    values = np.frombuffer(answer.body[answer.json_bytes :], "<f4") if binary else np.array(output["data"], np.float32)
    assert np.array_equal(values.reshape(output["shape"])[:, 0], logits)
    if binary:
        assert output["parameters"] == {"binary_data_size": logits.nbytes}
        assert answer.headers["Inference-Header-Content-Length"] == str(answer.json_bytes)


ONE = np.zeros((1, 3, SIDE, SIDE), np.float32)
NUMBERS = [0.0] * ONE.size
RAW = {"parameters": {"binary_data_size": ONE.nbytes}}


@pytest.mark.parametrize(
    "wrong",
    [
        a_body(an_input(ONE, data=[])),
        a_body(an_input(ONE)),
        a_body(an_input(ONE, data=NUMBERS[1:])),
        a_body(an_input(ONE, data=[[number] for number in NUMBERS])),
        a_body(an_input(ONE, data=[*NUMBERS[1:], "1"])),
        a_body(an_input(ONE, data=[*NUMBERS[1:], None])),
        a_body(an_input(ONE, data=[*NUMBERS[1:], True])),
        a_body(an_input(ONE, data=[*NUMBERS[1:], [1]])),
        a_body(an_input(ONE, data=[*NUMBERS[1:], 1e300])),
        a_body(an_input(ONE, data=[*NUMBERS[1:], 10**400])),
        a_body(an_input(ONE, data=NUMBERS, shape=[1, 3, SIDE, -SIDE])),
        a_body(an_input(ONE, data=NUMBERS, shape=[2**62, 3, SIDE, SIDE])),
        a_body(an_input(ONE, data=NUMBERS, shape=[10_000, 3, SIDE, SIDE])),
        a_body(an_input(ONE, data=NUMBERS, shape=[0, 3, SIDE, SIDE])),
        a_body(an_input(ONE, data=NUMBERS, shape=[True, 3, SIDE, SIDE])),
        a_body(an_input(ONE, data=NUMBERS, shape=[1.0, 3, SIDE, SIDE])),
        a_body(an_input(ONE, data=NUMBERS, shape=[])),
        a_body(an_input(ONE, data=NUMBERS, shape=None)),
        a_body(an_input(ONE, data=NUMBERS, name=None)),
        a_body(an_input(ONE, data=NUMBERS, name=["window"])),
        a_body(an_input(ONE, data=NUMBERS, datatype="BYTES")),
        a_body(an_input(ONE, data=NUMBERS), an_input(ONE, data=NUMBERS)),
        a_body(),
        a_body(an_input(ONE, data=NUMBERS), outputs=[{"name": "mask"}]),
        a_body(an_input(ONE, data=NUMBERS), outputs=[{"name": "logits"}, {"name": "logits"}]),
        a_body(an_input(ONE, data=NUMBERS), outputs=[{"name": "logits", "parameters": {"classification": 3}}]),
        a_body(an_input(ONE, data=NUMBERS), outputs=["logits"]),
        a_body(an_input(ONE, data=NUMBERS), id=7),
        a_body(an_input(ONE, data=NUMBERS), parameters=[]),
        a_body(an_input(ONE, data=NUMBERS), behind=b"more"),
        a_body(an_input(ONE, data=NUMBERS, **RAW), behind=ONE.tobytes()),
        a_body(an_input(ONE, **RAW), behind=ONE.tobytes()[1:]),
        a_body(an_input(ONE, **RAW), behind=ONE.tobytes() + b"\0"),
        a_body(an_input(ONE, **RAW), an_input(ONE, **RAW), behind=ONE.tobytes()),
        a_body(an_input(ONE, parameters={"binary_data_size": -1}), behind=ONE.tobytes()),
        a_body(an_input(ONE, parameters={"binary_data_size": 1e3}), behind=ONE.tobytes()),
        a_body(an_input(ONE, parameters={"binary_data_size": 2**70}), behind=ONE.tobytes()),
        a_body(an_input(ONE, parameters={"shared_memory_region": "mine"})),
        a_body(an_input(ONE, **RAW), behind=np.full_like(ONE, np.inf).tobytes()),
        (b"", None),
        (b"[]", None),
        (b"nothing", None),
        (b"[" * 100_000, None),
        (b'{"inputs": [NaN]}', None),
        (b'{"inputs": [{"name": "window"', None),
        (b"\xff\xfe", None),
        *((b'{"inputs": []}', length) for length in ("", "-1", "15", "1e1", "0x2", "9" * 5000, "\xb2", "0", "5")),
    ],
)
def test_what_is_no_request_is_refused(wrong):
    with pytest.raises(Problem) as refusal:
        inputs_of(*wrong)
    assert refusal.value.status == 400
    assert len(refusal.value.detail) < 500


@pytest.mark.parametrize("number", [-1, 256, 1.5, "7", 2**70])
def test_pixels_are_bytes(number):
    shape = (1, SIDE, SIDE, 3)
    numbers = [0] * (SIDE * SIDE * 3 - 1)
    with pytest.raises(Problem, match="must be numbers"):
        to_inputs([Tensor(name="pixels", datatype="UINT8", shape=shape, content=[*numbers, number])], SIDE)
    found = to_inputs([Tensor(name="pixels", datatype="UINT8", shape=shape, content=[*numbers, 255])], SIDE)
    assert found.shape == (1, 3, SIDE, SIDE)
    assert found.max() == 255 / 256


def test_json_of_many_megabytes_is_refused_before_it_is_read():
    with pytest.raises(Problem, match="send large tensors as binary data") as refusal:
        decode(b" " * (16 << 20) + b"{}", None)
    assert refusal.value.status == 413


def test_a_long_text_among_numbers_takes_no_room_in_the_others_places():
    data = [*NUMBERS[1:], "x" * 1_000_000]
    with pytest.raises(Problem, match="must be numbers"):
        to_inputs([Tensor(name="window", datatype="FP32", shape=ONE.shape, content=data)], SIDE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
MEMBERS = st.sampled_from(["name", "datatype", "shape", "data", "parameters"])


@given(tensor=st.dictionaries(MEMBERS, JSON), members=st.dictionaries(st.sampled_from(["id", "parameters", "outputs"]), JSON))
def test_messages_of_the_right_members_and_wrong_values_are_refused(tensor, members):
    with pytest.raises(Problem):
        inputs_of(*a_body(tensor, **members))


@given(body=st.binary(), length=st.none() | st.text(max_size=4))
@example(body=b"{}", length="2")
def test_of_random_bytes_comes_a_refusal(body, length):
    with pytest.raises(Problem):
        inputs_of(body, length)
