"""What simulated cameras say: honest messages, and mischief."""

import base64
import io
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from shared.contracts.ddi import PACKAGE_DETAIL, STATE_DETAIL, Execution, Finished

_SLEEP: Final = re.compile(rb"(\d{1,3}):(\d\d):(\d\d)")


def json_of(value: Any) -> bytes:
    """As it is sent."""
    return json.dumps(value, separators=(",", ":")).encode()


def feedback(
    action: str,
    execution: Execution,
    finished: Finished = Finished.NONE,
    *,
    state: str | None = None,
    details: list[str] | None = None,
) -> bytes:
    """Of an action, as stock clients send it. ``state``: finer than DDI can say."""
    lines = ([f"{STATE_DETAIL}{state}"] if state else []) + (details or [])
    status = {"execution": execution.value, "result": {"finished": finished.value}, "details": lines}
    return json_of({"id": action, "status": status})


def failed(why: str, package: str | None) -> list[str]:
    """Details of a failure: why, and what the camera runs now."""
    return [why, f"{PACKAGE_DETAIL}{package or 'none'}"]


def attributes(controller_id: str, agent: str) -> bytes:
    """What it tells of itself."""
    data = {"agent": agent, "model": "simulated-imx500", "serial": controller_id, "sensor": "imx500"}
    return json_of({"mode": "merge", "data": data})


def telemetry(package: str, span_s: float, agent: str, *, sick: bool, chance: float) -> bytes:
    """Of the span just gone; a sick camera loses half of its frames."""
    frames = round(30 * span_s)
    lost = frames // 2 if sick else 0
    told = {"package": package, "span_s": span_s, "frames": frames - lost, "missing_frames": lost, "agent": agent}
    temperature = {"dnn_ms": round(5.5 + chance, 2), "dsp_ms": 0.4, "sensor_celsius": round(40 + 5 * chance, 1)}
    return json_of(told | temperature | {"golden": "passed", "restarts": 0, "mask_area": round(0.2 + 0.1 * chance, 3)})


def sample(package: str) -> bytes:
    """A window and its mask: always the same disc on a ground, which a real network would outline nearly so."""
    window, mask = _disc()
    return json_of({"package": package, "window": window, "mask": mask, "confidence": 0.9})


@cache
def _disc() -> tuple[str, str]:
    from PIL import Image, ImageDraw

    window, mask = Image.new("RGB", (96, 96), (40, 60, 50)), Image.new("1", (96, 96))
    for image, colour in ((window, (210, 80, 60)), (mask, 1)):
        ImageDraw.Draw(image).ellipse((24, 24, 71, 71), fill=colour)
    return _png(window), _png(mask)


def _png(image: Any) -> str:
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def sleep_s(text: str) -> float | None:
    """Seconds of HH:MM:SS; None for what is no time, or none at all."""
    found = _SLEEP.fullmatch(text.encode("ascii", "replace"))
    if found is None:
        return None
    hours, minutes, seconds = (int(part) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds) or None


def words_of(body: bytes) -> str:
    """What a refusal says, in a line."""
    try:
        problem = json.loads(body)
        text = problem.get("detail") or problem.get("message") or problem.get("title")
    except (ValueError, AttributeError, RecursionError):
        text = None
    return str(text or body[:200].decode("utf-8", "replace")).strip()[:300]


Mischief = Callable[[str, bytes], tuple[str, bytes]]
"""Of the action and an honest message about it: about which action it speaks instead, and what it says."""


def _other(action: str, by: int) -> str:
    return str(int(action) + by) if action.isdecimal() else f"{action}{by}"


MISCHIEF: Final[tuple[Mischief, ...]] = (
    lambda action, honest: (action, honest),
    lambda action, _: (action, feedback(action, Execution.DOWNLOAD)),
    lambda action, _: (action, feedback(action, Execution.PROCEEDING, state="self_testing")),
    lambda action, _: (action, feedback(action, Execution.PROCEEDING, state="restored")),
    lambda action, _: (_other(action, 1), feedback(_other(action, 1), Execution.CLOSED, Finished.SUCCESS)),
    lambda action, _: (_other(action, -1), feedback(_other(action, -1), Execution.CLOSED, Finished.FAILURE)),
    lambda action, _: (_other(action, 10**15), feedback(action, Execution.CLOSED, Finished.FAILURE)),
    lambda action, _: (action, b'{"id": "1", "status": {"execution": "flying", "result": {"finished": "perhaps"}}}'),
    lambda action, _: (action, b'{"id": 1, "status"'),
    lambda action, _: (action, b"\xff\xfe\x00"),
    lambda action, _: (action, b"[" * 10_000),
    lambda action, _: (action, feedback(action, Execution.RESUMED, details=["\u0000\U0001f4f7" * 40_000])),
)
"""Twice, steps again or ahead of time, of others' actions, and what is no message at all. None of it ends its own action."""
