"""What an evaluation leaves behind: metrics, tables and pictures in MLflow, figures in the job's result.

Names. The first model's figures carry the names that training jobs use, so that MLflow compares an evaluation with the runs
that made the model; those of the model in slot N are ``models.N/miou_96``, those of a baseline ``baselines.ellipse/...``.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from shared.contracts.evaluation import EvaluationSpec
from shared.contracts.jobs import Progress
from shared.kit.tracking import RunSink
from shared.picosam import pictures
from shared.picosam.evaluation import plots
from shared.picosam.evaluation.breakdown import Asked, iou_by_category, sample_of
from shared.picosam.evaluation.compare import Difference
from workers.evaluation.networks import Candidate
from workers.evaluation.prompts import PromptSet
from workers.evaluation.scoring import Scores
from workers.harness.context import JobContext


def metrics(scores: list[Scores], baselines: Mapping[str, Scores], compared: list[dict[str, Difference]]) -> dict[str, float]:
    """All figures under the names that MLflow gets."""
    found = dict(scores[0].figures)
    for slot, other in enumerate(scores[1:], start=1):
        found |= {f"models.{slot}/{name}": value for name, value in other.figures.items()}
    for slot, each in enumerate(compared, start=1):
        for name, difference in each.items():
            ends = {"": difference.mean, "_low": difference.low, "_high": difference.high, "_p": difference.p_value}
            found |= {f"models.{slot}/{name}_difference{end}": value for end, value in ends.items()}
    for name, baseline in baselines.items():
        found |= {f"baselines.{name}/{figure}": value for figure, value in baseline.figures.items()}
    return found


def result(
    candidates: list[Candidate],
    sets: list[PromptSet],
    scores: list[Scores],
    baselines: Mapping[str, Scores],
    compared: list[dict[str, Difference]],
) -> dict[str, Any]:
    """The job's result: the first model's figures by their plain names, then every model's, and the comparisons."""
    windows = sets[0].main.windows
    first = candidates[0].name
    return {
        **scores[0].figures,
        "prompts": len(windows),
        "images": int(np.unique(windows.image_id).size),
        "models": [_described(*each) for each in zip(candidates, scores, strict=True)],
        "baselines": {name: each.figures for name, each in baselines.items()},
        "comparisons": [
            {"model": candidate.name, "against": first, "figure": name, **asdict(difference)}
            for candidate, found in zip(candidates[1:], compared, strict=True)
            for name, difference in found.items()
        ],
    }


def _described(candidate: Candidate, scores: Scores) -> dict[str, Any]:
    return {
        "slot": candidate.slot,
        "model": candidate.model,
        "runtime": candidate.runtime,
        "architecture": candidate.config.architecture,
        "quantization": candidate.config.quantization,
        "figures": scores.figures,
        "windows_per_second": scores.windows_per_second,
    }


def log_tables(
    sink: RunSink, candidates: list[Candidate], sets: list[PromptSet], scores: list[Scores], names: Mapping[int, str]
) -> dict[str, str]:
    """IoU per prompt as CSV and mIoU by category as JSON; their artifact paths by name."""
    paths = {"prompts": "evaluation/prompts.csv", "categories": "evaluation/categories.json"}
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(_rows(candidates, sets, scores, names))
    sink.artifact(table.getvalue(), paths["prompts"])
    by_category = {
        candidate.name: {
            each.main.name: {name: asdict(band) for name, band in _categories(each.main, one, names).items()} for each in sets
        }
        for candidate, one in zip(candidates, scores, strict=True)
    }
    sink.artifact_json(by_category, paths["categories"])
    return paths


def _categories(asked: Asked, scores: Scores, names: Mapping[int, str]) -> dict[str, Any]:
    return dict(iou_by_category(asked, scores.ious[asked.name], names))


def _rows(
    candidates: list[Candidate], sets: list[PromptSet], scores: list[Scores], names: Mapping[int, str]
) -> Iterator[list[Any]]:
    """A line per prompt, policy and border rule: the object, then each model's IoU."""
    yield ["figure", "annotation_id", "image_id", "category", "area", "clipped", *(each.name for each in candidates)]
    for asked in (asked for each in sets for asked in each.by_border.values()):
        windows = asked.windows
        columns = [one.ious[asked.name] for one in scores]
        for row in range(len(windows)):
            category = int(windows.category[row])
            about = [int(windows.instance_id[row]), int(windows.image_id[row]), names.get(category) or category]
            size = [float(windows.area[row]), int(windows.clipped[row])]
            yield [asked.name, *about, *size, *(f"{column[row]:.6f}" for column in columns)]


def draw(
    ctx: JobContext,
    spec: EvaluationSpec,
    sink: RunSink,
    candidates: list[Candidate],
    sets: list[PromptSet],
    scores: list[Scores],
    baselines: Mapping[str, Scores],
    compared: list[dict[str, Difference]],
) -> dict[str, str]:
    """All pictures; their artifact paths by name."""
    ctx.report(Progress(phase="pictures", done=0, unit="picture"))
    folder, asked = ctx.folder / "pictures", sets[0].main
    drawn = _Drawn(folder)
    by_name = {candidate.name: one for candidate, one in zip(candidates, scores, strict=True)}
    everything = by_name | {name: one for name, one in baselines.items() if asked.name in one.ious}
    values = {name: one.ious[asked.name] for name, one in everything.items()}
    pictures.iou_histogram(scores[0].ious[asked.name], asked.windows.area, drawn("iou_histogram"))
    plots.size_bars(values, asked.windows.area, drawn("iou_by_size"))
    plots.hit_curve(values, drawn("hit_rate"))
    if spec.jitter:
        plots.jitter_curves(_panels(everything, sets), drawn("jitter"))
    if compared:
        forest = {f"{each.name}, {name}": gap for each, gaps in _pairs(candidates, compared) for name, gap in gaps.items()}
        plots.difference_forest(forest, candidates[0].name, spec.comparison.confidence, drawn("differences"))
    for name, rows in plots.extremes(scores[0].ious[asked.name], spec.pictures).items():
        if rows:
            pictures.sample_grid([_sample(asked, scores[0], row) for row in rows], drawn(f"samples_{name}"))
    artifacts = {name: f"evaluation/{path.name}" for name, path in drawn.files.items()}
    for name, path in drawn.files.items():
        sink.artifact(path, artifacts[name])
    return artifacts


def _pairs(
    candidates: list[Candidate], compared: list[dict[str, Difference]]
) -> Iterator[tuple[Candidate, dict[str, Difference]]]:
    return zip(candidates[1:], compared, strict=True)


def _panels(scores: Mapping[str, Scores], sets: list[PromptSet]) -> dict[str, dict[str, dict[float, float]]]:
    return {
        each.main.name: {name: one.jitter[each.main.name] for name, one in scores.items() if each.main.name in one.jitter}
        for each in sets
    }


def _sample(asked: Asked, scores: Scores, row: int) -> pictures.Sample:
    return sample_of(asked, row, scores.answers[asked.name].mask(row), float(scores.ious[asked.name][row]))


class _Drawn:
    """Names files and remembers them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}

    def __call__(self, name: str) -> Path:
        return self.files.setdefault(name, self.folder / f"{name}.png")
