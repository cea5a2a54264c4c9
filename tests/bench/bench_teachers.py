"""SAM 2.1 tiny as teacher: prompts per minute against one `set_image` and one `predict` per sample. Goal: 3 times, cold cache.

Random weights: the work is the same. The plain way is what the published training loop does, with the same view: it embeds
the picture anew for each of its prompts. With BENCH_SMALL=1 one image is asked, as in CI: it shows seconds and memory.
"""

import os
import resource
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import from_numpy
from torch.nn import functional

from shared.contracts.distillation import SamSize, TeacherView
from shared.contracts.windows import WindowPolicy
from shared.picosam.data.shards import ShardPolicy, prepare
from shared.picosam.teachers.sam import SamTeacher, random_sam
from shared.picosam.teachers.views import DatasetImages, Question, Questions
from tests.bench.images import BenchImages, bench_images
from tests.bench.table import Measured, print_goal, print_table, ratio

GOAL = 3
SMALL = os.environ.get("BENCH_SMALL") == "1"
IMAGES = 1 if SMALL else 3
PROMPTS = 4 if SMALL else 7  # COCO's mean
VIEWS = (TeacherView.IMAGE,) if SMALL else (TeacherView.IMAGE, TeacherView.CONTEXT)


@dataclass(frozen=True)
class Work:
    """Questions about the windows of a few images with several objects each."""

    asking: Questions
    questions: list[Question]

    @property
    def prompts(self) -> int:
        return sum(len(question.rows) for question in self.questions)


def main() -> None:
    teacher = random_sam(SamSize.TINY)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sam2 scripts its transforms, which torch deprecates
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        images = bench_images(Path(name))
        predictor = SAM2ImagePredictor(teacher._network)
        for view in VIEWS:
            work = _work(images, Path(name) / view.value, view)
            _ours(teacher, Work(work.asking, work.questions[:1]))  # the first pass allocates
            ours = [_ours(teacher, part) for part in _rounds(work)]
            peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
            plain = [_plain(predictor, part) for part in _rounds(work)]
            _report(images, view, work, plain, ours, peak_gb)


def _report(images: BenchImages, view: TeacherView, work: Work, plain: list[float], ours: list[float], peak_gb: float) -> None:
    seconds = sum(60 * part.prompts / rate for part, rate in zip(_rounds(work), ours, strict=True))
    rows = [
        Measured(name="set_image + predict per sample", rates=plain),
        Measured(
            name="embedded once per view, prompts batched",
            rates=ours,
            notes={"s per view": f"{seconds / len(work.questions):.2f}", "peak memory": f"{peak_gb:.2f} GB"},
        ),
    ]
    print_table(f"SAM 2.1 tiny, view {view}, {work.prompts} prompts on {images.what}", "prompts/min", rows)
    times = ratio(rows[1], rows[0])
    if view is TeacherView.IMAGE:
        print_goal(f"view image at least {GOAL} times the plain way", f"{times:.1f}", times >= GOAL)


def _work(images: BenchImages, folder: Path, view: TeacherView) -> Work:
    """The first images with that many prompts; of a view per prompt, as many views."""
    policy = ShardPolicy(window=WindowPolicy(), canvas=168, max_windows=500)
    windows = prepare(images.manifest, images.root, "train", policy, folder, digest=images.digest)
    chosen = [image for image, count in Counter(windows.image_id.tolist()).items() if count >= PROMPTS][:IMAGES]
    asking = Questions(windows, policy, view, images=DatasetImages(images.manifest, images.root, "train"))
    questions = [question for question in asking.ask() if int(windows.image_id[question.rows[0]]) in chosen]
    return Work(asking, questions[:IMAGES])


def _rounds(work: Work) -> list[Work]:
    """In three parts, one after another, so that the spread shows how quiet the machine was."""
    return [Work(work.asking, work.questions[start::IMAGES]) for start in range(IMAGES)]


def _ours(teacher: SamTeacher, work: Work) -> float:
    begun = time.perf_counter()
    for question in work.questions:
        (answer,) = teacher.answer([question.view])
        work.asking.onto_canvas(answer.logits, question)
    return 60 * work.prompts / (time.perf_counter() - begun)


def _plain(predictor, work: Work) -> float:
    begun = time.perf_counter()
    for question in work.questions:
        for prompt in range(len(question.rows)):
            predictor.set_image(question.view.image)
            points, labels = question.view.points[prompt : prompt + 1], np.array([1])
            masks, quality, _ = predictor.predict(point_coords=points, point_labels=labels, return_logits=True)
            functional.interpolate(from_numpy(masks[quality.argmax()])[None, None], (96, 96), mode="bilinear")
    return 60 * work.prompts / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
