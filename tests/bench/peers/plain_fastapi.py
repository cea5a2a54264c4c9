"""What one writes first: FastAPI round ONNX Runtime. The route is no coroutine, so FastAPI runs it in a thread."""

import os
from typing import Annotated, Any

from fastapi import FastAPI, File, Form

from tests.bench.peers.task import open_network, segment

app = FastAPI()
session = open_network(os.environ["NETWORK"], threads=1)


@app.post("/segment")
def segment_image(image: Annotated[bytes, File()], x: Annotated[int, Form()], y: Annotated[int, Form()]) -> dict[str, Any]:
    return segment(session, image, x, y)


@app.get("/health")
def health() -> None:
    return None
