"""Golden frames: whether a sensor answers as the reference model does."""

from array import array
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from shared.contracts.packages import GOLDEN, GoldenFrames, GoldenTolerance, RawArray
from shared.kit.packages.errors import FileDiffers, FileMissing, ManifestInvalid
from shared.kit.packages.folder import description, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Frames and the codes that belong to them, each as the bytes of its array (see GoldenFrames for shapes)."""

    described: GoldenFrames
    inputs: bytes
    outputs: bytes

    def frame(self, number: int) -> tuple[bytes, bytes]:
        """One input and its codes."""
        return _part(self.inputs, number, self.described.input), _part(self.outputs, number, self.described.output)


def read_golden(folder: Path) -> Golden:
    """The golden frames of a package's folder. ManifestInvalid, FileMissing, FileDiffers where a size is not as described."""
    try:
        described = GoldenFrames.model_validate_json(description(folder, GOLDEN))
    except ValidationError as exc:
        raise ManifestInvalid(f"{GOLDEN}: {words(exc)}", file=GOLDEN) from exc
    return Golden(described=described, inputs=_content(folder, described.input), outputs=_content(folder, described.output))


def agreement(expected: bytes, found: bytes, dtype: str, max_lsb: int) -> float:
    """Share of codes that are at most ``max_lsb`` apart, 0 to 1; of bytes of int8 or uint8. ValueError if lengths differ."""
    code = "b" if dtype == "int8" else "B"
    pairs = zip(array(code, expected), array(code, found), strict=True)
    return sum(abs(left - right) <= max_lsb for left, right in pairs) / len(expected)


def passes(golden: Golden, found: bytes, tolerance: GoldenTolerance) -> bool:
    """True if the answers to all frames together are as near to the reference model's as a package demands."""
    return agreement(golden.outputs, found, golden.described.output.dtype, tolerance.max_lsb) >= tolerance.min_share


def _content(folder: Path, described: RawArray) -> bytes:
    try:
        with (folder / described.path).open("rb") as file:
            content = file.read(described.size_bytes + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise FileMissing(f"{described.path} is missing", file=described.path) from exc
    if len(content) != described.size_bytes:
        raise FileDiffers(f"{described.path} has not {described.size_bytes:,} bytes, as {GOLDEN} says", file=described.path)
    return content


def _part(content: bytes, number: int, described: RawArray) -> bytes:
    size = described.size_bytes // described.shape[0]
    if not 0 <= number < described.shape[0]:
        raise IndexError(f"there is no frame {number} among {described.shape[0]}")
    return content[number * size : (number + 1) * size]
