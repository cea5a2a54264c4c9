import pytest
from pydantic import ValidationError

from shared.contracts.evaluation import EvaluationSpec


def a_spec(**changes):
    return {"models": [{"model": "picosam2/1"}], "dataset": {"dataset": "coco", "split": "val"}} | changes


def test_a_point_and_a_box_can_be_asked_together():
    assert len(EvaluationSpec.model_validate(a_spec(windows=[{"prompt": "point"}, {"prompt": "box"}])).windows) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"windows": [{"prompt": "box"}, {"prompt": "box", "box_margin": 0.2}]}, "two of one kind"),
        ({"models": [{"model": "a/1"}, {"model": "a/1"}]}, "one of them twice"),
        ({"borders": ["pad", "pad"]}, "borders holds a value twice"),
        ({"jitter": [0.1, 0.1]}, "jitter holds a value twice"),
    ],
    ids=["windows", "models", "borders", "jitter"],
)
def test_what_would_give_two_figures_one_name_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        EvaluationSpec.model_validate(a_spec(**changes))
