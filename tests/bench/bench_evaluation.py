"""Seconds to evaluate an exported network: the 1,062 val prompts under all four border rules, mask AP and interval included.

Goal: 30 s on two cores for a float network in ONNX Runtime, windows cut from the images included. The plain way asks one
prompt at a time, under each rule anew.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from shared.contracts.evaluation import Comparison
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy, prepare
from shared.picosam.evaluation.answers import ask_under_all, ious, truth_bits
from shared.picosam.evaluation.breakdown import Asked, figures_of, mask_ap_of
from shared.picosam.evaluation.compare import compare
from shared.picosam.evaluation.networks import OnnxNetwork
from shared.picosam.export import export_onnx
from shared.picosam.model import build_model
from tests.bench.images import BenchImages, bench_images
from tests.bench.table import Measured, print_goal, print_table

ROUNDS = 3
GOAL_S = 30


def main() -> None:
    split = "val" if "PICOFLEET_DATA" in os.environ else "train"
    with tempfile.TemporaryDirectory() as name:
        images = bench_images(Path(name), split)
        export_onnx(build_model("picosam2", seed=0), Path(name) / "model.onnx")
        network = OnnxNetwork(Path(name) / "model.onnx", threads=len(os.sched_getaffinity(0)))
        rounds = [_round(images, split, network, Path(name) / f"windows-{number}") for number in range(ROUNDS)]
    prompts = int(rounds[0]["prompts"])
    rows = [
        Measured(name=part, rates=[prompts / each[part] for each in rounds], notes={"median s": f"{_median(rounds, part):.1f}"})
        for part in ("one by one", "asked", "figures, mask AP, interval", "windows cut", "whole")
    ]
    print_table(f"Evaluating {prompts} prompts of {images.what} under {len(Border)} rules", "prompts/s", rows, compare=False)
    print(f"processor time of the whole: {_median(rounds, 'processor'):.1f} s")  # what a busy machine does not change
    whole = _median(rounds, "whole")
    print_goal(f"evaluate {prompts} prompts in at most {GOAL_S} s", f"{whole:.1f} s", whole <= GOAL_S)


def _round(images: BenchImages, split: str, network: OnnxNetwork, folder: Path) -> dict[str, float]:
    """Seconds of each part."""
    started, processor = time.perf_counter(), time.process_time()
    windows = {border: _windows(images, split, border, folder / border.value) for border in Border}
    cut = time.perf_counter()
    answers = ask_under_all(network, windows)
    asked = time.perf_counter()
    for border, reader in windows.items():
        prompts = Asked("96", border, reader, truth_bits(reader))
        found = ious(answers[border].bits, prompts.truth)
        figures_of(prompts, found)
        mask_ap_of(prompts, answers[border])
        compare(found, found, reader.image_id, Comparison())
    scored, processor = time.perf_counter(), time.process_time() - processor
    for reader in windows.values():
        for row in range(len(reader)):
            network.logits(reader.windows(np.array([row]))[0])
    plain = time.perf_counter()
    return {
        "prompts": len(windows[Border.PAD]),
        "windows cut": cut - started,
        "asked": asked - cut,
        "figures, mask AP, interval": scored - asked,
        "whole": scored - started,
        "processor": processor,
        "one by one": plain - scored,
    }


def _windows(images: BenchImages, split: str, border: Border, folder: Path) -> ShardReader:
    policy = ShardPolicy(window=WindowPolicy(border=border))
    return prepare(images.manifest, images.root, split, policy, folder, digest=images.digest)


def _median(rounds: list[dict[str, float]], part: str) -> float:
    return float(np.median([each[part] for each in rounds]))


if __name__ == "__main__":
    main()
