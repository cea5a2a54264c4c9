"""What answers are worth: figures under the names of all job kinds, by object size, by category, and as mask AP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.contracts.windows import Border
from shared.picosam import figures
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.evaluation.answers import Answers, Bits
from shared.picosam.figures import BandIou, Flags, Values
from shared.picosam.mask_ap import PromptedMask, encode, mask_ap
from shared.picosam.pictures import Sample
from shared.picosam.prompt import Window, paste


@dataclass(frozen=True, slots=True)
class Asked:
    """One set of prompts: the windows of one policy under one border rule, with their truth."""

    label: str
    border: Border
    windows: ShardReader
    truth: Bits

    @property
    def name(self) -> str:
        """Of the mIoU over these windows: miou_96, miou_box_pad."""
        return figures.miou_name(self.border, self.label)

    @property
    def has_object(self) -> Flags:
        """False where the truth is empty, [N]."""
        found: Flags = (self.truth != 0).any(axis=1)
        return found


def figures_of(asked: Asked, ious: Values) -> dict[str, float]:
    """The protocol's figures and mIoU by object size: miou_96, hit_rate_50_95, miou_96_unclipped, miou_96_small, ..."""
    windows = asked.windows
    found = figures.scores(ious, border=asked.border, clipped=windows.clipped, has_object=asked.has_object, label=asked.label)
    bands = figures.iou_by_area(ious, windows.area)
    return found | {f"{asked.name}_{band}": value.miou for band, value in bands.items() if value.samples}


def mask_ap_of(asked: Asked, answers: Answers) -> dict[str, float]:
    """Mask AP in image pixels: mask_ap, mask_ap_50_pad, mask_ap_small_box, ... Of datasets in LVIS layout mask_ap_rare too."""
    masks = [_prompted(asked, answers, row) for row in range(len(answers))]
    found = mask_ap(masks, asked.windows.federation)
    return {figures.metric_name(name, asked.border, asked.label): value for name, value in found.items()}


def iou_by_category(asked: Asked, ious: Values, names: Mapping[int, str]) -> dict[str, BandIou]:
    """By the category's name (its id where it has none), in the order of the ids."""
    category = asked.windows.category
    return {
        names.get(each) or str(each): BandIou(figures.miou(ious[category == each]), int((category == each).sum()))
        for each in np.unique(category).tolist()
    }


def window_of(asked: Asked, row: int) -> Window:
    """The window of a prompt."""
    x0, y0, x1, y1 = asked.windows.window[row].tolist()
    return Window(x0=x0, y0=y0, x1=x1, y1=y1, border=asked.border, clipped=bool(asked.windows.clipped[row]))


def sample_of(asked: Asked, row: int, predicted: NDArray[np.bool_], iou: float) -> Sample:
    """A prompt as a picture shows it: its window, the network's mask [S, S] and the true one."""
    images, truth = asked.windows.windows(np.array([row]))
    x, y = asked.windows.point[row].tolist()
    return Sample(
        image=images[0],
        prompt=window_of(asked, row).to_cells((x, y)),
        predicted=predicted,
        truth=truth[0],
        iou=iou,
        label=f"object {asked.windows.instance_id[row]}",
    )


def _prompted(asked: Asked, answers: Answers, row: int) -> PromptedMask:
    windows = asked.windows
    height, width = windows.image_shape[row].tolist()
    return PromptedMask(
        image_id=int(windows.image_id[row]),
        category_id=int(windows.category[row]),
        confidence=float(answers.confidence[row]),
        predicted=encode(paste(answers.mask(row), window_of(asked, row), (height, width))),
        truth=_rle(windows, row),
        area=float(windows.area[row]),
    )


def _rle(windows: ShardReader, row: int) -> dict[str, Any]:
    truth = windows.truth(row)
    return {"size": list(truth.size), "counts": truth.counts.encode()}
