"""What an inference service says, for tests of who asks it."""

import base64
import io
import json
from typing import Any

from PIL import Image, ImageDraw

from shared.contracts.deployments import DeploymentOut
from shared.contracts.segmentation import SegmentOut

AT = "2026-01-01T00:00:00Z"
WINDOW = {"x0": 10, "y0": 10, "x1": 106, "y1": 106, "border": "pad", "clipped": False}
TIMINGS = {"queue": 0.5, "decode": 2, "window": 1, "run": 8, "encode": 2.5}


def png_of(size: tuple[int, int], box: tuple[int, int, int, int]) -> str:
    """A mask that is a filled box (corners included)."""
    image = Image.new("1", size)
    ImageDraw.Draw(image).rectangle(box, fill=1)
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def an_object(number: int = 0, *, size: tuple[int, int] = (160, 120), **changes: Any) -> dict[str, Any]:
    mask = {"format": "png", "size": [size[1], size[0]], "png": png_of(size, (20, 30, 59, 79))}
    fields = {"mask": mask, "area": 2000, "box": [20, 30, 60, 80], "confidence": 0.8, "calibrated": True, "window": WINDOW}
    return {"id": str(number), **fields} | changes


def a_segmentation(*objects: dict[str, Any], size: tuple[int, int] = (160, 120), **changes: Any) -> str:
    fields = {"deployment": "default", "generation": 3, "model": "picosam2/2", "engine": "onnxruntime", "timings_ms": TIMINGS}
    image = {"width": size[0], "height": size[1], "format": "JPEG"}
    found = list(objects) or [an_object(size=size)]
    return SegmentOut.model_validate(fields | {"image": image, "objects": found} | changes).model_dump_json()


def a_replica(**changes: Any) -> dict[str, Any]:
    return {"replica": "here", "state": "ready", "generation": 1, "seen_at": AT} | changes


def a_deployment(name: str = "default", **changes: Any) -> str:
    fields: dict[str, Any] = {
        "name": name,
        "generation": 1,
        "spec": {"versions": [{"model": "picosam2/2"}]},
        "versions": [{"model": "picosam2/2", "asked": "picosam2/2", "percent": 100}],
        "created_at": AT,
        "updated_at": AT,
        "updated_by": "ada",
        "reason": "put",
        "replicas": [a_replica()],
        "ready": True,
    }
    return DeploymentOut.model_validate(fields | changes).model_dump_json()


def a_page(*items: str) -> str:
    return json.dumps({"items": [json.loads(item) for item in items], "next_cursor": None})


def a_problem(status: int, detail: str, **members: Any) -> str:
    return json.dumps({"type": "/problems/x", "title": "x", "status": status, "detail": detail} | members)
