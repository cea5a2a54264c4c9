"""Inference requests and answers as gRPC has them."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

from services.inference.engine.runners import Logits
from services.inference.oip.messages import InferRequest
from services.inference.oip.tensors import LOGITS, BadTensor, Tensor
from shared.kit.problems import BadRequest

_CONTENTS: Final = {"FP32": ("fp32_contents", "<f4"), "UINT8": ("uint_contents", "u1")}
"""The field and numpy's type of a datatype's numbers."""


def decode(message: Any) -> InferRequest:
    """A request of a ModelInferRequest. BadRequest says what is wrong."""
    _check_outputs(message.outputs)
    raw: Sequence[bytes] = message.raw_input_contents
    if raw and (len(raw) != len(message.inputs) or any(given.HasField("contents") for given in message.inputs)):
        raise BadTensor(f"{len(message.inputs)} inputs have {len(raw)} raw_input_contents; contents may not be beside.")
    contents = raw or [_typed(given) for given in message.inputs]
    tensors = tuple(_tensor(given, content) for given, content in zip(message.inputs, contents, strict=True))
    return InferRequest(id=message.id, tensors=tensors, binary=True)


def encode(request: InferRequest, *, model: str, version: str, logits: Logits) -> Any:
    """The ModelInferResponse with logits float32 [N, S, S], as raw output."""
    count, height, width = logits.shape
    output = service_pb2.ModelInferResponse.InferOutputTensor(name=LOGITS, datatype="FP32", shape=[count, 1, height, width])
    return service_pb2.ModelInferResponse(
        model_name=model,
        model_version=version,
        id=request.id,
        outputs=[output],
        raw_output_contents=[logits.astype("<f4", copy=False).tobytes()],
    )


def _tensor(given: Any, content: bytes) -> Tensor:
    if "shared_memory_region" in given.parameters:
        raise BadTensor("Shared memory is not offered.")
    return Tensor(name=given.name, datatype=given.datatype, shape=tuple(given.shape), content=content)


def _typed(given: Any) -> bytes:
    field, dtype = _CONTENTS.get(given.datatype, (None, None))
    if field is None:
        return b""
    try:
        return np.fromiter(getattr(given.contents, field), dtype).tobytes()
    except OverflowError as exc:
        raise BadTensor(f"{field} has numbers that {given.datatype} does not hold.") from exc


def _check_outputs(outputs: Sequence[Any]) -> None:
    if [output.name for output in outputs] not in ([], [LOGITS]):
        raise BadRequest(f"The only output is {LOGITS}; it may be asked for once.")
    if any(name in output.parameters for output in outputs for name in ("classification", "shared_memory_region")):
        raise BadRequest("Classification and shared memory are not offered.")
