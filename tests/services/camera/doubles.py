"""What stands round the agent in tests: a server that speaks DDI and nothing else, and a sensor that does as it is told."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from services.camera.driver import DriverError, Frame, NotSupported, Progress
from services.camera.roi import Roi
from shared.contracts.packages import CONVERTED
from shared.kit.packages.converted import read_converted
from shared.kit.packages.folder import read_manifest
from shared.kit.packages.golden import Golden, read_golden

ROOT = "/default/controller/v1/cam-1"
BASE = "http://updates.test"


@dataclass
class Offer:
    """An action of the server."""

    id: str
    chunk: dict[str, Any]
    content: bytes = b""
    cancelled: bool = False
    said: list[dict[str, Any]] = field(default_factory=list)
    end: str | None = None
    """success, failure, or cancelled."""

    @property
    def words(self) -> str:
        return "\n".join(line for each in self.said for line in each["status"]["details"])


class StubServer:
    """hawkBit as a stranger would write it from the documentation: no telemetry, no states of ours, details are text."""

    def __init__(self) -> None:
        self.offers: list[Offer] = []
        self.requests: list[httpx.Request] = []
        self.attributes: dict[str, str] = {}
        self.wants_attributes = False
        self.offline = False
        self.sleep = "00:05:00"
        self.samples: list[dict[str, Any]] | None = None
        """None: a server that speaks DDI alone."""
        self.cut_after: int | None = None
        """A download breaks off after so many bytes."""
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self.base = BASE

    def offer(self, content: bytes, *, id: str | None = None, name: str = "net", version: str = "1.0", **more: Any) -> Offer:
        number = id or str(len(self.offers) + 1)
        url = f"{self.base}{ROOT}/softwaremodules/7/artifacts/{number}.tar"
        hashes = {"sha1": "0" * 40, "md5": "0" * 32, "sha256": hashlib.sha256(content).hexdigest()}
        links = {"download": {"href": url}, "md5sum": {"href": url + ".MD5SUM"}}
        artifact = {"filename": f"{number}.tar", "hashes": hashes, "size": len(content), "_links": links}
        chunk = {"part": "os", "version": version, "name": name, "artifacts": [artifact], **more}
        self.offers.append(Offer(number, chunk, content))
        return self.offers[-1]

    def offer_nothing(self) -> Offer:
        metadata = [{"key": "picofleet.restore", "value": "none"}]
        self.offers.append(
            Offer(str(len(self.offers) + 1), {"part": "x", "name": "none", "version": "0", "metadata": metadata})
        )
        return self.offers[-1]

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        if self.offline:
            raise httpx.ConnectError("nobody is there", request=request)
        self.requests.append(request)
        answer = self.before(request)
        return answer if answer is not None else self._route(request)

    def _route(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(ROOT)
        if request.headers.get("authorization") != "TargetToken secret-of-cam-1":
            return httpx.Response(401)
        match request.method, path.strip("/").split("/"):
            case "GET", [""]:
                return self._poll(request)
            case "GET", ["deploymentBase", number]:
                return self._of(number, self._deployment)
            case "GET", ["cancelAction", number]:
                return self._of(number, lambda offer: httpx.Response(200, json={"cancelAction": {"stopId": offer.id}}))
            case "POST", ["deploymentBase", number, "feedback"]:
                return self._of(number, lambda offer: self._feedback(offer, request))
            case "POST", ["cancelAction", number, "feedback"]:
                return self._of(number, lambda offer: self._stopped(offer, request))
            case "PUT", ["configData"]:
                self.attributes |= json.loads(request.content)["data"]
                self.wants_attributes = False
                return httpx.Response(200)
            case "POST", ["samples"] if self.samples is not None:
                self.samples.append(json.loads(request.content))
                return httpx.Response(200)
            case "GET", ["softwaremodules", _, "artifacts", name]:
                return self._of(name.removesuffix(".tar"), lambda offer: self._download(offer, request))
        return httpx.Response(404, json={"errorCode": "hawkbit.server.error.rest.notFound"})

    def _of(self, number: str, then: Callable[[Offer], httpx.Response]) -> httpx.Response:
        found = next((offer for offer in self.offers if offer.id == number), None)
        return then(found) if found is not None else httpx.Response(404)

    def _poll(self, request: httpx.Request) -> httpx.Response:
        current = next((offer for offer in self.offers if offer.end is None), None)
        links: dict[str, Any] = {}
        if current is not None:
            kind = "cancelAction" if current.cancelled else "deploymentBase"
            links[kind] = {"href": f"{self.base}{ROOT}/{kind}/{current.id}?c=-1234"}
        if self.wants_attributes:
            links["configData"] = {"href": f"{self.base}{ROOT}/configData"}
        body = json.dumps({"config": {"polling": {"sleep": self.sleep}}, "_links": links}).encode()
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304, headers={"etag": etag})
        return httpx.Response(200, content=body, headers={"etag": etag, "content-type": "application/hal+json"})

    def _deployment(self, offer: Offer) -> httpx.Response:
        # hawkBit 0.2 sent the id as a number.
        number: Any = int(offer.id) if offer.id.isdecimal() else offer.id
        deployment = {"download": "forced", "update": "forced", "chunks": [offer.chunk]}
        return httpx.Response(200, json={"id": number, "deployment": deployment})

    def _feedback(self, offer: Offer, request: httpx.Request) -> httpx.Response:
        if offer.end is not None:
            return httpx.Response(410)
        told = json.loads(request.content)
        offer.said.append(told)
        if told["status"]["execution"] == "closed":
            offer.end = told["status"]["result"]["finished"]
        return httpx.Response(200)

    def _stopped(self, offer: Offer, request: httpx.Request) -> httpx.Response:
        status = json.loads(request.content)["status"]
        if offer.end is None and status["result"]["finished"] != "failure":
            offer.end = "cancelled"
        return httpx.Response(200)

    def _download(self, offer: Offer, request: httpx.Request) -> httpx.Response:
        etag = f'"{hashlib.sha1(offer.content).hexdigest()}"'
        begin = 0
        if (wanted := request.headers.get("range")) and request.headers.get("if-range", etag) == etag:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        content = offer.content[begin:]
        if self.cut_after is not None:
            content, self.cut_after = content[: self.cut_after], None
        headers = {"etag": etag}
        if begin:
            headers["content-range"] = f"bytes {begin}-{len(offer.content) - 1}/{len(offer.content)}"
        return httpx.Response(206 if begin else 200, content=content, headers=headers)


@contextmanager
def listening(stub: StubServer) -> Iterator[str]:
    """The same server at a real port, for agents in processes of their own; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = httpx.Request(self.command, stub.base + self.path, headers=dict(self.headers), content=content)
            answer = stub.handle(request)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in {"content-length", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stub.base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub.base
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class FakeSensor:
    """A driver that answers as the package's golden frames say. ``faults``: by package, what goes wrong with it."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self.loaded: list[str] = []
        self.running: str | None = None
        self.rois: list[Roi] = []
        self.injects = True
        self.gives_windows = False
        self.window_orders: list[bool] = []
        self.pause_s = 0.001
        self.on_load: Callable[[str], None] = lambda _: None
        self._golden: Golden | None = None
        self._network = ""
        self._closed = threading.Event()
        self._roi = Roi(0, 0, 64, 64)

    def finish(self, package: Path, folder: Path) -> Path | None:
        if self._fault(package) == "unfinished":
            raise DriverError("imx500-package is not installed")
        made = folder / "network.rpk"
        made.write_bytes(b"finished")
        return made

    def load(self, package: Path, finished: Path, on_progress: Progress) -> None:
        self._closed, self.gives_windows = threading.Event(), False
        fault, manifest = self._fault(package), read_manifest(package)
        assert (finished / "network.rpk").read_bytes() == b"finished"
        name = f"{manifest.line}/{manifest.release}"
        self.on_load(name)
        on_progress(50, 100)
        if fault == "stall":
            self._closed.wait(30)
            raise DriverError("closed in the upload")
        if fault == "broken":
            raise DriverError("the sensor does not answer")
        self.loaded.append(name)
        self.running, self._golden = name, read_golden(package)
        self._network = "other" if fault == "name" else read_converted(package / CONVERTED).networks[0].name

    def frames(self) -> Iterator[Frame]:
        closed, fault = self._closed, self.faults.get(self.running or "")
        number = 0
        while not closed.wait(self.pause_s):
            fault = self.faults.get(self.running or "")
            if fault == "silent":
                continue
            if fault == "ends" and number == 2:
                return
            number += 1
            shape = (4, 4) if fault == "shape" else (8, 8)
            output = None if fault == "missing" else np.full(shape, 1, np.float32)
            slow = 500.0 if fault == "slow" else 15.0
            window = np.full((8, 8, 3), number % 256, np.uint8) if self.gives_windows else None
            yield Frame(roi=self._roi, output=output, network=self._network, dnn_ms=slow, dsp_ms=1.0, window=window)

    def set_roi(self, roi: Roi) -> None:
        if roi != self._roi:
            self.rois.append(roi)
        self._roi = roi

    def give_windows(self, wanted: bool) -> None:
        self.gives_windows = wanted
        self.window_orders.append(wanted)

    def inject(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        del frames
        if not self.injects:
            raise NotSupported
        assert self._golden is not None
        described = self._golden.described
        codes = np.frombuffer(self._golden.outputs, described.output.dtype).reshape(described.output.shape)
        wrong = 5 if self.faults.get(self.running or "") == "drift" else 0
        return (codes.astype(np.float32) + wrong) * np.float32(described.output_scale)

    def temperature(self) -> float | None:
        return 41.5

    def close(self) -> None:
        self._closed.set()
        self.running = None

    def _fault(self, package: Path) -> str | None:
        manifest = read_manifest(package)
        return self.faults.get(f"{manifest.line}/{manifest.release}")


def until(is_so: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    give_up = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)
