"""Lets torchvision be imported beside a torch that its compiled part was not built for. Import this first.

The package registries' torchvision is linked against CUDA's torch. Beside the CPU build of torch its library cannot be loaded,
and ``import torchvision`` ends with "operator torchvision::nms does not exist", because it registers a shape rule for an
operator that nobody declared. With it fall torchmetrics and sam2's predictor, which use none of the operators. So where the
library cannot be loaded, the operators are declared here; calling one still says that it is not implemented.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

_SCHEMAS: Final = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _declare_what_is_missing() -> "torch.library.Library | None":
    """The declarations, which last as long as the object; None where torchvision's own library can be loaded, or is absent."""
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        return None
    try:
        torch.ops.load_library(Path(package.origin).with_name("_C.so"))  # type: ignore[no-untyped-call]
    except OSError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch leaves it so
        for schema in _SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        return library
    return None


_LIBRARY: Final = _declare_what_is_missing()
