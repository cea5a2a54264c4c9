"""One request from its bytes to its answer, in one thread."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from services.inference.engine.loaded import LoadedVersion
from services.inference.engine.runners import Logits
from services.inference.engine.served import Served
from services.inference.metrics import STAGES
from services.inference.runtime import Services
from services.inference.segmentation.bodies import Asked
from services.inference.segmentation.errors import ImageTooLarge
from services.inference.segmentation.images import Photo
from services.inference.segmentation.masks import Placed, encode, placed
from services.inference.segmentation.windows import grid_prompts, window_of
from services.inference.settings import InferenceSettings
from shared.contracts.segmentation import Everything, ImageOut, ObjectOut, Prompt, SegmentIn, SegmentOut, TimingsOut, WindowOut
from shared.picosam.confidence import expected_iou, soft_iou
from shared.picosam.prompt import Shape, Window

_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What the network says of one prompt."""

    number: int
    prompt: Prompt
    window: Window
    logits: NDArray[np.float32]
    confidence: float
    spot: Placed


class Laps:
    """How long each stage took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, stage: str) -> None:
        """The stage ends here; the next one begins."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0) + now - self._last
        self._last = now


def segment(
    services: Services, asked: Asked[SegmentIn], served: Served, loaded: LoadedVersion, laps: Laps, alone: bool
) -> bytes:
    """The answer as JSON. BadImage, ImageTooLarge, InvalidRequest."""
    laps.end("queue")
    wanted = asked.wanted
    photo = _opened(asked, services.settings)
    prompts = wanted.prompts or grid_prompts(wanted.everything or Everything(), photo.shape)
    policy = loaded.config.window
    windows = [window_of(prompt, f"body.prompts.{number}", photo.shape, policy) for number, prompt in enumerate(prompts)]
    views = photo.decoded_for(windows, loaded.config.input_size)
    laps.end("decode")
    inputs = views.cut()
    laps.end("window")
    logits = loaded.logits(inputs, alone=alone)
    laps.end("run")
    found = _found(prompts, windows, logits, photo.shape, loaded)
    objects = [_object(each, wanted, loaded) for each in _kept(found, wanted.everything)]
    laps.end("encode")
    _note(services, served, loaded, found, laps)
    services.shadows.offer(served, inputs, logits)
    answer = SegmentOut(
        deployment=served.name,
        generation=served.generation,
        model=loaded.model,
        engine=loaded.engine,
        image=ImageOut(width=photo.shape[1], height=photo.shape[0], format=photo.format),
        objects=objects,
        timings_ms=TimingsOut(**{stage: round(laps.seconds[stage] * _MS, 3) for stage in STAGES}),
    )
    return answer.model_dump_json().encode()


def _opened(asked: Asked[SegmentIn], settings: InferenceSettings) -> Photo:
    content = asked.content()
    if len(content) > settings.max_image_bytes:
        raise ImageTooLarge(
            f"The image has {len(content):,} bytes; at most {settings.max_image_bytes:,} are read.",
            max_bytes=settings.max_image_bytes,
        )
    return Photo(content, max_pixels=settings.max_image_pixels)


def _found(prompts: list[Prompt], windows: list[Window], logits: Logits, shape: Shape, loaded: LoadedVersion) -> list[Found]:
    confidences = expected_iou(soft_iou(logits), loaded.card.calibration if loaded.card else None)
    return [
        Found(number, prompt, window, cells, float(confidence), placed(cells > 0, window, shape))
        for number, (prompt, window, cells, confidence) in enumerate(zip(prompts, windows, logits, confidences, strict=True))
    ]


def _kept(found: list[Found], everything: Everything | None) -> list[Found]:
    """All of them, or of a grid's the most confident ones that do not overlap."""
    if everything is None:
        return found
    seen = [each for each in found if each.confidence >= everything.min_confidence and each.spot.area]
    ranked = sorted(seen, key=lambda each: -each.confidence)
    kept = suppress([each.spot for each in ranked], everything.nms_iou)
    return [ranked[place] for place in kept][: everything.max_objects]


def suppress(ranked: list[Placed], limit: float) -> list[int]:
    """Which masks stay, by place, when each one drops those behind it that it overlaps by more than ``limit`` (IoU)."""
    rles = [spot.rle() for spot in ranked]
    overlaps = np.asarray(coco.iou(rles, rles, [0] * len(rles))) if rles else np.empty((0, 0))
    gone = np.zeros(len(ranked), np.bool_)
    kept = []
    for place in range(len(ranked)):
        if not gone[place]:
            kept.append(place)
            gone |= overlaps[place] > limit
    return kept


def _object(found: Found, wanted: SegmentIn, loaded: LoadedVersion) -> ObjectOut:
    area, window, prompt = found.spot.area, found.window, found.prompt
    return ObjectOut(
        id=prompt.id if prompt.id is not None else str(found.number),
        label=prompt.label,
        mask=encode(found.logits, window, found.spot, wanted.output, wanted.view) if area else None,
        area=area,
        box=found.spot.box,
        confidence=round(found.confidence, 4) if area else 0,
        calibrated=loaded.card is not None and loaded.card.calibration is not None,
        window=WindowOut(x0=window.x0, y0=window.y0, x1=window.x1, y1=window.y1, border=window.border, clipped=window.clipped),
        point=prompt.point if wanted.everything else None,
    )


def _note(services: Services, served: Served, loaded: LoadedVersion, found: list[Found], laps: Laps) -> None:
    metrics, version = services.metrics, (served.name, loaded.model)
    shares = np.asarray([each.spot.cells.mean() for each in found])
    areas, confidences = shares[shares > 0], np.asarray([each.confidence for each in found])[shares > 0]
    for histogram, values in ((metrics.area, areas), (metrics.confidence, confidences)):
        observe = histogram.labels(*version).observe
        for value in values.tolist():
            observe(value)
    metrics.empty.labels(*version).inc(len(found) - len(areas))
    services.drift.note(served.name, loaded, areas, confidences, len(found) - len(areas))
    metrics.ran(served.name, len(found), laps.seconds)
