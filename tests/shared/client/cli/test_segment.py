"""`picofleet segment` against a scripted service, and everything that it refuses before it asks one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.shared.client.answers import a_deployment, a_page, a_problem, a_segmentation, an_object

Run = Callable[..., Any]
Answer = Callable[..., Any]


@pytest.fixture
def photo(tmp_path: Path) -> str:
    Image.new("RGB", (160, 120), (90, 120, 150)).save(tmp_path / "photo.jpg")
    return str(tmp_path / "photo.jpg")


@pytest.fixture
def answering(script: Any, answer: Answer) -> Any:
    """The scripted service, which finds one object."""
    script.handlers = [answer(200, a_segmentation())]
    return script


def request_of(script: Any, number: int = 0) -> dict[str, Any]:
    """The JSON part of a form that was sent."""
    body: bytes = script.requests[number][3]
    start = body.index(b"\r\n\r\n") + 4
    found: dict[str, Any] = json.loads(body[start : body.index(b"\r\n--", start)])
    return found


def test_a_point_gives_a_table_with_who_answered(run_scripted: Run, answering: Any, photo: str) -> None:
    ended = run_scripted("segment", photo, "--point", "40,50")
    assert ended.code == 0, ended.err
    assert "2,000 px 10.4%" in ended.out
    assert "0.80" in ended.out
    assert "picosam2/2 (onnxruntime), deployment default, generation 3" in ended.out
    assert "14.0 ms" in ended.out
    assert request_of(answering)["prompts"][0]["point"] == [40, 50]


def test_points_and_boxes_may_be_mixed_and_labelled(run_scripted: Run, answering: Any, photo: str) -> None:
    arguments = ("-p", "40,50=cup", "-p", " 1.5 , .5", "-b", "10,20,90,100=a=b", "--side", "64", "-d", "fast")
    assert run_scripted("segment", photo, *arguments).code == 0
    asked = request_of(answering)
    assert asked["deployment"] == "fast"
    assert [(each["point"], each["box"], each["label"], each["side"]) for each in asked["prompts"]] == [
        ([40, 50], None, "cup", 64),
        ([1.5, 0.5], None, None, 64),
        (None, [10, 20, 90, 100], "a=b", None),
    ]


def test_everything_is_a_grid(run_scripted: Run, answering: Any, photo: str) -> None:
    assert run_scripted("segment", photo, "--everything", "--grid", "12").code == 0
    asked = request_of(answering)
    assert (asked["prompts"], asked["everything"]["points_per_side"]) == ([], 12)


def test_the_overlay_and_the_masks_are_written(run_scripted: Run, answering: Any, photo: str, tmp_path: Path) -> None:
    masks, over = tmp_path / "masks", tmp_path / "over.png"
    ended = run_scripted("segment", photo, "--point", "40,50", "--out", str(over), "--masks", str(masks))
    assert ended.code == 0, ended.err
    assert str(over) in ended.err
    with Image.open(over) as drawn, Image.open(masks / "photo-0.png") as mask:
        assert (drawn.size, mask.size) == ((800, 600), (160, 120))


def test_a_folder_gets_a_picture_named_after_the_photo(run_scripted: Run, answering: Any, photo: str, tmp_path: Path) -> None:
    assert run_scripted("segment", photo, "--point", "40,50", "--out", str(tmp_path)).code == 0
    assert (tmp_path / "photo-overlay.png").is_file()


def test_programs_get_the_answer_in_the_form_they_want(run_scripted: Run, answering: Any, photo: str) -> None:
    ended = run_scripted("segment", photo, "--point", "40,50", "--output", "rle", "--json")
    assert json.loads(ended.out)["objects"][0]["area"] == 2000
    assert request_of(answering)["output"] == "rle"


def test_nothing_there_is_said(run_scripted: Run, script: Any, answer: Answer, photo: str, tmp_path: Path) -> None:
    nothing = an_object(mask=None, box=None, area=0, confidence=0, label="[red]x")
    script.handlers = [answer(200, a_segmentation(nothing))]
    ended = run_scripted("segment", photo, "--point", "40,50", "--out", str(tmp_path))
    assert ended.code == 0, ended.err
    assert "nothing there" in ended.out
    assert "[red]x" in ended.out, "a label from outside is no markup"


def test_confidences_that_are_not_calibrated_are_told_apart(run_scripted: Run, script: Any, answer: Answer, photo: str) -> None:
    script.handlers = [answer(200, a_segmentation(an_object(calibrated=False)))]
    assert "not calibrated" in run_scripted("segment", photo, "--point", "40,50").out


HOSTILE = [
    ((), "Nothing is asked for"),
    (("--everything", "--point", "1,1"), "takes no prompts"),
    (("--point", "160,0"), "160 x 120"),
    (("--point", "-1,0"), "160 x 120"),
    (("--box", "160,0,200,20"), "160 x 120"),
    (("--box", "50,50,40,60"), "has no area"),
    (("--box", "1,2,3"), "is no box"),
    (("--point", "nan,1"), "is no point"),
    (("--point", "inf,1"), "is no point"),
    (("--point", "1e3,1"), "is no point"),
    (("--point", "1"), "is no point"),
    (("--point", "1,2,3"), "is no point"),
    (("--point", ""), "is no point"),
    (("--point", "[bold]"), "[bold]"),
    (("--point", "1,1=" + "x" * 200), "label"),
    (("--point", "9" * 400 + ",1"), "finite"),
    (("--point", "1,1", "--deployment", "No Such"), "deployment"),
    (("--point", "1,1", "--grid", "99"), "equal to 16"),
    (("--point", "1,1", "--side", "2"), "equal to 8"),
    (("--point", "1,1", "--out", "over.bmp"), "over.bmp"),
    (("--point", "1,1", "--out", "no/such/folder/over.png"), "no/such/folder"),
    (("--point", "1,1", "--output", "rle", "--masks", "."), "png masks"),
]


@pytest.mark.parametrize(("arguments", "said"), HOSTILE)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    run_scripted: Run, answering: Any, photo: str, arguments: tuple[str, ...], said: str
) -> None:
    ended = run_scripted("segment", photo, *arguments)
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert answering.requests == []


def test_more_prompts_than_one_request_takes_are_refused(run_scripted: Run, answering: Any, photo: str) -> None:
    ended = run_scripted("segment", photo, *["--point", "1,1"] * 257)
    assert ended.code == 2
    assert "256" in ended.err


def test_a_file_that_is_no_image_is_not_sent(run_scripted: Run, answering: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    ended = run_scripted("segment", str(tmp_path / "a.jpg"), "--point", "1,1")
    assert (ended.code, answering.requests) == (2, [])
    assert "no JPEG, PNG or WebP image" in ended.err
    assert run_scripted("segment", str(tmp_path), "--point", "1,1").code == 2


@pytest.mark.parametrize("link", [False, True])
def test_the_photo_itself_is_never_written_over(
    run_scripted: Run, answering: Any, photo: str, tmp_path: Path, link: bool
) -> None:
    target = tmp_path / "other.jpg" if link else Path(photo)
    if link:
        target.hardlink_to(photo)
    before = Path(photo).read_bytes()
    ended = run_scripted("segment", photo, "--point", "1,1", "--out", str(target))
    assert ended.code == 2
    assert "is the photo itself" in ended.err
    assert Path(photo).read_bytes() == before


def test_a_missing_deployment_is_answered_with_those_there_are(
    run_scripted: Run, script: Any, answer: Answer, photo: str
) -> None:
    missing = answer(404, a_problem(404, "There is no deployment named 'default'."))
    script.handlers = [missing, missing, answer(200, a_page(a_deployment("demo"), a_deployment("fast")))]
    ended = run_scripted("segment", photo, "--point", "1,1")
    assert ended.code == 4
    assert "There are: demo, fast" in ended.err


def test_without_any_deployment_the_way_to_one_is_shown(run_scripted: Run, script: Any, answer: Answer, photo: str) -> None:
    missing = answer(404, a_problem(404, "There is no deployment named 'mine'."))
    script.handlers = [missing, missing, answer(200, a_page())]
    ended = run_scripted("segment", photo, "--point", "1,1", "--deployment", "mine")
    assert ended.code == 4
    assert "picofleet deployments put mine" in ended.err


def test_without_a_service_the_exit_code_says_so(run_alone: Run, photo: str) -> None:
    ended = run_alone("--url", "http://127.0.0.1:9", "segment", photo, "--point", "1,1")
    assert ended.code == 3
    assert "picofleet up" in ended.err
