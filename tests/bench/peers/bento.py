"""BentoML, as its documentation has it: a service whose API takes a picture, with a worker per processor."""

import os
from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from tests.bench.peers.task import open_network, segment_pixels


@bentoml.service(workers=len(os.sched_getaffinity(0)), traffic={"timeout": 60}, metrics={"enabled": False})
class Segment:
    def __init__(self) -> None:
        self.session = open_network(os.environ["NETWORK"], threads=1)

    @bentoml.api
    def segment(self, image: Image, x: int, y: int) -> dict[str, Any]:
        return segment_pixels(self.session, np.asarray(image.convert("RGB")), x, y)
