"""Asks every model every prompt, and works out what the answers are worth."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shared.contracts.evaluation import EvaluationSpec
from shared.contracts.windows import Border
from shared.picosam import figures
from shared.picosam.baselines import BASELINES
from shared.picosam.evaluation.answers import Answers, ask, ask_under_all, draw_all, ious, rows_to_ask
from shared.picosam.evaluation.breakdown import Asked, figures_of, mask_ap_of
from shared.picosam.evaluation.compare import Difference, compare
from shared.picosam.figures import Values
from workers.evaluation.networks import Candidate
from workers.evaluation.prompts import PromptSet
from workers.harness.context import JobContext
from workers.harness.progress import Counter, Meter


@dataclass(slots=True)
class Scores:
    """What one model, or one baseline, is worth."""

    figures: dict[str, float] = field(default_factory=dict)
    ious: dict[str, Values] = field(default_factory=dict)
    """IoU of each prompt by the name of its figure: miou_96, miou_96_pad, ..."""
    jitter: dict[str, dict[float, float]] = field(default_factory=dict)
    """mIoU by noise, by the name of its figure."""
    answers: dict[str, Answers] = field(default_factory=dict)
    windows: int = 0
    seconds: float = 0.0

    @property
    def windows_per_second(self) -> float:
        """Of asking alone: windows read from disk, network, masks packed."""
        return self.windows / self.seconds if self.seconds else 0.0


def score(ctx: JobContext, spec: EvaluationSpec, candidates: list[Candidate], sets: list[PromptSet]) -> list[Scores]:
    """All models on all prompts, in the spec's order. Stopped between two batches."""
    progress = Counter(Meter(ctx, "evaluate", "window"), len(candidates) * sum(_questions(each) for each in sets))
    return [_scored(ctx, spec, candidate, sets, progress) for candidate in candidates]


def baselines(ctx: JobContext, spec: EvaluationSpec, sets: list[PromptSet]) -> dict[str, Scores]:
    """What a filled box and an ellipse are worth where prompts are boxes: a network must beat them. Empty for points."""
    boxed = [each for each in sets if each.main.windows.box is not None]
    if not boxed:
        return {}
    found = {}
    for name, draw in BASELINES.items():
        scores = found[name] = Scores()
        for each in boxed:
            for asked in each.by_border.values():
                ctx.raise_if_stopped()
                _add(scores, asked, draw_all(draw, asked.windows), mask_ap=spec.mask_ap)
            _add_jitter(scores, each, lambda asked: draw_all(draw, asked.windows))  # noqa: B023
    return found


def differences(spec: EvaluationSpec, scores: list[Scores], sets: list[PromptSet]) -> list[dict[str, Difference]]:
    """Of each model but the first: its mIoU less the first's, by figure."""
    images = {asked.name: asked.windows.image_id for each in sets for asked in each.by_border.values()}
    return [
        {name: compare(first, other.ious[name], images[name], spec.comparison) for name, first in scores[0].ious.items()}
        for other in scores[1:]
    ]


def _scored(ctx: JobContext, spec: EvaluationSpec, candidate: Candidate, sets: list[PromptSet], progress: Counter) -> Scores:
    scores = Scores()

    def asked_of(asked: Asked) -> Answers:
        rows = rows_to_ask({asked.border: asked.windows}, asked.border)
        return ask(candidate.network, asked.windows, rows, progress=progress, stop_requested=ctx.stop_requested)

    for each in sets:
        before, begun = progress.done, time.perf_counter()
        answers = ask_under_all(candidate.network, each.windows(), progress=progress, stop_requested=ctx.stop_requested)
        scores.seconds += time.perf_counter() - begun
        scores.windows += progress.done - before
        for border, asked in each.by_border.items():
            ctx.raise_if_stopped()
            _add(scores, asked, answers[border], mask_ap=spec.mask_ap)
        _add_jitter(scores, each, asked_of)
    shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.figures.items() if name in scores.ious)
    ctx.log(f"{candidate.name}: {shown}; {scores.windows_per_second:.0f} windows/s")
    return scores


def _add(scores: Scores, asked: Asked, answers: Answers, *, mask_ap: bool) -> None:
    found = ious(answers.bits, asked.truth)
    scores.ious[asked.name], scores.answers[asked.name] = found, answers
    # Windows of boxes are rounded otherwise by the rule `authors`: of those that touch no border the first rule's count.
    scores.figures = figures_of(asked, found) | scores.figures
    if mask_ap:
        scores.figures |= mask_ap_of(asked, answers)


def _add_jitter(scores: Scores, prompts: PromptSet, asked_of: Callable[[Asked], Answers]) -> None:
    """A point of the curve for each share of noise; without noise it is what was asked already."""
    for share, asked in prompts.by_jitter.items():
        found = scores.ious[asked.name] if share == 0 else ious(asked_of(asked).bits, asked.truth)
        scores.jitter.setdefault(asked.name, {})[share] = figures.miou(found)
        scores.figures[f"{asked.name}_jitter_{100 * share:g}"] = figures.miou(found)


def _questions(prompts: PromptSet) -> int:
    """Windows that one network is asked."""
    windows: Mapping[Border, object] = prompts.by_border
    borders = sum(rows_to_ask(prompts.windows(), border).size for border in windows)
    return borders + sum(len(asked.windows) for share, asked in prompts.by_jitter.items() if share)
