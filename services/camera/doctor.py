"""Whether this machine can be a camera: each thing that the agent needs, and what to do where it is missing."""

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx

from services.camera.disk import free_bytes
from services.camera.drivers.imx500 import DEBUGFS, PACKAGER, upload_progress
from services.camera.errors import CameraError, NotLetIn, StateUnreadable, Unreachable
from services.camera.settings import CameraSettings, DriverKind
from services.camera.state import FILE, State
from services.camera.wire import Wire
from shared.contracts.packages import MAX_PACKAGE_BYTES
from shared.kit.packages.errors import PackageError
from shared.kit.packages.keys import read_trusted

LEAST_BYTES: Final = 4 * MAX_PACKAGE_BYTES
"""Two slots, a download, and what it is unpacked to."""
MOST_SKEW_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at. ``is_good`` None: it is not as it should be, but the agent can live with it."""

    name: str
    is_good: bool | None
    detail: str
    hint: str = ""


def examine(settings: CameraSettings, *, transport: httpx.BaseTransport | None = None) -> list[Finding]:
    """All of it; changes nothing, on the disk or at the server."""
    wire = Wire(settings.url, settings.tenant, settings.controller_id, settings.authorization, transport=transport)
    try:
        server = _server(wire)
        clock = _clock(wire)
    finally:
        wire.close()
    checks: list[Callable[[CameraSettings], Finding]] = [_folder, _state, _keys]
    return [_python(), *(_driver(settings)), *(check(settings) for check in checks), server, clock]


def _python() -> Finding:
    is_good = sys.version_info >= (3, 11)
    return Finding("python", is_good, platform.python_version(), "" if is_good else "The agent needs Python 3.11.")


def _driver(settings: CameraSettings) -> list[Finding]:
    if settings.driver is DriverKind.SIMULATED:
        found = importlib.util.find_spec("onnxruntime") is not None
        hint = "" if found else "pip install 'picofleet[camera-simulated]'"
        return [Finding("onnxruntime", found, "installed" if found else "missing", hint), _images(settings.images)]
    return [_picamera2(), _packager(), _progress()]


def _images(folder: Path | None) -> Finding:
    names = list(folder.iterdir()) if folder is not None and folder.is_dir() else []
    count = sum(path.suffix.lower() in {".jpg", ".jpeg", ".png"} for path in names)
    return Finding("images", count > 0, f"{count} in {folder}", "" if count else "Name a folder with JPEG or PNG files.")


def _picamera2() -> Finding:
    found = importlib.util.find_spec("picamera2") is not None
    hint = "sudo apt install python3-picamera2 imx500-all; a virtual environment needs --system-site-packages."
    return Finding("picamera2", found, "installed" if found else "missing", "" if found else hint)


def _packager() -> Finding:
    path = shutil.which(PACKAGER)
    hint = "" if path else "sudo apt install imx500-tools; without it only packages that hold network.rpk can be installed."
    return Finding(PACKAGER, True if path else None, path or "missing", hint)


def _progress() -> Finding:
    seen = upload_progress(DEBUGFS) is not None
    hint = "Grant CAP_DAC_READ_SEARCH, as the systemd unit does: without it picamera2 cannot open the sensor."
    return Finding("sensor", seen, "upload progress can be read" if seen else f"nothing in {DEBUGFS}", "" if seen else hint)


def _folder(settings: CameraSettings) -> Finding:
    try:
        free = free_bytes(settings.folder)
    except OSError as exc:
        return Finding("disk", False, f"{settings.folder}: {exc.strerror}", "Make the folder for the agent's user.")
    is_good = free >= LEAST_BYTES
    detail = f"{free / 1e6:,.0f} MB free for {settings.folder}"
    return Finding("disk", is_good, detail, "" if is_good else f"The agent needs {LEAST_BYTES / 1e6:,.0f} MB.")


def _state(settings: CameraSettings) -> Finding:
    path = settings.folder / FILE
    try:
        state = State.model_validate_json(path.read_bytes()) if path.exists() else State()
    except (ValueError, OSError) as exc:
        return Finding("state", False, f"{path} cannot be read", f"{StateUnreadable.__doc__} ({type(exc).__name__})")
    runs = state.current.package if state.current else "nothing"
    return Finding("state", None if state.note else True, f"is to run {runs}", state.note)


def _keys(settings: CameraSettings) -> Finding:
    try:
        keys = read_trusted(settings.keys_file).keys
    except PackageError as exc:
        return Finding("keys", False, str(exc), "Fetch the list from the platform: GET /v1/package-keys of the jobs service.")
    now = datetime.now(UTC)
    counting = [key for key in keys if key.retired_at is None or key.retired_at > now]
    hint = "" if counting else "All of them are retired: nothing can be installed."
    return Finding("keys", bool(counting), f"{len(counting)} of {len(keys)} count", hint)


def _server(wire: Wire) -> Finding:
    try:
        wire.poll(None)
    except NotLetIn as exc:
        return Finding("server", False, str(exc), "Register the camera, and give the agent its token.")
    except Unreachable as exc:
        return Finding("server", False, f"{wire.root}: {exc}", "Look at the URL, the network, and the server.")
    except CameraError as exc:
        return Finding("server", False, str(exc), "Look at the token, the URL and the tenant.")
    return Finding("server", True, f"answers at {wire.root}")


def _clock(wire: Wire) -> Finding:
    if not wire.knows_the_time:
        return Finding("clock", None, datetime.now(UTC).isoformat(timespec="seconds"), "Not compared: no server answered.")
    skew = abs((wire.now() - datetime.now(UTC)).total_seconds())
    hint = "" if skew < MOST_SKEW_S else "The server's time counts; but TLS certificates are judged by this clock."
    return Finding("clock", True if skew < MOST_SKEW_S else None, f"{skew:,.0f} s from the server's", hint)
