"""A distillation epoch with a warm cache of answers against a plain training epoch: same windows, same network, same batches.

Both are `fit` as a job runs it. The cache holds an answer to every window, as a teacher leaves it: half precision, on disk,
warped with the window in every step. Goal: the distilled epoch takes at most 1.15 times as long as the plain one.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from shared.contracts.distillation import Distillation
from shared.contracts.training import Compute, Recipe
from shared.contracts.windows import WindowPolicy
from tests.bench.images import bench_images
from tests.bench.table import print_goal, print_table, ratio
from tests.bench.turns import ROUNDS, TURN, Turns, row, take_turns

BATCHES = (8, 16)
WAYS = [(kind, batch) for batch in BATCHES for kind in ("plain", "distilled")]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        what = _prepare(Path(name))
        rounds = take_turns({way: (["tests.bench.bench_distillation", way[0], str(way[1]), name], {}) for way in WAYS})
    rows = {way: row(f"{way[0]}, batch {way[1]}", [taken[way] for taken in rounds]) for way in WAYS}
    print_table(f"Distilling PicoSAM2 with a warm cache on {what}", "images/s", list(rows.values()), compare=False)
    for batch in BATCHES:
        longer = ratio(rows["plain", batch], rows["distilled", batch])
        print_goal(f"a distilled epoch at most 1.15 times a plain one, batch {batch}", f"{longer:.3f}", longer <= 1.15)


def _prepare(folder: Path) -> str:
    from shared.picosam.data.shards import ShardPolicy, prepare

    images = bench_images(folder)
    policy = ShardPolicy(window=WindowPolicy(), canvas=168)
    windows = prepare(images.manifest, images.root, "train", policy, folder / "windows", digest=images.digest)
    _answer(windows, folder / "answers")
    return f"{images.what}, {len(windows)} windows"


def _asked():
    from shared.picosam.teachers.answers import Asked

    return Asked(
        teacher="sha256:bench", dataset="sha256:bench", split="train", shards="bench", view="window", context_side=None
    )


def _answer(windows, folder: Path) -> None:
    """As a teacher would that knows the truth but for noise."""
    from shared.picosam.teachers.answers import AnswerWriter, Batch

    random = np.random.default_rng(0)
    with AnswerWriter(folder, _asked(), windows=len(windows), canvas=windows.canvas) as writer:
        for start in range(0, len(windows), 64):
            masks = windows.windows(np.arange(start, min(start + 64, len(windows))))[1]
            logits = np.where(masks, 6, -6) + random.standard_normal(masks.shape, np.float32)
            quality = random.uniform(0.3, 1, len(masks)).astype(np.float32)
            writer.add(Batch(logits=logits, quality=quality, iou=quality.astype(np.float64)))
        writer.finish()


def _child(kind: str, batch_size: int, folder: Path) -> None:
    from shared.picosam.data.shards import ShardReader
    from shared.picosam.fit import StepReport, fit
    from shared.picosam.objectives import FromTeacher
    from shared.picosam.state import TrainState, new_state
    from shared.picosam.teachers.answers import AnswerReader

    turns = Turns(batch_size)

    class Hooks:
        def stop_requested(self) -> bool:
            return turns.is_over()

        def on_step(self, report: StepReport) -> None:
            turns.add(report.seconds, report.waited_s)

        def on_eval(self, state: TrainState) -> None:
            pass

        def on_checkpoint(self, state: TrainState) -> None:
            pass

    recipe = Recipe(batch_size=batch_size, samples=batch_size * TURN * (ROUNDS + 2))
    learning = {}
    if kind == "distilled":
        learning = {"objective": FromTeacher(recipe, Distillation()), "answers": AnswerReader(folder / "answers", _asked())}
    fit(new_state(recipe, Compute()), recipe, Compute(), ShardReader(folder / "windows"), Hooks(), **learning)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        _child(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
