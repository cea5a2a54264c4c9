"""The files of a shard folder, written in one pass and read through memory maps."""

import json
import mmap
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.picosam.data.errors import DataError
from shared.picosam.data.lvis import Federation, decode_federation, encode_federation, federation_of
from shared.picosam.data.manifest import Frequency, ImageRow, Instance, Rle
from shared.picosam.prompt import Window

FEDERATION_NAME: Final = "federation.json"

PART_BYTES: Final = 256 * 1024**2
"""Of one file of images: small enough to send as a blob, large enough for few files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """What is kept of a window beside its pixels. ``point`` is the prompt, (x, y) in image pixels.

    ``box`` is the prompt where boxes are asked with, (x0, y0, x1, y1) in image pixels, else None; the same for all rows.
    """

    image: ImageRow
    instance: Instance
    window: Window
    point: tuple[int, int]
    box: tuple[float, float, float, float] | None = None


class ShardWriter:
    """Writes a shard folder under a temporary name; leaving the block without an error puts it in its place.

    Plain writes, not memory maps: on a full disk a write raises OSError, where a map ends the process with SIGBUS.
    ``frequencies``: of the dataset's categories, where it is in LVIS layout.
    """

    def __init__(
        self,
        folder: Path,
        *,
        windows: int,
        canvas: int,
        meta: dict[str, Any],
        frequencies: Mapping[int, Frequency] | None = None,
    ) -> None:
        self._folder, self._windows, self._canvas = folder, windows, canvas
        self._part_rows = max(1, PART_BYTES // (canvas * canvas * 3))
        self._frequencies = frequencies or {}
        self._meta = meta | {"windows": windows, "part_rows": self._part_rows}
        self._rows: list[IndexRow] = []
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._partial = folder.parent / f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self._partial.mkdir()
        self._files: tuple[IO[bytes], ...] = ()

    def add(self, images: NDArray[np.uint8], masks: NDArray[np.bool_], rows: list[IndexRow]) -> None:
        """Appends windows: uint8 [n, S, S, 3], bool [n, S, S] and their rows."""
        packed = np.packbits(masks, axis=-1)
        for image, mask, row in zip(images, packed, rows, strict=True):
            if len(self._rows) % self._part_rows == 0:
                self._next_part()
            for file, array in zip(self._files, (image, mask), strict=True):
                file.write(np.ascontiguousarray(array).data)
            self._rows.append(row)

    def _next_part(self) -> None:
        self._close()
        number = len(self._rows) // self._part_rows
        rows = min(self._part_rows, self._windows - len(self._rows))
        side = self._canvas
        self._files = (
            self._begin(f"images-{number:05d}.npy", (rows, side, side, 3)),
            self._begin(f"masks-{number:05d}.npy", (rows, side, side // 8)),
        )

    def _begin(self, name: str, shape: tuple[int, ...]) -> IO[bytes]:
        file = (self._partial / name).open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        return file

    def _close(self) -> None:
        for file in self._files:
            file.close()
        self._files = ()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._close()
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _finish(self) -> None:
        if len(self._rows) != self._windows:
            raise DataError(f"{self._windows} windows were announced, {len(self._rows)} were cut")
        np.savez(self._partial / "index.npz", allow_pickle=False, **_columns(self._rows))
        if (federation := federation_of(self._frequencies, (row.image for row in self._rows))) is not None:
            (self._partial / FEDERATION_NAME).write_bytes(encode_federation(federation))
        (self._partial / "meta.json").write_text(json.dumps(self._meta, sort_keys=True, indent=1) + "\n")
        try:
            self._partial.rename(self._folder)
        except OSError:
            if not (self._folder / "meta.json").is_file():  # else another process was quicker; its bytes are the same
                raise


def _columns(rows: list[IndexRow]) -> dict[str, NDArray[Any]]:
    counts = [row.instance.rle.counts.encode() for row in rows]
    boxes = {"box": np.array([row.box for row in rows], dtype=np.float64)} if rows and rows[0].box is not None else {}
    return boxes | {
        "instance_id": np.array([row.instance.id for row in rows], dtype=np.int64),
        "image_id": np.array([row.image.image_id for row in rows], dtype=np.int64),
        "category": np.array([row.instance.category for row in rows], dtype=np.int64),
        "area": np.array([row.instance.area for row in rows], dtype=np.float64),
        "window": np.array([(row.window.x0, row.window.y0, row.window.x1, row.window.y1) for row in rows], dtype=np.int32),
        "clipped": np.array([row.window.clipped for row in rows], dtype=np.bool_),
        "point": np.array([row.point for row in rows], dtype=np.int32),
        "image_shape": np.array([(row.image.height, row.image.width) for row in rows], dtype=np.int32),
        "counts": np.frombuffer(b"".join(counts), dtype=np.uint8),
        "counts_end": np.cumsum([len(text) for text in counts], dtype=np.int64),
    }


class ShardReader:
    """The windows of a shard folder. Cheap to open: pixels stay on disk until they are asked for.

    Columns, a row per window: ``instance_id``, ``image_id``, ``category`` (int64 [N]), ``area`` (float64 [N], image
    pixels, as annotated), ``window`` (int32 [N, 4]: x0, y0, x1, y1 in image pixels, without the margin), ``clipped``
    (bool [N]: the nominal window left the image), ``point`` (int32 [N, 2]: x, y in image pixels), ``image_shape`` (int32
    [N, 2]: height, width), and of box prompts ``box`` (float64 [N, 4]: x0, y0, x1, y1 in image pixels; else None). Point
    and box are as they were asked with, jitter included. ``federation``: what LVIS says of these images; else None.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
            with np.load(folder / "index.npz") as index:
                columns = dict(index)
            self._images = [np.load(path, mmap_mode="r") for path in self._parts("images")]
            self._masks = [np.load(path, mmap_mode="r") for path in self._parts("masks")]
            self.federation = _read_federation(folder)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
            raise DataError(
                f"{folder} holds no prepared windows: {exc}", hint="Delete the folder; it is prepared anew."
            ) from exc
        self.instance_id: NDArray[np.int64] = columns["instance_id"]
        self.image_id: NDArray[np.int64] = columns["image_id"]
        self.category: NDArray[np.int64] = columns["category"]
        self.area: NDArray[np.float64] = columns["area"]
        self.window: NDArray[np.int32] = columns["window"]
        self.clipped: NDArray[np.bool_] = columns["clipped"]
        self.point: NDArray[np.int32] = columns["point"]
        self.image_shape: NDArray[np.int32] = columns["image_shape"]
        self.box: NDArray[np.float64] | None = columns.get("box")
        self._counts, self._counts_end = columns["counts"], columns["counts_end"]

    def __len__(self) -> int:
        return int(self.instance_id.size)

    @property
    def canvas(self) -> int:
        """Side of the stored windows, in cells."""
        return int(self.meta["policy"]["canvas"])

    @property
    def size(self) -> int:
        """Side of the middle part that is the window itself, in cells."""
        return int(self.meta["policy"]["size"])

    def windows(self, indices: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Copies of the stored windows: uint8 [B, S, S, 3] and bool [B, S, S], in the order asked for."""
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"window {wanted.min()}..{wanted.max()} of {len(self)}")
        images = np.empty((wanted.size, self.canvas, self.canvas, 3), dtype=np.uint8)
        bits = np.empty((wanted.size, self.canvas, self.canvas // 8), dtype=np.uint8)
        part, row = np.divmod(wanted, int(self.meta["part_rows"]))
        for number in np.unique(part):
            places = np.flatnonzero(part == number)
            for copies, stored in ((images, self._images[number]), (bits, self._masks[number])):
                copies[places] = stored[row[places]]
                let_go(stored)
        return images, np.unpackbits(bits, axis=-1).view(np.bool_)

    def truth(self, index: int) -> Rle:
        """The whole object's mask in its image."""
        end = int(self._counts_end[index])
        start = int(self._counts_end[index - 1]) if index else 0
        height, width = (int(side) for side in self.image_shape[index])
        return Rle(size=(height, width), counts=self._counts[start:end].tobytes().decode())

    def files(self) -> dict[str, Path]:
        """All files of the folder by name: what travels to another machine."""
        return {path.name: path for path in sorted(self.folder.iterdir())}

    def _parts(self, kind: str) -> Iterator[Path]:
        parts = -(-int(self.meta["windows"]) // int(self.meta["part_rows"]))
        return (self.folder / f"{kind}-{number:05d}.npy" for number in range(parts))


def _read_federation(folder: Path) -> Federation | None:
    path = folder / FEDERATION_NAME
    return decode_federation(path.read_bytes()) if path.is_file() else None


def let_go(stored: NDArray[Any]) -> None:
    """Stop counting the pages read as this process's memory: after an epoch that would be the whole dataset.

    They stay in the kernel's cache; mapping them again takes a microsecond or two.
    """
    if isinstance(stored.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        stored.base.madvise(mmap.MADV_DONTNEED)
