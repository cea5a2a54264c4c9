"""Windows per second of *prepare*: decode, cut, resample, write. Goal: 300 on two cores."""

import tempfile
import time
from pathlib import Path

from shared.contracts.windows import WindowPolicy
from shared.picosam.data.shards import ShardPolicy, prepare
from tests.bench.images import BenchImages, bench_images
from tests.bench.table import Measured, print_goal, print_table

ROUNDS = 3
GOAL = 300


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        images = bench_images(Path(name))
        # One round of each in turn, so that a slow minute of the machine falls on all.
        rounds = [
            {kind: _rate(images, Path(name) / f"{kind}-{number}", canvas) for kind, canvas in KINDS} for number in range(ROUNDS)
        ]
    rows = [Measured(name=kind, rates=[rates[kind] for rates in rounds]) for kind, _ in KINDS]
    print_table(f"Preparing windows of {images.what}", "windows/s", rows, compare=False)
    print_goal(f"prepare at least {GOAL} windows/s", f"{rows[0].median:.0f}", rows[0].median >= GOAL)


KINDS = [("training, canvas 168", 168), ("evaluation, canvas 96", 96)]


def _rate(images: BenchImages, folder: Path, canvas: int) -> float:
    begun = time.perf_counter()
    policy = ShardPolicy(window=WindowPolicy(), canvas=canvas)
    reader = prepare(images.manifest, images.root, "train", policy, folder, digest=images.digest)
    return len(reader) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
