"""`make soak`: the inference service at full load while its deployment changes again and again, a canary's share, and a kill.

SOAK_SECONDS (600) is how long the load lasts. Ends with 1 if a goal is missed.
"""

import base64
import io
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from tests.bench import table
from tests.bench.load import Load, Request, Result, result_of, run_apart, start_apart, write_requests
from tests.bench.peers.task import open_network, segment
from tests.bench.serving_ours import Inference, Jobs, mask_of, wait_until_answered
from tests.bench.serving_peers import THREADS, exchange
from tests.bench.serving_tasks import make_networks, make_tasks

SECONDS = float(os.environ.get("SOAK_SECONDS") or 600)
WHOLE_S = 300
"""A run that is shorter judges no growth: memory is still being taken for the first time."""
SWAP_S = min(20.0, SECONDS / 5)
CONCURRENCY = 8
MOST_GROWTH_PERCENT = 5
CANARY_REQUESTS = 2000 if SECONDS >= WHOLE_S else 300
CANARY_PERCENT = 10
MOST_OFF_POINTS = 2
LEAST_IOU = 0.99
MODEL = r'"model":"([^"]+)"'
VERSIONS = {"net/1": "a", "net/2": "b"}
MOST_SECONDS_BACK = 30


class Soak:
    """The service under test, and what came of the goals."""

    def __init__(self, folder: Path, ending: ExitStack) -> None:
        _, self._tasks = make_tasks(folder)
        self._networks = make_networks(folder, self._tasks)
        jobs = Jobs(folder)
        ending.callback(jobs.stop)
        folders = {model: self._networks[name] for model, name in VERSIONS.items()}
        self._service = Inference(folder / "ours", jobs, folders)
        ending.callback(self._service.stop)
        self._requests = folder / "requests"
        self.missed = 0

    def run(self) -> None:
        answers = {model: self._answers(model) for model in VERSIONS}
        by_task = zip(self._tasks, *answers.values(), strict=True)
        write_requests(
            self._requests, [Request(self._service.segment(task, "default"), tuple(wanted)) for task, *wanted in by_task]
        )
        self._swap_under_load()
        self._split()
        self._kill()

    def _answers(self, model: str) -> list[tuple[bytes, ...]]:
        """What the version answers to each task, alone and unhurried: its name and the mask, which is the right one."""
        self._service.deploy("default", {"model": model})
        session = open_network(str(self._networks[VERSIONS[model]] / "model.onnx"), THREADS)
        answers = []
        for task in self._tasks:
            _, body = exchange(self._service.port, self._service.segment(task, "default"))
            png = mask_of(json.loads(body))
            _check(png, str(segment(session, task.jpeg, task.x, task.y)["png"]))
            answers.append((f'"model":"{model}"'.encode(), f'"png":"{png}"'.encode()))
        return answers

    def _swap_under_load(self) -> None:
        load = Load(port=self._service.port, concurrency=CONCURRENCY, seconds=SECONDS, pattern=MODEL)
        with start_apart(self._requests, load) as process, ThreadPoolExecutor(1) as watching:
            ends = time.monotonic() + SECONDS
            memory = watching.submit(self._watch_memory, ends)
            swaps = self._swap_until(ends)
            result = result_of(process)
        self._tell_load(result, swaps)
        self._tell_memory(memory.result())

    def _swap_until(self, ends: float) -> list[float]:
        """Seconds that each change took, until the new version was served."""
        taken = []
        while (begun := time.monotonic()) + SWAP_S < ends:
            self._service.deploy("default", {"model": list(VERSIONS)[len(taken) % len(VERSIONS)]})
            taken.append(time.monotonic() - begun)
            time.sleep(max(0.0, begun + SWAP_S - time.monotonic()))
        return taken

    def _watch_memory(self, ends: float) -> list[float]:
        """Resident megabytes, once a second."""
        process = psutil.Process(self._service.process.pid)
        seen = []
        while time.monotonic() < ends:
            seen.append(process.memory_info().rss / 2**20)
            time.sleep(1)
        return seen

    def _tell_load(self, result: Result, swaps: list[float]) -> None:
        print(f"\n{result.requests} requests in {SECONDS:.0f} s, {result.rate:.0f} per s, p50 {result.p50_ms:.1f} ms, ", end="")
        print(f"p99 {result.p99_ms:.1f} ms; {len(swaps)} swaps of {statistics.median(swaps):.1f} s; by version {result.seen}")
        for why in result.failures:
            print(f"failed: {why}")
        self._goal("no request failed or was answered wrongly", str(result.failed), result.failed == 0)
        self._goal("both versions answered", str(sorted(result.seen)), set(result.seen) == set(VERSIONS))

    def _tell_memory(self, seen: list[float]) -> None:
        """Medians over spans longer than a swap, during which two versions are loaded; the first after a warm-up."""
        span = max(1, int(max(2 * SWAP_S, len(seen) / 10)))
        before, after = statistics.median(seen[span : 2 * span]), statistics.median(seen[-span:])
        growth = 100 * (after - before) / before
        told = f"{before:.0f} MB after the warm-up, {after:.0f} MB at the end: {growth:+.1f} %"
        if SECONDS >= WHOLE_S:
            self._goal(f"memory grows by less than {MOST_GROWTH_PERCENT} %", told, growth < MOST_GROWTH_PERCENT)
        else:
            print(f"memory: {told}; judged in runs of {WHOLE_S} s or more")

    def _split(self) -> None:
        first, second = VERSIONS
        parts = {"model": first, "percent": 100 - CANARY_PERCENT}, {"model": second, "percent": CANARY_PERCENT}
        self._service.deploy("default", *parts)
        load = Load(port=self._service.port, concurrency=CONCURRENCY, seconds=600, count=CANARY_REQUESTS, pattern=MODEL)
        result = run_apart(self._requests, load)
        share = 100 * result.seen.get(second, 0) / max(1, result.requests)
        told = f"{share:.2f} % of {result.requests}, failed {result.failed}"
        met = abs(share - CANARY_PERCENT) <= MOST_OFF_POINTS and result.requests == CANARY_REQUESTS and not result.failed
        self._goal(f"a canary of {CANARY_PERCENT} % gets its share within {MOST_OFF_POINTS} points", told, met)

    def _kill(self) -> None:
        """In the middle of a load, whose requests may fail."""
        load = Load(port=self._service.port, concurrency=CONCURRENCY, seconds=3)
        with start_apart(self._requests, load) as process:
            time.sleep(1)
            self._service.kill()
            begun = time.monotonic()
            self._service.start()
            wanted = self._service.segment(self._tasks[0], "default")
            wait_until_answered(self._service.process, self._service.port, wanted, self._service.folder / "inference.log")
            seconds = time.monotonic() - begun
            result_of(process)
        again = run_apart(self._requests, Load(port=self._service.port, concurrency=2, seconds=60, count=100, pattern=MODEL))
        told = f"{seconds:.1f} s, then {again.failed} of {again.requests} failed, by version {again.seen}"
        met = not again.failed and set(again.seen) == set(VERSIONS) and seconds <= MOST_SECONDS_BACK
        self._goal(f"after kill -9 the deployment is as it was within {MOST_SECONDS_BACK} s", told, met)

    def _goal(self, what: str, reached: str, met: bool) -> None:
        table.print_goal(what, reached, met)
        self.missed += not met


def _check(found: str, expected: str) -> None:
    masks = [np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))).astype(bool) for png in (found, expected)]
    iou = (masks[0] & masks[1]).sum() / max(1, (masks[0] | masks[1]).sum())
    if iou < LEAST_IOU:
        raise RuntimeError(f"the service's mask has an IoU of {iou:.3f} with that of the plain task")


def main() -> int:
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        soak = Soak(Path(name), ending)
        soak.run()
        return 1 if soak.missed else 0


if __name__ == "__main__":
    sys.exit(main())
