"""Asks a teacher about all windows of a shard folder and keeps its answers."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.picosam.data.errors import Stopped
from shared.picosam.data.ordered import Report, ignore, never
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.metrics import iou, predicted_masks
from shared.picosam.teachers.answers import AnswerWriter, Asked, Batch
from shared.picosam.teachers.base import Answer, Teacher, TeacherFailed
from shared.picosam.teachers.views import Question, Questions


def fill(
    folder: Path,
    asked: Asked,
    windows: ShardReader,
    questions: Questions,
    teacher: Teacher,
    *,
    progress: Report = ignore,
    stop: Callable[[], bool] = never,
) -> None:
    """Make ``folder`` the whole answers to ``windows``. What an earlier, interrupted call left in it is checked and kept.

    ``Stopped`` if ``stop()`` became true: what was answered until then is kept. ``TeacherFailed`` if it gave no numbers, or is
    another teacher than the one that ``asked`` names. progress counts windows, those kept included.
    """
    if teacher.digest != asked.teacher:
        raise TeacherFailed(f"the teacher is {teacher.digest}, and not {asked.teacher}, whose answers are wanted")
    total = len(windows)
    with AnswerWriter(folder, asked, windows=total, canvas=windows.canvas) as writer:
        progress(writer.done, total)
        for group in _grouped(questions.ask(writer.done, ahead=2 * teacher.views_at_once, stop=stop), teacher.views_at_once):
            begun = time.perf_counter()
            answers = teacher.answer([question.view for question in group])
            seconds = time.perf_counter() - begun
            writer.add(_batch(windows, questions, group, answers, seconds))
            progress(writer.done, total)
            if stop():
                raise Stopped
        writer.finish()


def _grouped(questions: Iterator[Question], count: int) -> Iterator[list[Question]]:
    while group := list(islice(questions, count)):
        yield group


def _batch(
    windows: ShardReader, questions: Questions, group: Sequence[Question], answers: Sequence[Answer], seconds: float
) -> Batch:
    logits = np.concatenate(
        [questions.onto_canvas(answer.logits, question) for question, answer in zip(group, answers, strict=True)]
    )
    rows = np.concatenate([question.rows for question in group])
    measured = _measured(windows, rows, logits)
    own = [answer.quality for answer in answers if answer.quality is not None]
    quality = np.concatenate(own) if len(own) == len(answers) else measured
    return Batch(logits=logits, quality=quality.astype(np.float32), iou=measured, seconds=seconds)


def _measured(windows: ShardReader, rows: NDArray[np.int64], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU with the truth over the middle windows, [n]: where augmentation does not shift, that is what the student sees."""
    margin = (windows.canvas - windows.size) // 2
    middle = np.s_[:, margin : margin + windows.size, margin : margin + windows.size]
    _, masks = windows.windows(rows)
    found: NDArray[np.float64] = iou(predicted_masks(torch.from_numpy(logits[middle])), torch.from_numpy(masks[middle])).numpy()
    return found
