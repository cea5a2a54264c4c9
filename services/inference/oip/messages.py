"""Inference requests and answers as HTTP has them: JSON, with tensors in it or, as the binary extension says, behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from services.inference.engine.runners import Logits
from services.inference.oip.tensors import LOGITS, BadTensor, Tensor
from shared.kit.problems import BadRequest, InvalidJson, PayloadTooLarge

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
MOST_JSON_BYTES: Final = 16 << 20
"""Numbers in JSON take thirty times their size in memory while they are read; binary tensors take none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """What is asked for; the tensors still unchecked."""

    id: str | None
    tensors: tuple[Tensor, ...]
    binary: bool
    """Whether the logits are wanted as binary data."""


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """A body; ``json_bytes`` of it are JSON, None if all are."""

    body: bytes
    json_bytes: int | None

    @property
    def headers(self) -> dict[str, str]:
        """That go with it."""
        if self.json_bytes is None:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(self.json_bytes)}


def decode(body: bytes, header_length: str | None) -> InferRequest:
    """A request from its body and its Inference-Header-Content-Length. BadRequest says what is wrong."""
    end = _json_end(body, header_length)
    message = parse(body[:end])
    parameters = member(message, "parameters", dict, {})
    return InferRequest(
        id=member(message, "id", str, None),
        tensors=_tensors(member(message, "inputs", list, []), memoryview(body)[end:]),
        binary=_binary(member(message, "outputs", list, []), member(parameters, "binary_data_output", bool, False)),
    )


def encode(request: InferRequest, *, model: str, version: str, logits: Logits) -> InferAnswer:
    """The answer with logits float32 [N, S, S]."""
    count, height, width = logits.shape
    output: dict[str, Any] = {"name": LOGITS, "datatype": "FP32", "shape": [count, 1, height, width]}
    output |= {"parameters": {"binary_data_size": logits.nbytes}} if request.binary else {"data": logits.ravel().tolist()}
    echoed = {} if request.id is None else {"id": request.id}
    head = to_json({"model_name": model, "model_version": version} | echoed | {"outputs": [output]})
    if not request.binary:
        return InferAnswer(head, None)
    return InferAnswer(b"".join((head, logits.astype("<f4", "C", copy=False).data)), len(head))


def _json_end(body: bytes, header_length: str | None) -> int:
    end = len(body)
    if header_length is not None:
        known = header_length.isascii() and header_length.isdecimal()
        if not known or int(header_length[:20]) > len(body):
            raise BadRequest(f"{HEADER_LENGTH} must be a number from 0 to the body's length, {len(body)}.")
        end = int(header_length[:20])
    return end


def parse(text: bytes) -> dict[str, Any]:
    """A JSON object. PayloadTooLarge, InvalidJson, BadRequest."""
    if len(text) > MOST_JSON_BYTES:
        raise PayloadTooLarge(
            f"The request's JSON has {len(text)} bytes and may have {MOST_JSON_BYTES}; send large tensors as binary data."
        )
    try:
        message = from_json(text, allow_inf_nan=False)
    except ValueError as exc:
        raise InvalidJson(f"The request's JSON is not valid: {exc}.") from exc
    if not isinstance(message, dict):
        raise BadRequest("The request's JSON is no object.")
    return message


def member(owner: dict[str, Any], name: str, kind: type[Any], default: Any) -> Any:
    """A member of an object, BadRequest if it is of another type; null is as good as none."""
    value = owner.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise BadRequest(f"{name} must be {_KINDS[kind]}.")
    return value


_KINDS: Final = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}


def _tensors(inputs: Sequence[Any], behind: memoryview) -> tuple[Tensor, ...]:
    tensors, begin = [], 0
    for given in _objects("inputs", inputs):
        size = _binary_size(given)
        if size is None:
            content: memoryview | list[Any] = member(given, "data", list, None) or []
        elif given.get("data") is not None or size > len(behind) - begin:
            raise BadTensor(
                f"An input has binary_data_size {size}; it must have no data beside, and {len(behind) - begin} bytes are left."
            )
        else:
            content, begin = behind[begin : begin + size], begin + size
        tensors.append(_tensor(given, content))
    if begin != len(behind):
        raise BadTensor(f"{len(behind)} bytes follow the JSON; its inputs speak of {begin}.")
    return tuple(tensors)


def _tensor(given: dict[str, Any], content: memoryview | list[Any]) -> Tensor:
    shape = member(given, "shape", list, [])
    if not all(type(size) is int for size in shape):
        raise BadTensor("shape must be a list of whole numbers.")
    name, datatype = member(given, "name", str, ""), member(given, "datatype", str, "")
    return Tensor(name=name, datatype=datatype, shape=tuple(shape), content=content)


def _binary_size(given: dict[str, Any]) -> int | None:
    size = member(given, "parameters", dict, {}).get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise BadTensor("binary_data_size must be a whole number, 0 or more.")
    return size


def _binary(outputs: Sequence[Any], default: bool) -> bool:
    """Whether the only output there is shall be binary. BadRequest if others are asked for."""
    names = [given.get("name") for given in _objects("outputs", outputs)]
    if names not in ([], [LOGITS]):
        raise BadRequest(f"The only output is {LOGITS}; it may be asked for once.")
    parameters = member(outputs[0], "parameters", dict, {}) if outputs else {}
    # Whoever asks for these reads the answer otherwise: leaving them out would be no answer to the question.
    if parameters.keys() & {"classification", "shared_memory_region"}:
        raise BadRequest("Classification and shared memory are not offered.")
    wanted: bool = member(parameters, "binary_data", bool, default)
    return wanted


def _objects(name: str, values: Sequence[Any]) -> Sequence[dict[str, Any]]:
    if not all(isinstance(value, dict) for value in values):
        raise BadRequest(f"{name} must be a list of objects.")
    return values
