"""The inference service against a bare loop, and against what else one could serve the same network with.

All on the same processors, in turns within each round: 640x480 JPEG and a point in, the PNG of a mask of the whole image out.
BENCH_SMALL=1: only the loop, ours and plain FastAPI, in less than a minute.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from tests.bench import serving_peers as peers
from tests.bench.load import ROOT, Result
from tests.bench.serving_ours import Inference, Jobs, wait_until_answered
from tests.bench.serving_peers import Bare, Contender, Server, Turn
from tests.bench.serving_tasks import Task, make_networks, make_tasks
from tests.bench.table import Measured, print_goal, print_table, ratio

SMALL = bool(os.environ.get("BENCH_SMALL"))
ROUNDS = 2 if SMALL else 5
SECONDS = 2.0 if SMALL else 3.0
WARM_UP_S = 0.3 if SMALL else 0.7
CONCURRENCY = (1, 8, 64)
STARTS = 1 if SMALL else 3
LEAST_IOU = 0.99
"""Of a contender's masks with ours: all must do the same work."""

OURS, INT8, OPENVINO = "ours", "ours, int8", "ours, openvino"
MODELS = {OURS: ("net/1", "onnxruntime"), INT8: ("net.int8/1", "onnxruntime"), OPENVINO: ("net/1", "openvino")}

OTHERWISE = {INT8: 0.0, OPENVINO: 0.9}
"""Least IoU of those that compute in other numbers: OpenVINO in bfloat16, where the processor has it."""

Taken = dict[int, dict[str, list[Result]]]
"""Results by concurrency and name, one per round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where the contenders meet."""

    folder: Path
    tasks: list[Task]
    networks: dict[str, Path]
    jobs: Jobs
    ending: ExitStack

    @property
    def network(self) -> Path:
        return self.networks["a"] / "model.onnx"


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        folder = Path(name)
        what, tasks = make_tasks(folder)
        jobs = Jobs(folder)
        ending.callback(jobs.stop)
        field = Field(folder=folder, tasks=tasks, networks=make_networks(folder, tasks), jobs=jobs, ending=ending)
        _compare(field, what)
        _open_protocol(field)
        _start_and_memory(field)


def _compare(field: Field, what: str) -> None:
    contenders = _contenders(field)
    taken: Taken = {concurrency: {each.name: [] for each in contenders} for concurrency in CONCURRENCY}
    for _ in range(ROUNDS):
        for concurrency in CONCURRENCY:
            for each in contenders:
                taken[concurrency][each.name].append(each.turn(_turn(concurrency)))
    for concurrency, results in taken.items():
        rows = [_row(each, results[each.name]) for each in contenders]
        print_table(f"{what} of 640x480, one point each, {concurrency} at a time", "requests/s", rows)
    _print_goals(taken)


def _turn(concurrency: int) -> Turn:
    return Turn(concurrency=concurrency, seconds=SECONDS, warm_up_s=WARM_UP_S)


def _contenders(field: Field) -> list[Contender]:
    """All of them, running and asked once; the bare loop first. Left out is what cannot be installed."""
    bare = Bare(field.network, field.tasks, field.folder)
    field.ending.callback(bare.stop)
    servers = [_ours(field, name) for name in ([OURS] if SMALL else MODELS)]
    makers: dict[str, Callable[[Path, list[Task], Path], Server]] = {"FastAPI": peers.plain_fastapi}
    if not SMALL:
        others = {"litserve": peers.litserve, "bentoml": peers.bentoml, "mlflow": peers.mlflow}
        makers |= {name: make for name, make in others.items() if peers.install(name)}
    for make in makers.values():
        servers.append(make(field.network, field.tasks, field.folder))
        field.ending.callback(servers[-1].stop)
    for server in servers:
        _check_masks(server, servers[0])
    return [bare, *servers]


def _ours(field: Field, name: str) -> Server:
    model, engine = MODELS[name]
    folder = field.networks["int8" if "int8" in model else "a"]
    service = Inference(field.folder / name.replace(", ", "-"), field.jobs, {model: folder})
    field.ending.callback(service.stop)
    service.deploy("default", {"model": model, "engine": engine})
    return service.contender(name, field.tasks)


def _check_masks(server: Server, ours: Server) -> None:
    for number in range(0, len(server.requests), 8):
        found, expected = (np.asarray(Image.open(io.BytesIO(each.mask(number)))).astype(bool) for each in (server, ours))
        iou = (found & expected).sum() / max(1, (found | expected).sum())
        if iou < OTHERWISE.get(server.name, LEAST_IOU):
            raise RuntimeError(f"{server.name} and {ours.name} do not answer alike: IoU {iou:.3f} for request {number}")


