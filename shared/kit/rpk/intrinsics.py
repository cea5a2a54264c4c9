"""What picamera2 takes for network intrinsics (its `NetworkIntrinsics`): whatever else stands there, it passes by."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.kit.rpk.errors import RpkError


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Cpu(_Part):
    bbox_normalization: bool | None = None
    bbox_order: Literal["xy", "yx"] | None = None
    softmax: bool | None = None
    post_processing: str | None = None


class _Ratio(_Part):
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class _Classes(_Part):
    labels: list[str] | None = None
    ignore_undefined: bool | None = None


class _Intrinsics(_Part):
    task: Literal["classification", "object detection", "pose estimation", "segmentation"] | None = None
    inference_rate: Annotated[float, Field(ge=0)] | None = None
    cpu: _Cpu | None = None
    input_aspect_ratio: _Ratio | None = None
    classes: _Classes | None = None


def check_intrinsics(intrinsics: Mapping[str, Any]) -> None:
    """RpkError, naming the field, for what picamera2 would refuse when the network is loaded."""
    try:
        _Intrinsics.model_validate(dict(intrinsics))
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in error["loc"])
        raise RpkError(f"intrinsics, {field}: {error['msg']}", hint="As picamera2's NetworkIntrinsics takes them.") from exc
