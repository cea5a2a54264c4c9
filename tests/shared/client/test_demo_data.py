import json
from pathlib import Path

import pytest

from shared.client.demo_data import FINGERPRINT, ensure_registered, generated, real_images, selections
from shared.client.errors import Unusable
from shared.client.sdk import PicofleetClient


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder laid out as PICOFLEET_DATA, below the service's root."""
    root = tmp_path / "data"
    for split in ("train2017", "val2017"):
        (root / "coco2017" / split).mkdir(parents=True)
        (root / "coco2017" / split / "1.jpg").write_bytes(b"x")
        annotations = root / "coco2017" / "annotations" / f"instances_{split}.json"
        annotations.parent.mkdir(exist_ok=True)
        annotations.write_text(json.dumps({"images": []}))
    return root


@pytest.fixture
def service_first(service: object) -> object:
    """The service makes the folder ``data`` that ``images`` fills."""
    return service


def test_person_windows_are_used_where_they_are(images: Path) -> None:
    assert [dataset.name for dataset in real_images(images).datasets] == ["coco2017"]
    windows = images / "coco2017_person_windows"
    (windows / "images").mkdir(parents=True)
    (windows / "instances.json").write_text("{}")
    data = real_images(images)
    assert data.train == [("coco2017", "train"), ("person-windows", "all")]
    assert data.validation == ("coco2017", "val")


def test_a_folder_of_another_layout_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="instances_train2017") as caught:
        real_images(tmp_path)
    assert "generated images" in caught.value.hint


def test_the_same_images_are_registered_once(service_first: object, images: Path, fleet: PicofleetClient) -> None:
    (wanted,) = real_images(images).datasets
    first, reused = ensure_registered(fleet, wanted)
    again, reused_again = ensure_registered(fleet, wanted)
    assert (reused, reused_again) == (False, True)
    assert again.id == first.id


@pytest.mark.parametrize("change", ["annotations", "images"])
def test_changed_images_are_registered_under_another_name(
    service_first: object, images: Path, fleet: PicofleetClient, change: str
) -> None:
    first, _ = ensure_registered(fleet, real_images(images).datasets[0])
    if change == "images":
        (images / "coco2017/val2017/2.jpg").write_bytes(b"y")
    else:
        (images / "coco2017/annotations/instances_val2017.json").write_text("{}")
    (wanted,) = real_images(images).datasets
    second, reused = ensure_registered(fleet, wanted)
    assert not reused
    assert second.name == f"coco2017-{wanted.tags[FINGERPRINT][:8]}" != first.name
    assert ensure_registered(fleet, wanted) == (fleet.datasets.get(second.id), True)


def test_the_job_selects_what_was_registered() -> None:
    train, validation = selections({"shapes": "shapes-1234"}, generated(10))
    assert [(selection.dataset, selection.split) for selection in train] == [("shapes-1234", "train")]
    assert validation.split == "val"
