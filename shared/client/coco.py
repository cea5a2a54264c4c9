"""The official COCO 2017 validation set: what to fetch, and how it is laid out for `datasets register`."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from shared.client.errors import DownloadError
from shared.client.fetch import SPARE_BYTES, RemoteFile
from shared.contracts.datasets import DatasetIn, FolderSource, SplitRule, SplitSource

BASE_URL: Final = "http://images.cocodataset.org"
"""The official server. Its https certificate is another host's: the digests below protect the content instead."""

IMAGES: Final = RemoteFile(
    "zips/val2017.zip", "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", size_bytes=815_585_330
)
ANNOTATIONS: Final = RemoteFile(
    "annotations/annotations_trainval2017.zip",
    "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    size_bytes=252_907_541,
)
ROOT_NAME: Final = "coco-val2017"
IMAGE_FOLDER: Final = "val2017"
ANNOTATION_FILE: Final = "annotations/instances_val2017.json"

Unpacked = Callable[[int, int], None]
"""Called with (members so far, members in all)."""


def unpack(images: Path, annotations: Path, root: Path, on_progress: Unpacked | None = None) -> None:
    """Unpack images and the one annotation file that is needed below ``root``. Files that are there whole are kept.

    DownloadError if a zip holds nothing of what is looked for, or the disk is too small.
    """
    members = [(images, info) for info in _wanted(images, _is_image)]
    members += [(annotations, info) for info in _wanted(annotations, lambda name: str(name) == ANNOTATION_FILE)]
    root.mkdir(parents=True, exist_ok=True)
    missing = [(archive, info) for archive, info in members if not _present(root, info)]
    needed = sum(info.file_size for _, info in missing) + SPARE_BYTES
    if shutil.disk_usage(root).free < needed:
        raise DownloadError(f"{root} needs {needed / 1e6:,.0f} MB more to unpack.", hint="Free some space, or use --to.")
    for archive in (images, annotations):
        with zipfile.ZipFile(archive) as opened:
            for number, (source, info) in enumerate(missing, 1):
                if source == archive:
                    _extract(opened, info, root)
                if on_progress is not None and source == archive:
                    on_progress(number, len(missing))


def registration(root: Path, name: str) -> DatasetIn:
    """How the unpacked folder is registered: its images are split 80/20 by a hash, since only the validation set is there."""
    return DatasetIn(
        name=name,
        source=FolderSource(
            root=str(root), splits=[SplitSource(split="all", images=IMAGE_FOLDER, annotations=ANNOTATION_FILE)]
        ),
        split_rule=SplitRule(from_split="all", fractions={"train": 0.8, "val": 0.2}),
        description="Official COCO val2017",
    )


def _wanted(archive: Path, accept: Callable[[PurePosixPath], bool]) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(archive) as opened:
        found = [info for info in opened.infolist() if not info.is_dir() and accept(PurePosixPath(info.filename))]
    if not found:
        raise DownloadError(f"{archive} holds nothing of COCO val2017.", hint="Remove it and fetch it again.")
    return found


def _is_image(name: PurePosixPath) -> bool:
    # Exactly two parts: nothing in the archive can point out of the folder.
    return len(name.parts) == 2 and name.parts[0] == IMAGE_FOLDER and name.suffix.lower() in {".jpg", ".jpeg", ".png"}


def _present(root: Path, info: zipfile.ZipInfo) -> bool:
    target = root / info.filename
    return target.is_file() and target.stat().st_size == info.file_size


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, root: Path) -> None:
    target = root / info.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    with archive.open(info) as source, temporary.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    temporary.replace(target)
