import json
import shutil
import zipfile
from pathlib import Path

import pytest

from shared.client import coco
from shared.client.errors import DownloadError


@pytest.fixture
def archives(tmp_path: Path) -> tuple[Path, Path]:
    images, annotations = tmp_path / "val2017.zip", tmp_path / "annotations.zip"
    with zipfile.ZipFile(images, "w") as archive:
        archive.writestr("val2017/", "")
        for number in range(3):
            archive.writestr(f"val2017/{number:012}.jpg", f"image {number}")
        archive.writestr("../outside.jpg", "x")
        archive.writestr("val2017/../../outside.jpg", "x")
        archive.writestr("/absolute.jpg", "x")
    with zipfile.ZipFile(annotations, "w") as archive:
        archive.writestr("annotations/instances_val2017.json", json.dumps({"images": []}))
        archive.writestr("annotations/instances_train2017.json", "large")
    return images, annotations


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_only_what_is_needed_is_unpacked_and_nothing_outside(archives: tuple[Path, Path], tmp_path: Path) -> None:
    coco.unpack(*archives, tmp_path / "root")
    assert files(tmp_path / "root") == [
        "annotations/instances_val2017.json",
        *(f"val2017/{number:012}.jpg" for number in range(3)),
    ]
    assert not list(tmp_path.glob("**/outside.jpg"))


def test_a_second_time_mends_what_is_missing_or_short(archives: tuple[Path, Path], tmp_path: Path) -> None:
    coco.unpack(*archives, tmp_path / "root")
    short, kept = tmp_path / "root/val2017/000000000000.jpg", tmp_path / "root/val2017/000000000001.jpg"
    short.write_text("im")
    before = kept.stat().st_mtime_ns
    coco.unpack(*archives, tmp_path / "root")
    assert short.read_text() == "image 0"
    assert kept.stat().st_mtime_ns == before


def test_an_archive_of_something_else_is_refused(archives: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="nothing of COCO"):
        coco.unpack(archives[1], archives[1], tmp_path / "root")


def test_a_full_disk_is_noticed_first(archives: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(DownloadError, match="more to unpack"):
        coco.unpack(*archives, tmp_path / "root")
    assert files(tmp_path / "root") == []


def test_the_registration_names_what_was_unpacked(archives: tuple[Path, Path], tmp_path: Path) -> None:
    coco.unpack(*archives, tmp_path / "root")
    source = coco.registration(tmp_path / "root", "coco-val2017").source
    assert source.kind == "folder"
    assert (Path(source.root) / source.splits[0].images).is_dir()
    assert (Path(source.root) / source.splits[0].annotations).is_file()
