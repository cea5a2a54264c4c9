"""Kept answers of a teacher: a row per prepared window, on the same canvas, so that they are warped as the images are.

A folder is named by its key, a hash of what was asked (``Asked``):

- ``answers-00000.npy`` ...: a row per window, its quality (float32) and its logits (float16 [S, S]);
- ``meta.json``: what was asked, the parts with their digests, and what the answers cost.

While the folder is filled, each part has its digest beside it, and the part under way is a file that grows. So a killed process
loses the answers it was at and no others: the next one verifies what is there and goes on.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.picosam.data.errors import DataError
from shared.picosam.data.shard_files import let_go

CODE_VERSION: Final = 1
"""Raised whenever the same teacher and windows would give other answers."""

PART_ROWS: Final = 256
"""Windows of one part: 14 MB on a canvas of 168, and a few minutes of SAM 2.1 tiny on two cores."""

_HINT: Final = "Delete the folder; the answers are made anew."


class AnswersInvalid(DataError):
    """A folder that does not hold the answers that are wanted: damaged, or of another teacher or dataset."""

    hint = _HINT


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """All that decides a teacher's answers. ``teacher`` and ``dataset`` are digests, ``shards`` the key of the windows."""

    teacher: str
    dataset: str
    split: str
    shards: str
    view: str
    context_side: int | None
    """Only of the view ``context``, in image pixels."""

    @property
    def key(self) -> str:
        """64 hex digits: the same for the same question to the same teacher, answered by the same code."""
        named = {"code": CODE_VERSION, "answers": asdict(self)}
        return hashlib.sha256(msgspec.json.encode(named, order="sorted")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the answers cost, and what they are worth."""

    windows: int
    seconds: float
    """Of the teacher alone, without reading images, over all attempts."""
    iou: float
    """Mean IoU of the teacher's masks with the truth, over the middle windows."""

    @property
    def windows_per_second(self) -> float:
        """0 if no time was taken."""
        return self.windows / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Answers to consecutive windows, in the windows' order."""

    logits: NDArray[np.floating[Any]]
    """[n, S, S]"""
    quality: NDArray[np.float32]
    """[n] in 0..1"""
    iou: NDArray[np.float64]
    """With the truth over the middle windows, [n]."""
    seconds: float = 0.0


class AnswerWriter:
    """Fills ``folder``; leave the block before somebody reads it. Open it again after a kill: it goes on where it was.

    ``windows`` is how many there are in all, ``canvas`` their side in cells. Whole parts are kept by their digest; of the part
    under way each answer is appended to a file as it comes (SAM may take seconds for one) with a checksum.
    """

    def __init__(self, folder: Path, asked: Asked, *, windows: int, canvas: int, part_rows: int = PART_ROWS) -> None:
        self._folder, self._asked, self._windows, self._canvas = folder, asked, windows, canvas
        self._part_rows = part_rows
        folder.mkdir(parents=True, exist_ok=True)
        self._parts = list(self._finished_parts())
        self._rows = self._saved_rows()
        self._file = self._begin_file()

    @property
    def done(self) -> int:
        """Windows answered so far: where to go on."""
        return min(len(self._parts) * self._part_rows, self._windows) + len(self._rows)

    def add(self, batch: Batch) -> None:
        """Appends answers. ValueError if they are not of the canvas, too many, or not finite."""
        count, side = len(batch.quality), self._canvas
        if batch.logits.shape != (count, side, side) or self.done + count > self._windows:
            raise ValueError(f"answers {batch.logits.shape} do not fit {self._windows - self.done} windows of {side} cells")
        if not (np.isfinite(batch.logits).all() and np.isfinite(batch.quality).all()):
            raise ValueError(f"the teacher's answers to windows {self.done} .. {self.done + count - 1} are not finite")
        rows = np.zeros(count, dtype=self._rows.dtype)
        rows["kept"]["logits"], rows["kept"]["quality"] = batch.logits.clip(-_LARGEST, _LARGEST), batch.quality
        rows["iou"], rows["seconds"] = batch.iou, batch.seconds / max(1, count)
        rows["check"] = [self._check(row) for row in rows]
        self._rows = np.concatenate([self._rows, rows])
        self._file.write(rows.tobytes())
        self._file.flush()
        while len(self._rows) >= self._part_rows or (len(self._rows) and self.done == self._windows):
            self._write_part()

    def finish(self) -> None:
        """Write the description that makes the folder whole. ValueError while answers are missing."""
        if self.done != self._windows:
            raise ValueError(f"{self._windows - self.done} of {self._windows} answers are missing")
        seconds = sum(part["seconds"] for part in self._parts)
        iou = sum(part["iou"] * part["rows"] for part in self._parts) / max(1, self._windows)
        meta = {
            "key": self._asked.key,
            "asked": asdict(self._asked),
            "code": CODE_VERSION,
            "windows": self._windows,
            "canvas": self._canvas,
            "part_rows": self._part_rows,
            "parts": [part["sha256"] for part in self._parts],
            "cost": {"windows": self._windows, "seconds": seconds, "iou": iou},
        }
        _write(self._folder / "meta.json", meta)

    def __enter__(self) -> "AnswerWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not len(self._rows):
            self._unfinished().unlink(missing_ok=True)

    def _write_part(self) -> None:
        """Make a part of the first rows, and begin the next one with those that are left."""
        rows, left, number = self._rows[: self._part_rows], self._rows[self._part_rows :], len(self._parts)
        path = _part(self._folder, number)
        _save(path, rows["kept"])
        seconds, iou = float(rows["seconds"].sum()), float(rows["iou"].mean())
        part = {"rows": len(rows), "sha256": _sha256(path), "seconds": seconds, "iou": iou, "key": self._asked.key}
        _write(_note(self._folder, number), part)  # last: it makes the part count
        self._file.close()
        self._unfinished().unlink(missing_ok=True)
        self._parts.append(part)
        self._rows = left
        self._file = self._begin_file()

    def _finished_parts(self) -> Iterator[dict[str, Any]]:
        """The notes of the whole parts from the first one on; what follows a damaged one is made anew."""
        for number in range(-(-self._windows // self._part_rows)):
            rows = min(self._part_rows, self._windows - number * self._part_rows)
            try:
                part: dict[str, Any] = json.loads(_note(self._folder, number).read_bytes())
                named = part["rows"], part["key"], part["sha256"]
                if named != (rows, self._asked.key, _sha256(_part(self._folder, number))):
                    return
                float(part["seconds"]), float(part["iou"])
            except (OSError, ValueError, KeyError, TypeError):
                return
            yield part

    def _saved_rows(self) -> NDArray[np.void]:
        """Answers of the part under way, as far as their checksums are right."""
        kept = np.dtype([("check", "<u4"), ("iou", "<f8"), ("seconds", "<f8"), ("kept", _row_type(self._canvas))])
        path = self._unfinished()
        content = path.read_bytes() if path.exists() else b""
        rows = np.frombuffer(content[: len(content) // kept.itemsize * kept.itemsize], dtype=kept)
        right = [int(row["check"]) == self._check(row) for row in rows]
        # A whole part would have been written as one, so a full file is none of ours.
        return rows[: right.index(False) if False in right else len(rows)][: self._part_rows - 1].copy()

    def _begin_file(self) -> IO[bytes]:
        """The file of the part under way, holding what is kept of it."""
        partial = self._folder / ".unfinished.partial"
        partial.write_bytes(self._rows.tobytes())
        partial.replace(self._unfinished())
        return self._unfinished().open("ab")

    def _unfinished(self) -> Path:
        return self._folder / f"answers-{len(self._parts):05d}.unfinished"

    def _check(self, row: "np.void") -> int:
        """Of a row without its own checksum; the key in it tells other answers apart."""
        return zlib.crc32(row.tobytes()[4:], zlib.crc32(self._asked.key.encode()))


class AnswerReader:
    """The answers in a folder, row for row with the windows they belong to. Logits stay on disk until they are asked for.

    ``AnswersInvalid`` if the folder holds other answers than ``asked``, or its bytes are not the ones that were written.
    """

    def __init__(self, folder: Path, asked: Asked) -> None:
        self.folder = folder
        try:
            meta: dict[str, Any] = json.loads((folder / "meta.json").read_bytes())
            _check_asked(folder, meta, asked)
            self._part_rows, self._windows, self.canvas = int(meta["part_rows"]), int(meta["windows"]), int(meta["canvas"])
            self.cost = Cost(**meta["cost"])
            self._parts = [_open_part(folder, number, sha256, meta) for number, sha256 in enumerate(meta["parts"])]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise AnswersInvalid(f"{folder} holds no answers of a teacher: {exc}") from exc
        if sum(len(part) for part in self._parts) != self._windows:
            raise AnswersInvalid(f"{folder} holds {sum(map(len, self._parts))} answers of {self._windows}")
        self.quality: NDArray[np.float32] = np.concatenate([part["quality"] for part in self._parts])
        """The teacher's IoU of each window, [N] in 0..1: predicted by itself, or measured against the truth."""

    def __len__(self) -> int:
        return self._windows

    def answers(self, indices: ArrayLike) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Copies of the answers to these windows, in the order asked for: logits [B, S, S] on the canvas, quality [B]."""
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"answer {wanted.min()}..{wanted.max()} of {len(self)}")
        logits = np.empty((wanted.size, self.canvas, self.canvas), dtype=np.float16)
        part, row = np.divmod(wanted, self._part_rows)
        for number in np.unique(part):
            places = np.flatnonzero(part == number)
            stored = self._parts[number]
            logits[places] = stored["logits"][row[places]]
            let_go(stored)
        return logits, self.quality[wanted]

    def files(self) -> dict[str, Path]:
        """All files by name: what travels to another machine."""
        names = ["meta.json", *(_part(self.folder, number).name for number in range(len(self._parts)))]
        return {name: self.folder / name for name in names}


_LARGEST: Final = float(np.finfo(np.float16).max)


def _row_type(canvas: int) -> "np.dtype[np.void]":
    return np.dtype([("quality", "<f4"), ("logits", "<f2", (canvas, canvas))])


def _part(folder: Path, number: int) -> Path:
    return folder / f"answers-{number:05d}.npy"


def _note(folder: Path, number: int) -> Path:
    return folder / f"answers-{number:05d}.json"


def _check_asked(folder: Path, meta: dict[str, Any], asked: Asked) -> None:
    """AnswersInvalid that names both where the folder answers another question."""
    found = meta["asked"]
    for name, wanted in asdict(asked).items():
        if found.get(name) != wanted:
            raise AnswersInvalid(f"{folder} holds answers for {name} {found.get(name)}, wanted are those for {wanted}")
    if meta["code"] != CODE_VERSION:
        raise AnswersInvalid(f"{folder} was written by version {meta['code']} of this code, which is at {CODE_VERSION}")


def _open_part(folder: Path, number: int, sha256: str, meta: dict[str, Any]) -> NDArray[np.void]:
    path = _part(folder, number)
    if _sha256(path) != sha256:
        raise AnswersInvalid(f"{path} is damaged: its digest is not the one that was written")
    rows: NDArray[np.void] = np.load(path, mmap_mode="r")
    if rows.dtype != _row_type(int(meta["canvas"])) or len(rows) > int(meta["part_rows"]):
        raise AnswersInvalid(f"{path} holds {len(rows)} rows of {rows.dtype}, not answers")
    return rows


def _save(path: Path, rows: NDArray[np.void]) -> None:
    """As .npy, which appears whole or not at all. Plain writes: on a full disk they raise OSError, where a map gets SIGBUS."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
    partial.replace(path)


def _write(path: Path, content: object) -> None:
    """As JSON, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, sort_keys=True, indent=1) + "\n")
    partial.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
