"""network.rpk, made by Sony's packager where there is one: it runs on aarch64 only, as on the camera's own computer."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shared.contracts.packages import RPK, NetworkIntrinsics
from shared.kit.rpk import reader
from shared.kit.rpk.errors import RpkError
from workers.harness.context import Stopped
from workers.harness.errors import JobFailed
from workers.packaging.guarded import End, run

PACKAGER: Final = "imx500-package"
_SECONDS: Final = 300.0
_MEMORY_BYTES: Final = 1024**3
_HINT: Final = "Without it on the PATH the package says `rpk: pending`, and the camera makes network.rpk."


def make_rpk(converted: Path, intrinsics: NetworkIntrinsics, *, stop_requested: Callable[[], bool]) -> bytes | None:
    """The sensor's file out of a packerOut.zip, with the intrinsics in it; None where there is no packager. JobFailed if it
    makes none; Stopped.
    """
    program = shutil.which(PACKAGER)
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="picofleet-rpk-") as temporary:
        folder = Path(temporary)
        said = _run(program, converted, folder, stop_requested)
        try:
            return reader.with_intrinsics(reader.contents(folder / "out" / RPK), intrinsics.model_dump(mode="json"))
        except (OSError, RpkError) as exc:
            raise _failed(f"{exc}; it said: {said}") from exc


def _run(program: str, source: Path, folder: Path, stop_requested: Callable[[], bool]) -> str:
    """Run the packager into ``folder``/out; the last line that it printed."""
    lines: list[str] = []
    ended = run(
        [program, "-i", source, "-o", folder / "out"],
        env={"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"},
        folder=folder,
        seconds=_SECONDS,
        memory_bytes=_MEMORY_BYTES,
        stop_requested=stop_requested,
        on_line=lambda line: lines.append(line[:500]),
    )
    if ended.end is End.CANCELLED:
        raise Stopped
    said = next((line for line in reversed(lines) if line.strip()), "nothing")
    if ended.end is not End.ITSELF or ended.status != 0:
        raise _failed(f"it ended with exit status {ended.status} ({ended.end.value}) and said: {said}")
    return said


def _failed(what: str) -> JobFailed:
    return JobFailed("packager_failed", f"{PACKAGER} made no {RPK}: {what}", _HINT)
