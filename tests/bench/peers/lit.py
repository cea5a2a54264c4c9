"""LitServe, as its documentation has it: an API with its four steps, the image as base64 in JSON, a worker per processor."""

import base64
import os
import sys
from typing import Any

import litserve

from tests.bench.peers.task import open_network, segment


class Segment(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.session = open_network(os.environ["NETWORK"], threads=1)

    def decode_request(self, request: dict[str, Any]) -> tuple[bytes, int, int]:
        return base64.b64decode(request["image"]), request["x"], request["y"]

    def predict(self, task: tuple[bytes, int, int]) -> dict[str, Any]:
        return segment(self.session, *task)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    workers = len(os.sched_getaffinity(0))
    server = litserve.LitServer(Segment(), accelerator="cpu", workers_per_device=workers, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
