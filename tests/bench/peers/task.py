"""The task that all contenders are given, in the plain way: a JPEG and a point in, the PNG of a mask of the whole image out."""

import base64
import io

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

SIDE = 96
"""Of the window, in image pixels and in the network's cells."""


def open_network(path: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # twice as fast where other work is to be done
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def segment(session: onnxruntime.InferenceSession, jpeg: bytes, x: int, y: int) -> dict[str, object]:
    """The point lies half a window or more inside the image."""
    image = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    return segment_pixels(session, image, x, y)


def segment_pixels(session: onnxruntime.InferenceSession, image: NDArray[np.uint8], x: int, y: int) -> dict[str, object]:
    """As ``segment``, of an image that is decoded."""
    part = slice(y - SIDE // 2, y + SIDE // 2), slice(x - SIDE // 2, x + SIDE // 2)
    window = np.ascontiguousarray(image[part].transpose(2, 0, 1), np.float32)[None] / 256
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[part] = session.run(None, {"window": window})[0][0, 0] > 0
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return {"png": base64.b64encode(file.getvalue()).decode(), "area": int(mask.sum())}
