"""Scores a network on the validation windows, and draws what it sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.contracts.windows import Border
from shared.picosam import metrics, pictures
from shared.picosam.calibrating import BORDER, Judged
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.evaluate import EvaluationResult, evaluate
from shared.picosam.placement import Placement
from shared.picosam.prompt import Window, paste
from workers.harness.context import JobContext
from workers.harness.progress import Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One evaluation: all figures by name, and the values per prompt under each border rule."""

    figures: dict[str, float]
    by_border: dict[Border, EvaluationResult]


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores networks on the same windows again and again."""

    ctx: JobContext
    windows: dict[Border, ShardReader]
    placement: Placement
    label: str
    """Of the window policy: metrics of other windows than the published ones have names of their own."""

    def score(self, model: nn.Module, *, limit: int | None, mask_ap: bool) -> Scores:
        """Under every border rule, the first ``limit`` prompts. Raises Stopped between two batches."""
        figures: dict[str, float] = {}
        by_border: dict[Border, EvaluationResult] = {}
        for border, windows in self.windows.items():
            count = len(windows) if limit is None else min(limit, len(windows))
            pasted: list[_Pasted] = []
            sink = _keeper(windows, border, pasted if mask_ap else None, Meter(self.ctx, "evaluate", "window"), count)
            result = evaluate(model, windows, self.placement, limit=limit, sink=sink, stop_requested=self.ctx.stop_requested)
            by_border[border] = result
            clipped = windows.clipped[:count]
            figures |= metrics.scores(
                result.iou, border=border, clipped=clipped, has_object=result.has_object, label=self.label
            )
            if mask_ap:
                found = _mask_ap(windows, pasted, result)
                figures |= {metrics.metric_name(name, border, self.label): value for name, value in found.items()}
        return Scores(figures=figures, by_border=by_border)

    def judged(self, scores: Scores) -> Judged:
        """What ``scores`` says of the masks that serving would give."""
        found = scores.by_border[BORDER]
        images = self.windows[BORDER].image_id[: len(found)]
        return Judged(soft_iou=found.soft_iou, iou=found.iou, area=found.area, image_id=images)

    def samples(self, model: nn.Module, *, among: int, count: int, border: Border = Border.PAD) -> list[pictures.Sample]:
        """``count`` samples spread evenly over the first ``among`` prompts: the same ones whenever the same is asked for."""
        windows = self.windows[border]
        among = min(among, len(windows))
        rows = np.unique(np.linspace(0, among - 1, min(count, among)).round().astype(np.int64))
        images, truth = windows.windows(rows)
        with torch.inference_mode():
            logits = model.eval()(self.placement.inputs(torch.from_numpy(images).permute(0, 3, 1, 2))).float().cpu()
        predicted = metrics.predicted_masks(logits)
        ious = metrics.iou(predicted, torch.from_numpy(truth).unsqueeze(1))
        return [
            pictures.Sample(
                image=images[number],
                prompt=_prompt(windows, int(row), border),
                predicted=predicted[number, 0].numpy(),
                truth=truth[number],
                iou=float(ious[number]),
                label=f"object {windows.instance_id[row]}",
            )
            for number, row in enumerate(rows)
        ]


@dataclass(frozen=True, slots=True)
class _Pasted:
    row: int
    mask: dict[str, object]


def _keeper(
    windows: ShardReader, border: Border, pasted: list[_Pasted] | None, meter: Meter, total: int
) -> Callable[[NDArray[np.int64], Tensor, Tensor], None]:
    """Reports progress, and where mask AP is wanted pastes each mask back into its image at once: logits would fill memory."""

    def keep(rows: NDArray[np.int64], logits: Tensor, _truth: Tensor) -> None:
        if pasted is not None:
            for row, mask in zip(rows.tolist(), metrics.predicted_masks(logits), strict=True):
                pasted.append(_Pasted(row, _whole(windows, border, row, mask[0].numpy())))
        meter(int(rows[-1]) + 1, total)

    return keep


def _whole(windows: ShardReader, border: Border, row: int, mask: NDArray[np.bool_]) -> dict[str, object]:
    from shared.picosam.mask_ap import encode  # imports pycocotools and with it matplotlib: only where it is needed

    height, width = windows.image_shape[row].tolist()
    return encode(paste(mask, _window(windows, row, border), (height, width)))


def _mask_ap(windows: ShardReader, pasted: Sequence[_Pasted], result: EvaluationResult) -> dict[str, float]:
    from shared.picosam.mask_ap import PromptedMask, mask_ap

    masks = [
        PromptedMask(
            image_id=int(windows.image_id[each.row]),
            category_id=int(windows.category[each.row]),
            confidence=float(result.confidence[each.row]),
            predicted=each.mask,
            truth=_rle(windows, each.row),
            area=float(windows.area[each.row]),
        )
        for each in pasted
    ]
    return mask_ap(masks, windows.federation)


def _rle(windows: ShardReader, row: int) -> dict[str, object]:
    truth = windows.truth(row)
    return {"size": list(truth.size), "counts": truth.counts.encode()}


def _window(windows: ShardReader, row: int, border: Border) -> Window:
    x0, y0, x1, y1 = windows.window[row].tolist()
    return Window(x0=x0, y0=y0, x1=x1, y1=y1, border=border, clipped=bool(windows.clipped[row]))


def _prompt(windows: ShardReader, row: int, border: Border) -> tuple[float, float]:
    x, y = windows.point[row].tolist()
    return _window(windows, row, border).to_cells((x, y))


def draw_samples(samples: Sequence[pictures.Sample], folder: Path) -> Path:
    """The sample grid as a PNG in ``folder``."""
    path = folder / "samples.png"
    pictures.sample_grid(samples, path)
    return path
