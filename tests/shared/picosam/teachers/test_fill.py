"""All windows are asked about, once, however often the work is interrupted."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from shared.contracts.distillation import TeacherView
from shared.picosam.data.errors import Stopped
from shared.picosam.teachers.answers import AnswerReader
from shared.picosam.teachers.base import Answer, TeacherFailed
from shared.picosam.teachers.fill import fill
from shared.picosam.teachers.views import Questions


@dataclass
class Bright:
    """Takes what is brighter than half for the object."""

    digest: str = "sha256:1"
    views_at_once: int = 2
    quality: float | None = None
    asked: int = 0
    sizes: list[int] = field(default_factory=list)

    def answer(self, views):
        self.asked += sum(len(view) for view in views)
        self.sizes.append(len(views))
        return [self._answer(view) for view in views]

    def _answer(self, view):
        logits = np.repeat((view.image.mean(axis=2, dtype=np.float32) - 128)[None] / 16, len(view), axis=0)
        return Answer(logits, None if self.quality is None else np.full(len(view), self.quality, np.float32))


@pytest.mark.parametrize("view", list(TeacherView))
def test_answers_are_filled_in_for_every_window(prepared, asked, tmp_path, view):
    ready, teacher, seen = prepared(), Bright(), []
    questions = Questions(ready.windows, ready.policy, view, images=ready.images)
    fill(tmp_path / "a", asked(), ready.windows, questions, teacher, progress=lambda done, total: seen.append((done, total)))
    reader, count = AnswerReader(tmp_path / "a", asked()), len(ready.windows)
    assert (len(reader), teacher.asked) == (count, count)
    assert seen[0] == (0, count)
    assert seen[-1] == (count, count)
    logits, _ = reader.answers(range(count))
    assert 0.5 < (logits > -10).mean() <= 1


def test_a_stopped_fill_goes_on_where_it_was(prepared, asked, tmp_path):
    ready, count = prepared(), len(prepared().windows)
    first, second = Bright(views_at_once=1), Bright(views_at_once=3)

    def run(teacher, folder, **settings):
        questions = Questions(ready.windows, ready.policy, TeacherView.WINDOW)
        fill(tmp_path / folder, asked(), ready.windows, questions, teacher, **settings)

    with pytest.raises(Stopped):
        run(first, "stopped", stop=lambda: first.asked >= 3)
    run(second, "stopped")
    assert first.asked + second.asked == count
    run(Bright(), "undisturbed")
    both = [AnswerReader(tmp_path / name, asked()) for name in ("stopped", "undisturbed")]
    np.testing.assert_array_equal(both[0].answers(range(count))[0], both[1].answers(range(count))[0])
    assert both[0].cost.iou == pytest.approx(both[1].cost.iou)


def test_a_teacher_that_guesses_its_own_quality_is_believed(prepared, asked, tmp_path):
    ready = prepared()
    fill(
        tmp_path / "a", asked(), ready.windows, Questions(ready.windows, ready.policy, TeacherView.WINDOW), Bright(quality=0.75)
    )
    assert set(AnswerReader(tmp_path / "a", asked()).quality.tolist()) == {0.75}


def test_a_teacher_without_an_opinion_is_measured_over_the_middle_window(prepared, asked, tmp_path):
    ready = prepared()
    fill(tmp_path / "a", asked(), ready.windows, Questions(ready.windows, ready.policy, TeacherView.WINDOW), Bright())
    reader, rows = AnswerReader(tmp_path / "a", asked()), range(len(ready.windows))
    found = reader.answers(rows)[0][:, 36:132, 36:132] > 0
    truth = ready.windows.windows(rows)[1][:, 36:132, 36:132]
    union = (found | truth).sum(axis=(1, 2))
    expected = np.where(union > 0, (found & truth).sum(axis=(1, 2)) / np.maximum(union, 1), 1)
    np.testing.assert_allclose(reader.quality, expected, atol=1e-6)
    assert reader.cost.iou == pytest.approx(expected.mean())


def test_another_teacher_than_was_meant_is_refused_naming_both(prepared, asked, tmp_path):
    ready = prepared()
    questions = Questions(ready.windows, ready.policy, TeacherView.WINDOW)
    with pytest.raises(TeacherFailed, match="sha256:2, and not sha256:1"):
        fill(tmp_path / "a", asked(), ready.windows, questions, Bright(digest="sha256:2"))
