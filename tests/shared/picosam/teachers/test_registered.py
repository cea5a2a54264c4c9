"""A registered network as teacher: asked with windows of its own kind, whatever the view."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.contracts.training import Compute, Precision
from shared.contracts.windows import WindowPolicy
from shared.picosam.model import build_model
from shared.picosam.placement import place
from shared.picosam.teachers.base import OUTSIDE_LOGIT, TeacherFailed
from shared.picosam.teachers.registered import RegisteredTeacher, load_registered, registered_digest
from shared.picosam.weights import ModelConfig, save_weights

EXACT = place(Compute(device="cpu", precision=Precision.FP32))


class Brightness(nn.Module):
    """A network that answers with what it sees: grey / 256 - 0.3. So one can tell where it looked."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=1, keepdim=True) - 0.3


class Middle(nn.Module):
    """Says that the middle cells of its window are the object, whatever is in it."""

    def forward(self, images: Tensor) -> Tensor:
        size = images.shape[-1]
        logits = torch.full_like(images[:, :1], -4)
        logits[..., size // 3 : -size // 3, size // 3 : -size // 3] = 4
        return logits


def a_teacher(network: nn.Module, **policy: object) -> RegisteredTeacher:
    return RegisteredTeacher(network, WindowPolicy.model_validate(policy), digest="sha256:1", placement=EXACT)


def test_answers_lie_where_the_pixels_they_are_about_lie(a_view):
    view = a_view(1, 168, 168, points=np.array([[84.5, 84.5]], np.float32))
    (answer,) = a_teacher(Brightness()).answer([view])
    expected = view.image.mean(axis=2) / 256 - 0.3
    assert answer.logits.shape == (1, 168, 168)
    assert answer.quality is None
    smoothed = [each.reshape(21, 8, 21, 8).mean(axis=(1, 3)) for each in (answer.logits[0], expected)]
    assert np.corrcoef(smoothed[0].ravel(), smoothed[1].ravel())[0, 1] > 0.99
    np.testing.assert_allclose(smoothed[0], smoothed[1], atol=0.05)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_point_is_asked_about_with_the_models_own_side_in_image_pixels(a_view, scale):
    x, y = 60.5, 40.5
    view = a_view(1, 300, 300, points=np.array([[x, y]], np.float32), scale=(scale, scale))
    (answer,) = a_teacher(Middle(), side=48).answer([view])
    rows, columns = np.nonzero(answer.logits[0] > 0)
    side = 48 * scale / 3  # the middle third of the averaged windows, 0.8 and 1.25 times as wide as its own
    assert 0.8 * side * 0.8 < np.ptp(columns) + 1 < 1.25 * side * 1.25
    assert (rows.mean(), columns.mean()) == pytest.approx((y - 0.5, x - 0.5), abs=1.5)


def test_a_share_of_the_image_width_is_taken_of_the_image_not_of_the_view(a_view):
    points = np.array([[100, 100]], np.float32)
    views = [a_view(1, 200, 200, points=points, image_width=width) for width in (160, 320)]
    narrow, wide = ((answer.logits > 0).sum() for answer in a_teacher(Middle(), side=None).answer(views))
    assert 3 < wide / narrow < 5


def test_a_box_is_asked_about_with_its_square_and_the_models_margin(a_view):
    boxes = np.array([[30, 60, 90, 80]], np.float32)
    view = a_view(1, 168, 168, boxes=boxes, points=np.array([[5, 5]], np.float32))
    (answer,) = a_teacher(Middle(), prompt="box", box_margin=0.1).answer([view])
    rows, columns = np.nonzero(answer.logits[0] > 0)
    assert (rows.mean(), columns.mean()) == pytest.approx((69.5, 59.5), abs=1.5)
    assert 72 / 3 * 0.7 < np.ptp(columns) + 1 < 72 / 3 * 1.35


def test_what_no_window_reached_is_no_object(a_view):
    view = a_view(1, 168, 168, points=np.array([[10, 10]], np.float32))
    (answer,) = a_teacher(Brightness(), side=24).answer([view])
    assert (answer.logits[0, 100:, 100:] == OUTSIDE_LOGIT).all()


def test_views_together_get_the_answers_they_get_alone(a_view, trained_model):
    teacher = a_teacher(trained_model)
    views = [a_view(3), a_view(2, 168, 168), a_view(0), a_view(40)]
    for view, together in zip(views, teacher.answer(views), strict=True):
        (alone,) = teacher.answer([view])
        np.testing.assert_allclose(together.logits, alone.logits, atol=1e-3)
        assert together.logits.shape == (len(view), *view.image.shape[:2])


def test_a_mirrored_view_gets_the_mirrored_answer(a_view, trained_model):
    view = a_view(1, 169, 169, points=np.array([[84.5, 84.5]], np.float32))
    mirrored = a_view(1, 169, 169, points=np.array([[84.5, 84.5]], np.float32), image=view.image[:, ::-1].copy())
    teacher = a_teacher(trained_model, side=116)  # its windows are 93, 145 and 203 wide: odd, so their middle is a pixel's
    (answer,), (other,) = teacher.answer([view]), teacher.answer([mirrored])
    np.testing.assert_allclose(answer.logits, other.logits[:, :, ::-1], atol=0.02)


def test_an_answer_that_is_no_number_is_refused(a_view):
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :1] * torch.nan

    with pytest.raises(TeacherFailed, match="not finite"):
        a_teacher(Broken()).answer([a_view(1)])


def test_a_registered_file_brings_its_own_windows(tmp_path, a_view):
    path = tmp_path / "model.safetensors"
    save_weights(build_model("picosam2", seed=1).eval(), path, ModelConfig(window=WindowPolicy(side=32)))
    teacher = load_registered(path, weights="sha256:5", placement=EXACT)
    assert teacher.digest == registered_digest("sha256:5") != registered_digest("sha256:6")
    view = a_view(1, 168, 168, points=np.array([[84, 84]], np.float32))
    (answer,) = teacher.answer([view])
    reached = np.flatnonzero((answer.logits[0] != OUTSIDE_LOGIT).any(axis=0))
    assert reached.size == 56  # 1.75 times 32
