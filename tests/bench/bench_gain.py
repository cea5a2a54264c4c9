"""Does distillation help? The same student, the same steps: taught by a wider PicoSAM2 against masks alone, over several seeds.

`make bench-distillation`, or `python -m tests.bench.bench_gain --help`. Takes hours on two cores, so everything is kept in
--work and taken up again where it was: prepared windows, the teacher, its answers, each student. With a seed both students
begin with the same weights and see the same samples in the same order, augmented alike; what differs is the loss.

Differences are in points of mIoU, with a 95 % bootstrap interval over seeds and images (prompts of one image go together).
Generated images can show that the machinery works, but not whether distillation helps on real ones.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tabulate import tabulate

from shared.contracts.distillation import Distillation, TeacherView
from shared.contracts.training import Compute, Recipe
from shared.contracts.windows import Border
from shared.picosam.loader import AnswerPool
from shared.picosam.metrics import hit_rate_50_95, iou, metric_name, miou_name
from shared.picosam.placement import place
from shared.picosam.teachers.answers import AnswerReader, Asked, Cost
from shared.picosam.teachers.fill import fill
from shared.picosam.teachers.registered import load_registered, registered_digest
from shared.picosam.teachers.views import Questions
from shared.picosam.weights import load_weights
from tests.bench.gain_data import BORDERS, MARGIN, GainData, gain_data
from tests.bench.gain_runs import FIGURES, WEIGHTS, Lesson, Run, masks_of, score, train
from tests.bench.intervals import Interval, over_seeds_and_images
from tests.bench.table import machine, print_goal

MASKS: Final = "masks"
ARMS: Final[dict[str, Distillation | None]] = {
    MASKS: None,
    "distilled": Distillation(),
    "half": Distillation(weight=0.5),
    "fading": Distillation(schedule="cosine", final_weight=0.0),
    "paper": Distillation(loss="paper", weight=0.5),
}
"""What students learn from. ``distilled`` is what a job does unless told otherwise."""

Runs = dict[str, list[Run]]
"""Per arm a run of each seed."""


def main(arguments: Sequence[str] = ()) -> None:
    """Trains whatever is missing in --work, then prints."""
    options = _options(arguments)
    compute = Compute(threads=options.threads, device=options.device)
    data = gain_data(options.work / "data", images=options.images)
    teacher = options.teacher or _teacher(options, data, compute)
    answers, costs = taught(options.work / "answers", data, teacher, compute)
    _print_teacher(teacher, data, costs, compute)
    runs: Runs = {arm: [] for arm in options.arms}
    for seed in range(options.seeds):
        for arm in options.arms:
            runs[arm].append(_student(options, data, compute, arm, seed, teacher, answers))
        _report(options.work / "results.json", data, runs, options.resamples)
    print_goals(data, runs, options.resamples)
    _print_agreement(options, data, compute, teacher)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_gain", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    work = Path(tempfile.gettempdir()) / "picofleet-gain"
    parser.add_argument("--work", type=Path, default=work, help=f"folder that is kept between runs; default {work}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=Recipe().samples, help="that each student sees")
    parser.add_argument("--teacher", type=Path, help="model.safetensors of a network; default: a wide one is trained")
    parser.add_argument("--teacher-samples", type=int, default=120_000, help="that this one sees")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[MASKS, "distilled"], metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--images", type=int, help="so many generated images in place of those of PICOFLEET_DATA")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap")
    options = parser.parse_args(arguments)
    options.arms = list(dict.fromkeys([MASKS, *options.arms]))
    return options


def _teacher(options: argparse.Namespace, data: GainData, compute: Compute) -> Path:
    recipe = Recipe(architecture="picosam2_wide", samples=options.teacher_samples, seed=1000)
    folder: Path = options.work / f"teacher-{recipe.samples}"
    train(folder, data, recipe, compute, Lesson(), label="teacher")
    return folder / WEIGHTS


def _student(
    options: argparse.Namespace, data: GainData, compute: Compute, arm: str, seed: int, teacher: Path, answers: AnswerPool
) -> Run:
    recipe = Recipe(samples=options.samples, seed=seed)
    distillation = ARMS[arm]
    lesson = Lesson() if distillation is None else Lesson(distillation, answers)
    return train(_folder(options, arm, seed, teacher), data, recipe, compute, lesson, label=f"{arm}, seed {seed}")


def _folder(options: argparse.Namespace, arm: str, seed: int, teacher: Path) -> Path:
    """Of a student; another teacher's student is another student."""
    taught_by = "" if ARMS[arm] is None else f"-{_digest(teacher)[:8]}"
    work: Path = options.work
    return work / "students" / f"{arm}{taught_by}-{options.samples}-{seed}"


