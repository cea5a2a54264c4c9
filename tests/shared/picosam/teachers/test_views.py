"""Views show what they say, and answers come back to the pixels they are about."""

import numpy as np
import pytest

from shared.contracts.distillation import TeacherView
from shared.picosam.data import rle
from shared.picosam.data.errors import DatasetChanged
from shared.picosam.teachers.base import OUTSIDE_LOGIT
from shared.picosam.teachers.views import Questions

VIEWS = list(TeacherView)


def questions(prepared, view, **settings) -> Questions:
    return Questions(prepared.windows, prepared.policy, view, images=prepared.images, **settings)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("border", ["pad", "authors", "shrink"])
@pytest.mark.parametrize("prompt", ["point", "box"])
def test_a_mask_drawn_in_any_view_comes_back_as_the_prepared_mask(prepared, view, border, prompt):
    ready = prepared(border=border, prompt=prompt)
    asking = questions(ready, view, context_side=180)
    seen = 0
    for question in asking.ask():
        truth = np.stack([drawn(ready, int(row), question) for row in question.rows])
        found = asking.onto_canvas(np.where(truth, 8, -8).astype(np.float32), question) > 0
        _, masks = ready.windows.windows(question.rows)
        union = (found | masks).sum(axis=(1, 2))
        assert ((found & masks).sum(axis=(1, 2)) >= 0.85 * union - 12).all()
        seen += len(question.rows)
    assert seen == len(ready.windows)


def drawn(ready, row: int, question) -> np.ndarray:
    """The whole object's mask, nearest pixel, as the view shows it."""
    mask, frame = rle.to_mask(ready.windows.truth(row)), question.frame
    height, width = question.view.image.shape[:2]
    rows = np.floor(frame.y0 + (np.arange(height) + 0.5) * frame.height / height).astype(int)
    columns = np.floor(frame.x0 + (np.arange(width) + 0.5) * frame.width / width).astype(int)
    inside = ((rows >= 0) & (rows < mask.shape[0]))[:, None] & ((columns >= 0) & (columns < mask.shape[1]))
    return mask[rows.clip(0, mask.shape[0] - 1)[:, None], columns.clip(0, mask.shape[1] - 1)] & inside


@pytest.mark.parametrize("view", VIEWS)
def test_the_prompt_is_at_the_same_pixel_in_every_view(prepared, view):
    ready = prepared()
    for question in questions(ready, view).ask():
        for row, (x, y) in zip(question.rows, question.view.points, strict=True):
            image = ready.images(int(ready.windows.image_id[row]))
            across, down = ready.windows.point[row]
            assert (question.view.image[int(y), int(x)] == image[down, across]).all()


@pytest.mark.parametrize("view", VIEWS)
def test_boxes_lie_round_their_objects(prepared, view):
    ready = prepared()
    for question in questions(ready, view).ask():
        for row, (x0, y0, x1, y1) in zip(question.rows, question.view.boxes, strict=True):
            mask = drawn(ready, int(row), question)
            outside = mask.copy()
            outside[max(0, int(y0)) : max(0, int(np.ceil(y1))), max(0, int(x0)) : max(0, int(np.ceil(x1)))] = False
            assert mask.any()
            assert not outside.any()


def test_all_prompts_of_an_image_are_asked_together_where_the_teacher_sees_the_image(prepared):
    ready = prepared()
    asked = list(questions(ready, TeacherView.IMAGE).ask())
    assert len(asked) == len(set(ready.windows.image_id.tolist())) < len(ready.windows)
    assert np.concatenate([question.rows for question in asked]).tolist() == list(range(len(ready.windows)))


@pytest.mark.parametrize("view", VIEWS)
def test_asking_may_begin_anywhere(prepared, view):
    ready = prepared()
    asked = [question.rows for question in questions(ready, view).ask(3)]
    assert np.concatenate(asked).tolist() == list(range(3, len(ready.windows)))


def test_context_is_the_square_round_the_window_at_the_images_own_scale(prepared):
    ready = prepared()
    (question, *_) = questions(ready, TeacherView.CONTEXT, context_side=180).ask()
    assert question.view.image.shape == (180, 180, 3)
    assert question.view.scale == (1, 1)
    assert question.view.points[0] == pytest.approx([90, 90], abs=1)


def test_context_is_never_smaller_than_the_windows_with_their_margin(prepared):
    (question, *_) = questions(prepared(), TeacherView.CONTEXT, context_side=96).ask()
    assert question.view.image.shape == (168, 168, 3)


@pytest.mark.parametrize("view", VIEWS)
def test_outside_the_image_there_is_certainly_no_object(prepared, view):
    ready = prepared()
    asking = questions(ready, view)
    outside = 0
    for question in asking.ask():
        found = asking.onto_canvas(np.full((len(question.rows), 9, 7), 3, dtype=np.float32), question)
        for row, canvas in zip(question.rows, found, strict=True):
            x0, y0, *_ = ready.windows.window[row] - 36
            height, width = ready.windows.image_shape[row]
            columns, rows = x0 + np.arange(168), y0 + np.arange(168)
            inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
            assert (canvas[inside] == 3).all()
            assert (canvas[~inside] == OUTSIDE_LOGIT).all()
            outside += (~inside).sum()
    assert outside > 0


def test_views_beyond_the_windows_need_the_images(prepared):
    ready = prepared()
    with pytest.raises(ValueError, match="context needs the images"):
        Questions(ready.windows, ready.policy, TeacherView.CONTEXT)


def test_an_image_that_is_no_longer_in_the_manifest_is_named(prepared):
    ready = prepared()
    with pytest.raises(DatasetChanged, match="image 12345"):
        ready.images(12345)


def test_an_image_of_another_size_than_was_prepared_is_refused(prepared):
    ready = prepared()
    asking = Questions(ready.windows, ready.policy, TeacherView.IMAGE, images=lambda _: np.zeros((10, 12, 3), np.uint8))
    with pytest.raises(DatasetChanged, match="12 x 10 pixels"):
        list(asking.ask())
