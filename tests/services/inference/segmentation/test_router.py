"""Prompts in, masks out, over HTTP with real networks and real image files."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from shared.picosam.prompt import extract, paste, point_window


def picture(width=320, height=240, seed=0):
    """RGB noise with some structure, so that masks of random networks have shapes."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def file_of(image, format="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def photo():
    return file_of(picture())


@pytest.fixture
def ask(client, viewer):
    """Sends a form: ``ask(photo, prompts=[...])`` gives the answer."""

    def send(content, headers=None, **request):
        files = {"image": ("photo.jpg", content), "request": (None, json.dumps(request), "application/json")}
        return client.post("/v1/segment", files=files, headers=viewer | (headers or {}))

    return send


def decoded(mask):
    """A mask's bits, whatever its form."""
    height, width = mask["size"]
    if mask["format"] == "png":
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(mask["png"]))))
    if mask["format"] == "rle":
        return coco.decode({"size": [height, width], "counts": mask["counts"]}).astype(bool)
    return np.frombuffer(base64.b64decode(mask["logits"]), "<f4").reshape(height, width) > 0


def test_a_point_gives_the_network_s_mask_of_its_window_pasted_back(ask, deployed, photo):
    served = deployed(seed=3)
    answer = ask(photo, prompts=[{"point": [160.5, 120.9], "id": "cup", "label": "a cup"}]).json()
    image = np.asarray(Image.open(io.BytesIO(photo)))
    window = point_window((160, 120), image.shape[:2])
    logits = served.parts[0].loaded.logits(extract(image, window)[None])[0]
    (found,) = answer["objects"]
    mask = decoded(found["mask"])
    assert (mask == paste(logits > 0, window, image.shape[:2])).all()
    assert (found["id"], found["label"], found["area"]) == ("cup", "a cup", mask.sum())
    assert (answer["model"], answer["generation"], answer["deployment"]) == ("net/4", 1, "default")
    assert answer["image"] == {"width": 320, "height": 240, "format": "JPEG"}
    assert found["window"] == {"x0": 112, "y0": 72, "x1": 208, "y1": 168, "border": "pad", "clipped": False}
