"""What quantization gains and costs: int8 against float in ONNX Runtime, and seconds of PTQ for the sensor.

Goals on two cores: int8 1.3 times float at one window, 1.7 times at 32 windows in one call; PTQ of PicoSAM2 on 100 windows in
90 s. The plain way of PTQ is the toolkit's own with its defaults, fed one window at a time.
"""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions

from shared.contracts.quantization import CpuOptions, Imx500Options
from shared.contracts.windows import WindowPolicy
from shared.picosam.data.shards import ShardPolicy, prepare
from shared.picosam.export import INPUT_NAME, batches, export_onnx
from shared.picosam.model import build_model
from shared.picosam.prompt import to_input
from shared.picosam.quantization import toolkit
from shared.picosam.quantization.calibration import choose_rows
from shared.picosam.quantization.cpu import quantize_for_cpu
from shared.picosam.quantization.upsampling import upsample_by_copies
from tests.bench.images import BenchImages, bench_images
from tests.bench.table import Measured, print_goal, print_table, ratio

SMALL = bool(os.environ.get("BENCH_SMALL"))
THREADS = len(os.sched_getaffinity(0))
ROUNDS = 5 if SMALL else 21
TURN = {1: 100, 32: 4}
"""Runs per turn, by windows at a time."""
GOALS = {1: 1.3, 32: 1.7}
PTQ_ROUNDS = 1 if SMALL else 3
PTQ_WINDOWS = 16 if SMALL else 100
PTQ_GOAL_S = 90


def main() -> None:
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = bench_images(folder, "val" if "PICOFLEET_DATA" in os.environ else "train")
        windows = _windows(images, folder / "windows")
        _int8(windows, folder)
        _ptq(windows)


def _windows(images: BenchImages, folder: Path) -> NDArray[np.uint8]:
    """Calibration windows, drawn as a job draws them."""
    policy = ShardPolicy(window=WindowPolicy())
    split = "val" if "PICOFLEET_DATA" in os.environ else "train"
    shard = prepare(images.manifest, images.root, split, policy, folder, digest=images.digest)
    return shard.windows(choose_rows(shard.area, max(PTQ_WINDOWS, 100), 0))[0]


def _int8(windows: NDArray[np.uint8], folder: Path) -> None:
    export_onnx(build_model("picosam2", seed=0), folder / "float.onnx")
    quantize_for_cpu(folder / "float.onnx", folder / "int8.onnx", windows, CpuOptions(), lambda *_: None)
    upsample_by_copies(folder / "int8.onnx")
    sessions = {"float32": _session(folder / "float.onnx"), "int8": _session(folder / "int8.onnx")}
    for batch, runs in TURN.items():
        rows = _turns(sessions, to_input(windows[:batch]), runs)
        print_table(f"PicoSAM2 in ONNX Runtime on {THREADS} threads, {batch} windows in one call", "windows/s", rows)
        reached = ratio(rows[1], rows[0])
        print_goal(f"int8 {GOALS[batch]} times float32 at {batch}", f"{reached:.2f}", reached >= GOALS[batch])


def _session(path: Path) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the other session would find no idle core
    return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _turns(sessions: dict[str, InferenceSession], batch: NDArray[np.float32], runs: int) -> list[Measured]:
    """Both in turns, so that what slows the machine for a while slows both; the first turn warms up."""
    rates: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS + 1):
        for name, session in sessions.items():
            seconds = _seconds(lambda session=session: [session.run(None, {INPUT_NAME: batch}) for _ in range(runs)])
            rates[name].append(runs * len(batch) / seconds)
    return [Measured(name=name, rates=taken[1:]) for name, taken in rates.items()]


def _ptq(windows: NDArray[np.uint8]) -> None:
    import model_compression_toolkit as mct

    network, some = toolkit.traceable(build_model("picosam2", seed=0)), windows[:PTQ_WINDOWS]
    task = toolkit.Quantizing(network=network, windows=some, options=Imx500Options(), report=lambda *_: None)
    capabilities = mct.get_target_platform_capabilities(tpc_version=toolkit.CAPABILITIES, device_type="imx500")

    def plain() -> None:
        singly = lambda: ([window] for window in batches(some, 1))  # noqa: E731
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            mct.ptq.pytorch_post_training_quantization(network, singly, target_platform_capabilities=capabilities)

    ways = {"the toolkit, one by one": plain, "ours": lambda: toolkit.post_training(task)}
    seconds = [{name: _seconds(way) for name, way in ways.items()} for _ in range(PTQ_ROUNDS)]
    rows = [Measured(name=name, rates=[60 / each[name] for each in seconds]) for name in ways]
    print_table(f"PTQ of PicoSAM2 for the sensor on {len(some)} windows", "networks/min", rows)
    median = float(np.median([each["ours"] for each in seconds]))
    print_goal(f"PTQ on {len(some)} windows in {PTQ_GOAL_S} s", f"{median:.0f} s", median <= PTQ_GOAL_S)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
