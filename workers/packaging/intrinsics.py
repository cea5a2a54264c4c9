"""What the camera is told of the network: task, labels, input, and how a prompt becomes the sensor's region of interest."""

import json
from typing import Final

from shared.contracts.packages import Classes, InputFormat, NetworkIntrinsics, RoiPolicy
from shared.contracts.packaging import PackagingSpec
from shared.contracts.windows import Border, WindowPolicy
from shared.kit.rpk.intrinsics import check_intrinsics
from shared.picosam.prompt import INPUT_SCALE
from shared.picosam.weights import ModelConfig

COCO_WIDTH: Final = 640
"""Pixels of the images on which a window of a fixed side was trained: elsewhere the same share of the width is meant."""


def intrinsics_of(spec: PackagingSpec, config: ModelConfig) -> NetworkIntrinsics:
    """For network_intrinsics.json."""
    side = config.input_size
    shown = InputFormat(width=side, height=side, color_order=spec.input_format, scale=INPUT_SCALE)
    return NetworkIntrinsics(
        inference_rate=spec.inference_rate,
        classes=Classes(labels=spec.labels),
        picofleet=NetworkIntrinsics.Picofleet(input=shown, roi=spec.roi or roi_of(config.window)),
    )


def roi_of(window: WindowPolicy) -> RoiPolicy:
    """As the network was trained; at the border the region shrinks, since it cannot leave the sensor."""
    share = RoiPolicy().side_share if window.side is None else min(1.0, window.side / COCO_WIDTH)
    return RoiPolicy(prompt=window.prompt, side_share=share, box_margin=window.box_margin, border=Border.SHRINK)


def as_file(intrinsics: NetworkIntrinsics) -> bytes:
    """JSON, which picamera2 takes. RpkError if not."""
    document = intrinsics.model_dump(mode="json")
    check_intrinsics(document)
    return (json.dumps(document, indent=2) + "\n").encode()