def _row(contender: Contender, results: Sequence[Result]) -> Measured:
    notes = {
        "p50 ms": f"{_median(results, 'p50_ms'):.1f}",
        "p99 ms": f"{_median(results, 'p99_ms'):.1f}",
        "failed": str(sum(each.failed for each in results)),
        "peak memory": f"{contender.peak_mb():.0f} MB",
    }
    return Measured(name=contender.name, rates=[each.rate for each in results], notes=notes)


def _median(results: Sequence[Result], figure: str) -> float:
    return statistics.median(getattr(each, figure) for each in results)


def _rates(taken: Taken, concurrency: int, name: str) -> Measured:
    return Measured(name=name, rates=[each.rate for each in taken[concurrency][name]])


def _print_goals(taken: Taken) -> None:
    names = list(taken[CONCURRENCY[0]])
    bare, fastapi = names[0], next(name for name in names if name.startswith("FastAPI"))
    for concurrency in CONCURRENCY:
        share = ratio(_rates(taken, concurrency, OURS), _rates(taken, concurrency, bare))
        print_goal(f"throughput at least 88 % of a bare loop, {concurrency} at a time", f"{100 * share:.0f} %", share >= 0.88)
    for name in names[names.index(fastapi) :]:
        for concurrency in CONCURRENCY:
            _print_ahead(taken, concurrency, name, with_p99=name != fastapi)
    p99, rate = _median(taken[8][OURS], "p99_ms"), _median(taken[8][OURS], "rate")
    print_goal("p99 at 8 below 1.5 times 8/throughput", f"{p99:.1f} ms, {p99 * rate / 8000:.2f} times", p99 * rate < 1.5 * 8000)
    failed = sum(each.failed for results in taken.values() for each in results[OURS])
    print_goal("no failed request", str(failed), failed == 0)
    for name, least in ((INT8, 1.25), (OPENVINO, 1.4)):
        if name in names:
            faster = ratio(_rates(taken, 64, name), _rates(taken, 64, OURS))
            print_goal(f"{name} at least {least} times ours, 64 at a time", f"{faster:.2f}", faster >= least)


def _print_ahead(taken: Taken, concurrency: int, other: str, *, with_p99: bool) -> None:
    faster = ratio(_rates(taken, concurrency, OURS), _rates(taken, concurrency, other))
    ours, theirs = (_median(taken[concurrency][name], "p99_ms") for name in (OURS, other))
    what = "throughput and p99" if with_p99 else "throughput"
    told = f"{faster:.2f} times, p99 {ours:.1f} against {theirs:.1f} ms"
    print_goal(f"ahead of {other} in {what}, {concurrency} at a time", told, faster > 1 and (ours < theirs or not with_p99))


def _open_protocol(field: Field) -> None:
    """Windows in binary against the network's run alone."""
    service = Inference(field.folder / "open", field.jobs, {"net/1": field.networks["a"]})
    field.ending.callback(service.stop)
    service.deploy("default", {"model": "net/1"})
    bare = Bare(field.network, field.tasks, field.folder, run_only=True)
    field.ending.callback(bare.stop)
    both: list[Contender] = [bare, service.open_protocol("Open Inference Protocol, binary", field.tasks)]
    rounds = [[each.turn(_turn(8)) for each in both] for _ in range(ROUNDS)]
    rows = [_row(each, list(results)) for each, results in zip(both, zip(*rounds, strict=True), strict=True)]
    print_table("Windows, 8 at a time", "windows/s", rows)
    share = ratio(rows[1], rows[0])
    print_goal(
        "binary infer at least 85 % of session.run", f"{100 * share:.0f} %, failed {rows[1].notes['failed']}", share >= 0.85
    )


def _start_and_memory(field: Field) -> None:
    """Of a service with one deployment that was used."""
    service = Inference(field.folder / "start", field.jobs, {"net/1": field.networks["a"]})
    field.ending.callback(service.stop)
    service.deploy("default", {"model": "net/1"})
    contender = service.contender("start", field.tasks)
    contender.turn(_turn(8))
    resident = psutil.Process(service.process.pid).memory_info().rss / 2**20
    print_goal(
        "memory below 350 MB with one deployment", f"{resident:.0f} MB, peak {contender.peak_mb():.0f} MB", resident < 350
    )
    seconds = statistics.median(_seconds_to_answer(service, contender) for _ in range(STARTS))
    print_goal("from start to the first mask in 2 s", f"{seconds:.2f} s", seconds < 2)
    code = "import sys, services.inference.app; sys.exit('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode
    print_goal("importing the app imports no torch", "it does" if found else "it does not", found == 0)


def _seconds_to_answer(service: Inference, contender: Server) -> float:
    service.stop()
    begun = time.perf_counter()
    service.start()
    wait_until_answered(service.process, service.port, contender.requests[0].payload, service.folder / "inference.log")
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
