"""What the quantized network is worth beside the float one: the same prompts, asked under the rules of every job kind."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from shared.contracts.quantization import QuantizationSpec
from shared.contracts.windows import Border
from shared.picosam.calibrating import BORDER, Judged
from shared.picosam.evaluation.answers import Answers, ask_under_all, ious, rows_to_ask
from shared.picosam.evaluation.breakdown import Asked, figures_of
from shared.picosam.evaluation.compare import Difference, compare
from shared.picosam.evaluation.networks import Network, OnnxNetwork
from shared.picosam.figures import Values
from shared.picosam.placement import threads_for
from shared.picosam.quantization.agreement import MaskAgreement, of_masks
from workers.harness.context import JobContext
from workers.harness.progress import Counter, Meter
from workers.quantization.inputs import FloatModel, Windows
from workers.quantization.making import QUANTIZATION, REFERENCE, Made


@dataclass(slots=True)
class Scores:
    """Of one network."""

    figures: dict[str, float] = field(default_factory=dict)
    ious: dict[Border, Values] = field(default_factory=dict)
    answers: dict[Border, Answers] = field(default_factory=dict)
    windows_per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both networks."""

    floats: Scores
    quantized: Scores
    drops: dict[str, Difference]
    """The float network's mIoU less the quantized one's, by figure: what quantization costs."""
    agreement: dict[Border, MaskAgreement]
    """Of the two networks' masks."""

    @property
    def drop(self) -> Difference:
        """Of the first figure, which the gate looks at."""
        return next(iter(self.drops.values()))

    def judged(self, windows: Windows) -> Judged:
        """The masks that serving the quantized network would give."""
        answers = self.quantized.answers[BORDER]
        images = windows.prompts[BORDER].windows.image_id
        return Judged(soft_iou=answers.soft_iou, iou=self.quantized.ious[BORDER], area=answers.area, image_id=images)

    def changed_most(self, border: Border, count: int) -> list[int]:
        """Rows of the prompts whose masks agree least, the most changed first."""
        alike = ious(self.floats.answers[border].bits, self.quantized.answers[border].bits)
        rows: list[int] = np.argsort(alike, kind="stable")[:count].tolist()
        return rows


def score(ctx: JobContext, spec: QuantizationSpec, floats: FloatModel, made: Made, windows: Windows) -> Compared:
    """Ask both networks in plain ONNX Runtime, and compare. Stopped between two batches."""
    threads, prompts = threads_for(spec.compute), windows.prompts
    readers = {border: asked.windows for border, asked in prompts.items()}
    meter = Counter(Meter(ctx, "evaluate", "window"), 2 * sum(rows_to_ask(readers, border).size for border in readers))
    first = _scored(ctx, OnnxNetwork(floats.onnx, threads=threads), prompts, meter)
    network = OnnxNetwork(made.folder / REFERENCE, quantization=QUANTIZATION[spec.platform], threads=threads)
    second = _scored(ctx, network, prompts, meter)
    return Compared(
        floats=first,
        quantized=second,
        drops={
            asked.name: compare(second.ious[border], first.ious[border], asked.windows.image_id, spec.comparison)
            for border, asked in prompts.items()
        },
        agreement={border: of_masks(first.answers[border].bits, second.answers[border].bits) for border in prompts},
    )


def _scored(ctx: JobContext, network: Network, prompts: Mapping[Border, Asked], progress: Counter) -> Scores:
    readers = {border: asked.windows for border, asked in prompts.items()}
    before, begun = progress.done, time.perf_counter()
    answers = ask_under_all(network, readers, progress=progress, stop_requested=ctx.stop_requested)
    seconds = time.perf_counter() - begun
    scores = Scores(answers=answers, windows_per_second=(progress.done - before) / seconds)
    for border, asked in prompts.items():
        scores.ious[border] = ious(answers[border].bits, asked.truth)
        scores.figures = figures_of(asked, scores.ious[border]) | scores.figures
    return scores
