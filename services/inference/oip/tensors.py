"""From a request's tensors to the network's input: everything is checked before a number of it is used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.inference.engine.runners import Inputs, Logits
from shared.kit.problems import BadRequest
from shared.picosam.prompt import to_input

WINDOW: Final = "window"
PIXELS: Final = "pixels"
LOGITS: Final = "logits"
MOST_WINDOWS: Final = 256


class BadTensor(BadRequest):
    """A tensor is not what its name says, or cannot be read."""

    title = "Tensor cannot be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input as it came: nothing of it is checked but the types."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: bytes | memoryview | list[Any]
    """Little-endian bytes, or numbers, nested as the shape is or flat."""


@dataclass(frozen=True, slots=True)
class _Kind:
    datatype: str
    dtype: np.dtype[Any]
    numbers: frozenset[type]
    """That a list may hold."""
    window: Callable[[int], tuple[int, int, int]]
    """Shape of one window of a side."""


_KINDS: Final = {
    WINDOW: _Kind("FP32", np.dtype("<f4"), frozenset({int, float}), lambda side: (3, side, side)),
    PIXELS: _Kind("UINT8", np.dtype("u1"), frozenset({int}), lambda side: (side, side, 3)),
}


def to_inputs(tensors: Sequence[Tensor], side: int) -> Inputs:
    """The network's input, float32 [N, 3, side, side]. BadTensor says what is wrong."""
    if len(tensors) != 1:
        raise BadTensor(f"The request has {len(tensors)} inputs; expected is one, {WINDOW} or {PIXELS}.")
    tensor = tensors[0]
    kind = _KINDS.get(tensor.name)
    if kind is None:
        raise BadTensor(f"There is no input {_short(tensor.name)}; the inputs are {WINDOW} and {PIXELS}.")
    _check_form(tensor, kind, side)
    values = _read(tensor, kind).reshape(tensor.shape)
    return to_input(values) if tensor.name == PIXELS else _finite(values)


def check_logits(logits: Logits) -> Logits:
    """BadTensor if the input drove the network out of what floats can hold: JSON has no such numbers, and no mask has."""
    if not np.isfinite(logits).all():
        raise BadTensor(f"The network answers what is no number: the values of {WINDOW} are far from pixel/256.")
    return logits


def _check_form(tensor: Tensor, kind: _Kind, side: int) -> None:
    if tensor.datatype != kind.datatype:
        raise BadTensor(f"The input {tensor.name} has the datatype {_short(tensor.datatype)}; expected is {kind.datatype}.")
    window = kind.window(side)
    if tensor.shape[1:] != window or not 1 <= tensor.shape[0] <= MOST_WINDOWS:
        raise BadTensor(
            f"The input {tensor.name} has the shape {_short(list(tensor.shape))}; "
            f"expected is {[-1, *window]} with 1 to {MOST_WINDOWS} windows."
        )


def _read(tensor: Tensor, kind: _Kind) -> NDArray[Any]:
    if isinstance(tensor.content, list):
        return _of_list(tensor, tensor.content, kind)
    # The shape is checked, so the product is small.
    expected = int(np.prod(tensor.shape)) * kind.dtype.itemsize
    if len(tensor.content) != expected:
        raise BadTensor(
            f"The input {tensor.name} has {len(tensor.content)} bytes; "
            f"{kind.datatype} {list(tensor.shape)} takes {expected} bytes."
        )
    # Where a header of any length came before them, floats lie across their natural bounds: engines rely on those.
    return np.require(np.frombuffer(tensor.content, kind.dtype), requirements="A")


def _of_list(tensor: Tensor, content: list[Any], kind: _Kind) -> NDArray[Any]:
    # As objects first: left to guess, numpy makes room for the longest text of a list in all of its places.
    values = np.asarray(content, object)
    count = int(np.prod(tensor.shape))
    if values.shape not in ((count,), tensor.shape):
        raise BadTensor(
            f"The data of {tensor.name} has the shape {_short(list(values.shape))}; "
            f"expected are {count} numbers, flat or nested as {list(tensor.shape)}."
        )
    if not set(map(type, values.flat)) <= kind.numbers:
        raise BadTensor(f"The data of {tensor.name} must be numbers as {kind.datatype} has them.")
    if kind.datatype == "UINT8" and not (values.min() >= 0 and values.max() <= 255):
        raise BadTensor(f"The data of {tensor.name} must be numbers from 0 to 255.")
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused as such
            return values.astype(kind.dtype)
    except OverflowError as exc:
        raise BadTensor(f"The data of {tensor.name} has a number that no float can hold.") from exc


def _finite(values: NDArray[np.float32]) -> Inputs:
    if not np.isfinite(values).all():
        raise BadTensor(f"The input {WINDOW} has values that are no finite numbers.")
    return values


def _short(value: Any) -> str:
    """For messages: hostile values may be as long as a request."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
