"""Kept answers of a teacher: a row per prepared window, on the same canvas, so that they are warped as the images are.

A folder is named by its key, a hash of what was asked (``Asked``):

- ``answers-00000.npy`` ...: a row per window, its quality (float32) and its logits (float16 [S, S]);
- ``meta.json``: what was asked, the parts with their digests, and what the answers cost.

Parts are written one by one, each with its digest beside it. A killed process loses the part it was at: the next one verifies
and keeps the others.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

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
    """Fills ``folder`` part by part. Open it again after a kill: it goes on behind the last whole part.

    ``windows`` is how many there are in all, ``canvas`` their side in cells.
    """

    def __init__(self, folder: Path, asked: Asked, *, windows: int, canvas: int, part_rows: int = PART_ROWS) -> None:
        self._folder, self._asked, self._windows, self._canvas = folder, asked, windows, canvas
        self._part_rows = part_rows
        folder.mkdir(parents=True, exist_ok=True)
        self._parts = list(self._finished_parts())
        self._rows = np.empty(0, dtype=_row_type(canvas))
        self._ious: list[float] = []
        self._seconds = 0.0

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
        rows = np.empty(count, dtype=self._rows.dtype)
        rows["logits"], rows["quality"] = batch.logits.clip(-_LARGEST, _LARGEST), batch.quality
        self._rows = np.concatenate([self._rows, rows])
        self._ious.extend(batch.iou.tolist())
        self._seconds += batch.seconds
        while len(self._rows) >= self._part_rows or (len(self._rows) and self.done == self._windows):
            self._write_part()

    def finish(self) -> None:
        """Write the description that makes the folder whole. ValueError while answers are missing."""
        if self.done != self._windows:
            raise ValueError(f"{self._windows - self.done} of {self._windows} answers are missing")
        seconds = sum(part["seconds"] for part in self._parts)
        iou = sum(part["iou"] * part["rows"] for part in self._parts) / self._windows
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

    def _write_part(self) -> None:
        rows, number = self._rows[: self._part_rows], len(self._parts)
        path = _part(self._folder, number)
        _save(path, rows)
        seconds = self._seconds * len(rows) / len(self._rows)
        iou = float(np.mean(self._ious[: len(rows)]))
        part = {"rows": len(rows), "sha256": _sha256(path), "seconds": seconds, "iou": iou, "key": self._asked.key}
        _write(_note(self._folder, number), part)  # last: it makes the part count
        self._parts.append(part)
        self._rows, self._seconds = self._rows[len(rows) :], self._seconds - seconds
        del self._ious[: len(rows)]

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
