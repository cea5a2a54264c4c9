"""Installing and removing the toolchain. Whole or not at all: the mark is written last, and what broke off is cleared away."""

import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from shared.kit.toolchain import contents, licence
from shared.kit.toolchain.errors import InstallFailed, LicenceNotAccepted
from shared.kit.toolchain.pins import CONVERTER
from shared.kit.toolchain.place import Mark, Place, State, Status, is_plain

Report = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many packages are dealt with."""

NEEDED_BYTES: Final = 1200 * 1024**2
"""Free space to begin with: 620 MB when all is done, and the downloads meanwhile."""

_OTHER_FOLDER: Final = "Another folder can be named with PICOFLEET_TOOLCHAIN."
_TAIL_LINES: Final = 8


def install(place: Place, *, licence_accepted: bool, report: Report = lambda *_: None) -> Status:
    """Install what is missing, or nothing if all is there; then how it is doing. About a minute.

    A half-made or damaged installation is made anew; one without Java gets one. Of two callers one installs, the other waits
    and finds it done. LicenceNotAccepted, or InstallFailed with pip's last lines.
    """
    if not licence_accepted:
        raise LicenceNotAccepted(
            f"{CONVERTER} is proprietary, and nobody has accepted its licence.", hint=f"Read {licence.DOCUMENTATION} first."
        )
    if not is_plain(place.folder):
        raise InstallFailed(
            f"The converter does not work in {str(place.folder)!r}: the path has spaces or signs in it.", hint=_OTHER_FOLDER
        )
    with place.alone(wait=True):
        found = place.status()
        if found.state is not State.READY:
            _require_space(place.folder.parent)
            _repair(place, report)
            found = place.status()
    if found.state is not State.READY:
        raise InstallFailed(f"The toolchain in {place.folder} does not work: {found.trouble}.", hint="Remove it and try again.")
    return found


def remove(place: Place) -> bool:
    """Remove the toolchain; False if there was none. ToolchainBusy while somebody converts."""
    if not place.folder.exists():
        return False
    with place.alone(wait=False):
        _remove(place)
    return True


def _repair(place: Place, report: Report) -> None:
    only_java = place.status().packages_fit
    try:
        if not only_java:
            _remove(place)
            _make_environment(place, report)
            _pip_install(place, place.pins.converter, len(place.pins.packages), report)
        if place.java() is None:
            _pip_install(place, place.pins.java, 1, report)
        _finish(place, report)
    except BaseException:
        if not only_java:
            _remove(place)
        raise


def _finish(place: Place, report: Report) -> None:
    packages = len(place.pins.packages)
    report("checking", packages, packages)
    if (told := place.told_version()) != place.pins.version:
        raise InstallFailed(f"The installed converter does not run, or tells another version: {told}.", hint=_hint([]))
    _write_mark(place)


def _make_environment(place: Place, report: Report) -> None:
    report("making an environment", 0, len(place.pins.packages))
    _run([sys.executable, "-m", "venv", "--without-pip", str(place.folder)], lambda _: None)


def _pip_install(place: Place, pins: Path, total: int, report: Report) -> None:
    """``pip install``, counting the packages that it has looked at."""
    seen = 0

    def on_line(line: str) -> None:
        nonlocal seen
        if found := re.match(r"(?:Collecting|Processing) (?:\S*/)?(\S+)", line):  # from an index, or from a folder
            seen = min(seen + 1, total)
            report(found[1], seen - 1, total)
        elif line.startswith("Installing collected"):
            report("unpacking", total, total)

    # Our own pip, working for the other environment, which so needs none. Without dependencies, which are all in the list: what
    # pip resolves on another day may be something else.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--python", str(place.python)]
    _run([*pip, "install", "--progress-bar", "off", "--no-deps", "--requirement", str(pins)], on_line)


def _run(command: list[str], on_line: Callable[[str], None]) -> None:
    """Run to the end, with both outputs as lines; InstallFailed with the last of them."""
    # What PYTHONPATH names would pass for installed in the new environment too.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            assert process.stdout is not None
            tail = _followed(process.stdout, on_line)
            status = process.wait()
        finally:  # Ctrl-C, or a report that raised
            process.kill()
    if status != 0:
        said = " ".join(tail).strip() or f"exit status {status}"
        raise InstallFailed(f"`{Path(command[0]).name} {' '.join(command[1:5])} ...` failed: {said}", hint=_hint(tail))


def _followed(lines: IO[str], on_line: Callable[[str], None]) -> list[str]:
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    for line in lines:
        on_line(line)
        if not line.startswith("WARNING: "):
            tail.append(line.strip())
    return list(tail)


def _hint(tail: Iterable[str]) -> str:
    said = " ".join(tail)
    if "No module named pip" in said:
        return "Picofleet's own Python has no pip: make its environment with `make install`."
    if "No space left" in said:
        return f"Free space on the disk. {_OTHER_FOLDER}"
    if "No matching distribution" in said or "Connection" in said:
        return "Check that pip reaches its package index; the converter is published for Linux and Python 3.11. Then try again."
    return "Try again; if it fails again, run it with another folder in PICOFLEET_TOOLCHAIN and report what it says."


def _require_space(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise InstallFailed(
            f"{folder} has {free / 1e6:.0f} MB free; the toolchain takes {NEEDED_BYTES / 1e6:.0f} MB while it is installed.",
            hint=f"Free space on the disk. {_OTHER_FOLDER}",
        )


def _write_mark(place: Place) -> None:
    pinned = place.pins.packages
    mark = Mark(
        version=place.pins.version,
        digest=contents.digest(place.packages, pinned),
        packages=pinned,
        size_bytes=contents.size_bytes(place.folder),
        installed_at=datetime.now(UTC),
    )
    partial = place.mark.with_suffix(".partial")
    partial.write_text(mark.model_dump_json(indent=2))
    partial.replace(place.mark)


def _remove(place: Place) -> None:
    place.mark.unlink(missing_ok=True)  # first, so that a kill in the middle leaves something that is seen as broken
    shutil.rmtree(place.folder, ignore_errors=True)
