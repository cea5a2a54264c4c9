"""``serving.json``: what a model folder says of its network to whoever serves it, read without torch."""

import base64
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.contracts.base import digest_of_file
from shared.contracts.serving import NETWORK_FILE, SERVING_FILE, Golden, ServingCard
from shared.picosam.calibrating import Confidence, varied
from shared.picosam.evaluation.networks import OnnxNetwork
from shared.picosam.weights import ModelConfig

_GOLDEN: Final = 4


def write_card(folder: Path, config: ModelConfig, windows: NDArray[np.uint8], confidence: Confidence) -> ServingCard:
    """Write the card of the folder's model.onnx, once that is in its final form.

    ``windows``: uint8 [N, S, S, 3], of which the golden ones are chosen.
    """
    card = ServingCard(
        network_digest=digest_of_file(folder / NETWORK_FILE),
        golden=_golden(folder / NETWORK_FILE, config, windows),
        calibration=confidence.calibration,
        reference=confidence.reference,
    )
    (folder / SERVING_FILE).write_text(card.model_dump_json(indent=1))
    return card


def _golden(network: Path, config: ModelConfig, windows: NDArray[np.uint8]) -> list[Golden]:
    """Windows with the masks that ONNX Runtime gives, as serving runs it."""
    masks = OnnxNetwork(network, quantization=config.quantization, threads=1).logits(windows) > 0
    rows = varied(masks.mean(axis=(1, 2)), _GOLDEN)
    return [Golden(window=_png(windows[row]), mask=_png(masks[row])) for row in rows]


def _png(pixels: NDArray[Any]) -> str:
    """RGB of uint8 [S, S, 3], one bit per cell of bool [S, S]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
