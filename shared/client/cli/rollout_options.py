"""A rollout as options say it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from shared.client.cli.common import UsageError, checked
from shared.client.cli.durations import seconds
from shared.client.errors import Unusable
from shared.contracts.rollouts import DEFAULT_PHASES, RolloutIn

LONGEST_SPEC: Final = 4 << 20
HELP: Final = "See `picofleet rollouts create --help`; `rollouts show NAME --json` has every field under `spec`."
_SIZE: Final = re.compile(r"(\d{1,8}(?:\.\d{1,4})?)(%?)", re.ASCII)


def sizes(text: str) -> list[dict[str, Any]]:
    """The phases of ``1,25%,100%``: cameras or shares of them, each with those before it. UsageError."""
    return [_size(part.strip()) for part in text.split(",")]


def phases(
    text: str | None,
    *,
    soak: str | None = None,
    success: int | None = None,
    failure: int | None = None,
    failure_min: int | None = None,
    approve: Sequence[int] = (),
    quality: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """All phases alike but for their sizes, and for those whose numbers are in ``approve``."""
    found = [phase.model_dump(include={"percent", "count"}) for phase in DEFAULT_PHASES] if text is None else sizes(text)
    common = {
        "soak_s": None if soak is None else seconds(soak, "--soak"),
        "success_percent": success,
        "failure_percent": failure,
        "failure_min": failure_min,
        "quality": quality,
    }
    given = {key: value for key, value in common.items() if value is not None}
    if wrong := [number for number in approve if not 1 <= number <= len(found)]:
        raise UsageError(f"--approve-phase {wrong[0]}: there are {len(found)} phases.", hint="The first is 1.")
    return [size | given | {"approval": number in approve} for number, size in enumerate(found, 1)]


def default_name(package: str) -> str:
    """A name for a rollout of picosam2/3 that nobody named: picosam2-3."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", package.lower()).strip("-._")
    return plain[:63] or "rollout"


def from_file(path: Path, changes: dict[str, Any]) -> RolloutIn:
    """The rollout that is written in ``path`` as JSON; what ``changes`` holds goes before it. Unusable, UsageError."""
    if path.stat().st_size > LONGEST_SPEC:
        raise Unusable(f"{path} is too long for a rollout.")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise Unusable(f"{path} is no JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise Unusable(f"{path} holds no JSON object.", hint=HELP)
    return checked(lambda: RolloutIn.model_validate(content | changes), HELP)


def _size(text: str) -> dict[str, Any]:
    found = _SIZE.fullmatch(text)
    if found is None or (not found[2] and "." in found[1]):
        hint = "As 1,25%,100%: a number of cameras, or a share of them; each counts those before it."
        raise UsageError(f"--phases: {text!r} is no size of a phase.", hint=hint)
    return {"percent": float(found[1])} if found[2] else {"count": int(found[1])}
