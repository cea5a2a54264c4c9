"""What the camera tells of itself: attributes and telemetry."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.camera import VERSION
from services.camera.figures import Span
from services.camera.settings import CameraSettings
from services.camera.state import State

_MODEL: Final = Path("/proc/device-tree/model")
_LONGEST_SPAN_S: Final = 86_400.0
_MOST_FRAMES: Final = 10_000_000
_MOST_RESTARTS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What people who stand beside the camera want to know."""

    package: str | None
    """That runs, as picosam2/3."""
    golden: str
    step: str | None
    """Of the installation under way."""
    errors: list[str]
    """That matter now, the most urgent first."""


def troubles(state: State, *, server: str, sensor: str) -> list[str]:
    """What goes wrong, or went wrong last: with the sensor, an installation, what ran before, the server."""
    underway = state.action.reason if state.action is not None else ""
    told = state.last.report.body.get("status", {}) if state.last is not None else {}
    failed = told.get("result", {}).get("finished") == "failure"
    last = next(iter(told.get("details", [])), "") if failed else ""
    named = {"sensor": sensor, "installation": underway, "last installation": last, "note": state.note, "server": server}
    return [f"{name}: {text}" for name, text in named.items() if text]


def attributes(settings: CameraSettings, state: State, running: str | None) -> dict[str, str]:
    """For configData."""
    return {
        "agent": VERSION,
        "driver": settings.driver.value,
        "sensor": "imx500" if settings.driver == "imx500" else "simulated",
        "machine": _machine(),
        "python": platform.python_version(),
        "package": running or "none",
        "golden": state.golden.value if running else "unverified",
        "note": state.note[:500],
    }


def telemetry(span: Span, state: State, running: str | None, celsius: float | None, at: str) -> dict[str, Any]:
    """shared.contracts.cameras.Telemetry."""
    told = {
        "at": at,
        "package": running,
        "span_s": min(max(span.span_s, 0.001), _LONGEST_SPAN_S),
        "frames": min(span.frames, _MOST_FRAMES),
        "missing_frames": min(span.missing, _MOST_FRAMES),
        "dnn_ms": round(span.dnn_ms / span.timed, 3) if span.timed else None,
        "dsp_ms": round(span.dsp_ms / span.timed, 3) if span.timed else None,
        "sensor_celsius": celsius,
        "restarts": min(state.starts, _MOST_RESTARTS),
        "golden": state.golden.value if running else "unverified",
        "mask_area": round(span.mask_area / span.frames, 5) if span.frames else None,
        "agent": VERSION,
    }
    return {name: value for name, value in told.items() if value is not None}


def _machine() -> str:
    try:
        return _MODEL.read_text("utf-8", "replace").strip("\0\n ")[:100]
    except OSError:
        return platform.machine()