def taught(folder: Path, data: GainData, weights: Path, compute: Compute) -> tuple[AnswerPool, list[Cost]]:
    """The teacher's answers to all windows to learn from, kept in ``folder``, and what each set of them cost."""
    digest = f"sha256:{_digest(weights)}"
    parts = []
    for windows in data.train:
        meta = windows.meta
        asked = Asked(
            teacher=registered_digest(digest), dataset=meta["dataset"], split=meta["split"], shards=meta["key"],
            view=TeacherView.WINDOW.value, context_side=None,
        )  # fmt: skip
        if not (folder / asked.key / "meta.json").is_file():
            torch.set_num_threads(compute.threads or torch.get_num_threads())
            teacher = load_registered(weights, weights=digest, placement=place(compute))
            fill(folder / asked.key, asked, windows, Questions(windows, MARGIN, TeacherView.WINDOW), teacher)
        parts.append(AnswerReader(folder / asked.key, asked))
    return AnswerPool(parts), [part.cost for part in parts]


def gain(data: GainData, runs: Runs, arm: str, border: Border, resamples: int) -> Interval:
    """How much more ``arm`` scores than masks alone, seed by seed and prompt by prompt."""
    differences = np.stack([one.ious[border] - plain.ious[border] for one, plain in zip(runs[arm], runs[MASKS], strict=True)])
    return over_seeds_and_images(differences, data.validation[border].image_id, resamples=resamples)


def _print_teacher(weights: Path, data: GainData, costs: list[Cost], compute: Compute) -> None:
    scores = score(load_weights(weights)[0], data, compute)
    windows, seconds = sum(cost.windows for cost in costs), sum(cost.seconds for cost in costs)
    known = sum(cost.iou * cost.windows for cost in costs) / windows
    said = ", ".join(f"{miou_name(border)} {values.mean():.4f}" for border, values in scores.items())
    print(f"\nTeacher {weights}: {said}")
    if (trained := weights.parent / FIGURES).is_file():
        print(f"its training: {json.loads(trained.read_text())['seconds']:.0f} s")
    cost = f"{seconds:.0f} s, {windows / seconds:.1f} windows/s"
    print(f"its answers to {windows} windows: {cost}, IoU with the masks {known:.3f}", flush=True)


def _report(path: Path, data: GainData, runs: Runs, resamples: int) -> None:
    """Prints a table of the seeds done so far, and writes the same figures as JSON."""
    seeds = len(runs[MASKS])
    rows, written = [], {}
    for arm, done in runs.items():
        row: dict[str, object] = {"": arm, "training": f"{np.mean([run.seconds for run in done]):.0f} s"}
        figures: dict[str, object] = {"seconds": [run.seconds for run in done]}
        for border in BORDERS:
            name, each = miou_name(border), [float(run.ious[border].mean()) for run in done]
            row[name] = f"{np.mean(each):.4f} ± {np.std(each, ddof=1) if seeds > 1 else 0:.4f}"
            figures[name] = each
            figures[metric_name("hit_rate_50_95", border)] = [hit_rate_50_95(run.ious[border]) for run in done]
            if arm != MASKS:
                interval = gain(data, runs, arm, border, resamples)
                row[f"points of {name}"] = str(interval)
                figures[f"gain_{name}"] = asdict(interval)
        rows.append(row)
        written[arm] = figures
    print(f"\nPicoSAM2 on {data.what}, {seeds} seeds (± standard deviation over seeds; gain over {MASKS}, 95 %)\n{machine()}")
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True), flush=True)
    path.write_text(json.dumps({"data": data.what, "seeds": seeds, "arms": written}, indent=1) + "\n")


def _print_agreement(options: argparse.Namespace, data: GainData, compute: Compute, teacher: Path) -> None:
    """Whether a student that scores no better has not listened, or has listened to what does not help."""
    windows = data.validation[Border.PAD]
    masters = masks_of(load_weights(teacher)[0], windows, compute)
    for arm in options.arms:
        folders = [_folder(options, arm, seed, teacher) for seed in range(options.seeds)]
        learnt = [masks_of(load_weights(folder / WEIGHTS)[0], windows, compute) for folder in folders]
        agreed = [float(iou(masks, masters).mean()) for masks in learnt]
        print(f"{arm}: IoU with the teacher's own masks on validation windows {np.mean(agreed):.4f} ± {np.std(agreed):.4f}")


def print_goals(data: GainData, runs: Mapping[str, list[Run]], resamples: int) -> None:
    """A line per arm and border rule: the gain is above zero with 97.5 % confidence, or it is not."""
    for arm in runs:
        for border in BORDERS if arm != MASKS else ():
            interval = gain(data, dict(runs), arm, border, resamples)
            print_goal(f"{arm} better than masks alone in {miou_name(border)}", str(interval), interval.low > 0)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
