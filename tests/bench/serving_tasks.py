"""What the serving benchmark gives to all contenders: images of 640x480 with a point each, and networks."""

import base64
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from shared.contracts.base import digest_of_file
from shared.contracts.datasets import GeneratorSource
from shared.contracts.quantization import CpuOptions
from shared.contracts.serving import CONFIG_FILE, NETWORK_FILE, SERVING_FILE, Golden, ServedConfig, ServingCard
from shared.picosam.data.generator import generate
from shared.picosam.export import export_onnx
from shared.picosam.model import build_model
from shared.picosam.onnx_session import open_session
from shared.picosam.prompt import to_input
from shared.picosam.quantization.cpu import quantize_for_cpu
from shared.picosam.quantization.upsampling import upsample_by_copies
from tests.bench.load import Request
from tests.bench.peers.task import SIDE

WIDTH, HEIGHT = 640, 480
MOST = 32
OBJECT_SHARE = 0.25
"""Of the windows' cells, that lies in the masks: about as much as in COCO's windows."""
CONTRAST = 100
"""Of the random network's logits, which lie within a tenth of each other, so that rounding does not decide on masks."""


@dataclass(frozen=True, slots=True)
class Task:
    """A JPEG, and a point that lies half a window or more inside it."""

    jpeg: bytes
    x: int
    y: int

    @property
    def window(self) -> NDArray[np.uint8]:
        pixels = np.asarray(Image.open(io.BytesIO(self.jpeg)).convert("RGB"))
        return pixels[self.y - SIDE // 2 : self.y + SIDE // 2, self.x - SIDE // 2 : self.x + SIDE // 2]


def make_tasks(folder: Path) -> tuple[str, list[Task]]:
    """Real images where PICOFLEET_DATA says so, else generated ones; and what they are."""
    if "PICOFLEET_DATA" in os.environ:
        root = Path(os.environ["PICOFLEET_DATA"]) / "coco2017"
        return "COCO 2017 images", _tasks(root / "annotations" / "instances_val2017.json", root / "val2017")
    generate(GeneratorSource(images=MOST, width=WIDTH, height=HEIGHT), folder / "generated")
    (annotations,) = (folder / "generated").rglob("*.json")
    return "generated images", _tasks(annotations, folder / "generated" / "images")


def _tasks(annotations: Path, images: Path) -> list[Task]:
    """The first annotation of each image whose window lies inside."""
    document = json.loads(annotations.read_text())
    fitting = {each["id"]: each for each in document["images"] if (each["width"], each["height"]) == (WIDTH, HEIGHT)}
    found: dict[int, Task] = {}
    for each in document["annotations"]:
        x0, y0, width, height = each["bbox"]
        x, y = int(x0 + width / 2), int(y0 + height / 2)
        inside = SIDE // 2 <= x < WIDTH - SIDE // 2 and SIDE // 2 <= y < HEIGHT - SIDE // 2
        if inside and each["image_id"] in fitting and each["image_id"] not in found:
            found[each["image_id"]] = Task((images / fitting[each["image_id"]]["file_name"]).read_bytes(), x, y)
    return list(found.values())[:MOST]


def make_networks(folder: Path, tasks: list[Task]) -> dict[str, Path]:
    """Folders as jobs leave them: two float PicoSAM2, `a` and `b`, with random weights whose masks differ, and `a` as int8."""
    windows = np.stack([task.window for task in tasks])
    for seed, name in enumerate("ab"):
        _export(seed, windows, folder / name / NETWORK_FILE)
        _describe(folder / name, windows, None)
    quantized = folder / "int8" / NETWORK_FILE
    quantized.parent.mkdir()
    quantize_for_cpu(folder / "a" / NETWORK_FILE, quantized, windows, CpuOptions(), lambda *_: None)
    upsample_by_copies(quantized)
    _describe(quantized.parent, windows, "int8")
    return {name: folder / name for name in ("a", "b", "int8")}


def _export(seed: int, windows: NDArray[np.uint8], path: Path) -> None:
    network = build_model("picosam2", seed=seed).eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(to_input(windows)))
        threshold = float(np.quantile(logits.numpy(), 1 - OBJECT_SHARE))
        network.output_head.weight *= CONTRAST
        network.output_head.bias.copy_(CONTRAST * (network.output_head.bias - threshold))
    export_onnx(network, path)


def _describe(folder: Path, windows: NDArray[np.uint8], quantization: Any) -> None:
    (folder / CONFIG_FILE).write_text(ServedConfig(quantization=quantization).model_dump_json())
    session = open_session(folder / NETWORK_FILE, quantization=quantization, threads=1)
    golden = []
    for window in windows[:4]:
        (logits,) = session.run(None, {session.get_inputs()[0].name: to_input(window[None])})
        golden.append(Golden(window=_png(window), mask=_png(logits[0, 0] > 0)))
    card = ServingCard(network_digest=digest_of_file(folder / NETWORK_FILE), golden=golden)
    (folder / SERVING_FILE).write_text(card.model_dump_json())


def _png(pixels: NDArray[Any]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def http(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A POST, head and body."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())])
    return head.encode() + b"\r\n\r\n" + body


def as_json(path: str, document: Any, **headers: str) -> bytes:
    return http(path, json.dumps(document).encode(), {"Content-Type": "application/json", **headers})


def as_form(path: str, image: bytes, fields: dict[str, str], **headers: str) -> bytes:
    """multipart/form-data with the JPEG as `image`."""
    mark = "mark-between-parts"
    texts = [f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    of_image = 'Content-Disposition: form-data; name="image"; filename="image.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = "".join([*texts, f"--{mark}\r\n{of_image}"]).encode() + image + f"\r\n--{mark}--\r\n".encode()
    return http(path, body, {"Content-Type": f"multipart/form-data; boundary={mark}", **headers})


def requests_of(tasks: list[Task], payload: Callable[[Task], bytes]) -> list[Request]:
    return [Request(payload(task)) for task in tasks]
