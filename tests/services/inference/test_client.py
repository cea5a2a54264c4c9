"""The SDK and the command line against the real service: what they send is what it takes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.client.cli.main import main
from shared.client.errors import ProblemError
from shared.client.overlay import mask_of
from shared.client.sdk import PicofleetClient
from shared.contracts.segmentation import Everything, Output, Prompt, View

Headers = dict[str, str]
POINTS = [Prompt(point=(40, 50), label="cup"), Prompt(point=(150, 30))]


@pytest.fixture
def fleet(jobs: Any, served: Any, operator: Headers) -> Iterator[PicofleetClient]:
    key = operator["Authorization"].removeprefix("Bearer ")
    with PicofleetClient(jobs.url, key, inference_url=served.url) as client:
        yield client


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # taken upright: the file lies on its side
    Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def test_masks_come_back_for_the_upright_image(fleet: PicofleetClient, deployed: Callable[..., Any], photo: Path) -> None:
    deployed("default")
    answer = fleet.segment(photo, POINTS)
    assert (answer.image.width, answer.image.height) == (200, 120)
    assert [(found.id, found.label) for found in answer.objects] == [("0", "cup"), ("1", None)]
    masks = [mask_of(found, (200, 120)) for found in answer.objects]
    assert [0 if mask is None else int((np.asarray(mask) > 0).sum()) for mask in masks] == [
        found.area for found in answer.objects
    ]


@pytest.mark.parametrize("output", list(Output))
def test_every_form_of_a_mask_can_be_asked_for(
    fleet: PicofleetClient, deployed: Callable[..., Any], photo: Path, output: Output
) -> None:
    deployed("fast")
    answer = fleet.segment(photo.read_bytes(), POINTS, deployment="fast", output=output, view=View.WINDOW)
    assert {found.mask.format for found in answer.objects if found.mask is not None} <= {output}


def test_a_grid_needs_no_prompts(fleet: PicofleetClient, deployed: Callable[..., Any], photo: Path) -> None:
    deployed("default")
    answer = fleet.segment(photo, everything=Everything(points_per_side=3, min_confidence=0))
    assert all(found.point is not None for found in answer.objects)


def test_an_unknown_deployment_is_refused(fleet: PicofleetClient, photo: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        fleet.segment(photo, POINTS, deployment="nobody")
    assert caught.value.status == 404
    assert list(fleet.deployments.list()) == []


def test_the_command_line_writes_what_it_saw(
    fleet: PicofleetClient,
    operator: Headers,
    deployed: Callable[..., Any],
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    deployed("default")
    monkeypatch.setenv("PICOFLEET_URL", fleet.url)
    monkeypatch.setenv("PICOFLEET_INFERENCE_URL", fleet.inference.url)
    monkeypatch.setenv("PICOFLEET_API_KEY", operator["Authorization"].removeprefix("Bearer "))
    with pytest.raises(SystemExit) as ended:
        main(["segment", str(photo), "--point", "40,50=cup", "--box", "100,20,180,100", "--out", str(photo.parent)])
    said = capfd.readouterr()
    assert ended.value.code == 0, said.err
    assert "net/1 (onnxruntime), deployment default" in said.out
    with Image.open(photo.parent / "photo-overlay.png") as drawn:
        assert drawn.size == (800, 480)
