"""Training throughput against the plain way: same network, same batch size, same images, each in a process of its own.

The plain way: float32, contiguous tensors, and in the loop, per sample: decode the JPEG and the mask, cut the window.
Ours: `fit` as a job runs it, from prepared shards, augmentation, average and gradient clipping included.
Goals: 2.5 times the plain way at batch 8; data loading at most 10 % of the step; below 1.5 GB at batch 32.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.images import bench_images
from tests.bench.table import Measured, print_goal, print_table

ROUNDS = 3
STEPS = 24
WARM_UP = 4
"""Steps whose time is left out: the allocator and the convolutions' kernels find their place."""

WAYS = [("plain", 8), ("ours", 8), ("ours", 16), ("ours", 32)]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = bench_images(folder)
        _prepare(folder, images)
        # One round of each in turn, so that a slow minute of the machine falls on all.
        rounds = [{way: _measure(way, folder, images.root, images.manifest) for way in WAYS} for _ in range(ROUNDS)]
    rows = [_row(way, [taken[way] for taken in rounds]) for way in WAYS]
    print_table(f"Training PicoSAM2 on {images.what}", "images/s", rows)
    _print_goals(rounds, rows)


def _prepare(folder: Path, images: Any) -> None:
    from shared.contracts.training import WindowPolicy
    from shared.picosam.data.shards import ShardPolicy, prepare

    policy = ShardPolicy(window=WindowPolicy(), canvas=168)
    prepare(images.manifest, images.root, "train", policy, folder / "shards", digest=images.digest)


def _measure(way: tuple[str, int], folder: Path, root: Path, manifest: Path) -> dict[str, float]:
    kind, batch_size = way
    arguments = [kind, str(batch_size), str(folder / "shards"), str(root), str(manifest)]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_training", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def _row(way: tuple[str, int], taken: list[dict[str, float]]) -> Measured:
    notes = {
        "data loading": f"{100 * max(one['waited_share'] for one in taken):.1f} % of the step",
        "peak memory": f"{max(one['peak_mb'] for one in taken):.0f} MB",
    }
    return Measured(name=f"{way[0]}, batch {way[1]}", rates=[one["images_per_s"] for one in taken], notes=notes)


def _print_goals(rounds: list[dict[tuple[str, int], dict[str, float]]], rows: list[Measured]) -> None:
    from tests.bench.table import ratio

    reached = ratio(rows[1], rows[0])
    waited = max(taken[way]["waited_share"] for taken in rounds for way in WAYS[1:])
    peak = max(taken["ours", 32]["peak_mb"] for taken in rounds)
    print_goal("training at least 2.5 times the plain way, batch 8", f"{reached:.2f}", reached >= 2.5)
    print_goal("data loading at most 10 % of the step", f"{100 * waited:.1f} %", waited <= 0.1)
    print_goal("memory below 1500 MB at batch 32", f"{peak:.0f} MB", peak < 1500)


def _ours(batch_size: int, shards: Path) -> list[tuple[float, float]]:
    """(seconds, of these waiting for data) of each step."""
    from shared.contracts.training import Compute, Recipe
    from shared.picosam.data.shards import ShardReader
    from shared.picosam.fit import StepReport, fit
    from shared.picosam.state import TrainState, new_state

    taken: list[tuple[float, float]] = []

    class Stopwatch:
        def stop_requested(self) -> bool:
            return False

        def on_step(self, report: StepReport) -> None:
            taken.append((report.seconds, report.waited_s))

        def on_eval(self, state: TrainState) -> None:  # noqa: ARG002 - the protocol's
            return None

        def on_checkpoint(self, state: TrainState) -> None:  # noqa: ARG002 - the protocol's
            return None

    recipe = Recipe(batch_size=batch_size, samples=batch_size * STEPS)
    fit(new_state(recipe, Compute()), recipe, Compute(), ShardReader(shards), Stopwatch())
    return taken


def _plain(batch_size: int, root: Path, manifest: Path) -> list[tuple[float, float]]:
    """(seconds, of these making the batch) of each step."""
    import numpy as np
    import torch
    from PIL import Image
    from torch.nn.functional import binary_cross_entropy_with_logits

    from shared.picosam.data.manifest import read_rows
    from shared.picosam.data.rle import to_mask
    from shared.picosam.losses import dice_loss
    from shared.picosam.model import build_model
    from shared.picosam.prompt import extract, extract_mask, point_window, prompt_point

    samples = [(row.file, instance) for row in read_rows(manifest, "train") for instance in row.prompts()]
    random = np.random.default_rng(0)
    model = build_model("picosam2", 0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    taken = []
    for _ in range(STEPS):
        begun = time.perf_counter()
        windows, masks = [], []
        for number in random.integers(0, len(samples), batch_size):
            file, instance = samples[number]
            image, mask = np.asarray(Image.open(root / file).convert("RGB")), to_mask(instance.rle)
            window = point_window(prompt_point(mask), mask.shape)
            windows.append(torch.from_numpy(extract(image, window)).permute(2, 0, 1).float() / 256)
            masks.append(torch.from_numpy(extract_mask(mask, window)).float()[None])
        x, y = torch.stack(windows), torch.stack(masks)
        loaded = time.perf_counter()
        logits = model(x)
        loss = binary_cross_entropy_with_logits(logits, y) + dice_loss(logits, y).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        taken.append((time.perf_counter() - begun, loaded - begun))
    return taken


def _child(kind: str, batch_size: int, shards: Path, root: Path, manifest: Path) -> None:
    """Prints one line of JSON: images/s by the median step, the share of time spent on data, peak memory."""
    import resource
    import statistics

    taken = (_ours(batch_size, shards) if kind == "ours" else _plain(batch_size, root, manifest))[WARM_UP:]
    steps, waits = zip(*taken, strict=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    print(
        json.dumps(
            {
                "images_per_s": batch_size / statistics.median(steps),
                "waited_share": sum(waits) / sum(steps),
                "peak_mb": peak,
                "cores": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _child(sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:6]))
    else:
        main()
