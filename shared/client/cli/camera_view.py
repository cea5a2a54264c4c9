"""Cameras as a person reads them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.client.cli.common import age, escaped, out, show_fields, table
from shared.contracts.cameras import CameraOut, HealthState, Telemetry
from shared.contracts.rollouts import ActionOut, ActionState

HEALTH_COLOURS: Final = {HealthState.OK: "green", HealthState.BAD: "red", HealthState.UNKNOWN: "dim"}
ACTION_COLOURS: Final[Mapping[ActionState, str]] = {
    ActionState.RUNNING: "green",
    ActionState.FAILED: "red",
    ActionState.CANCELLED: "yellow",
    ActionState.EXPIRED: "yellow",
    ActionState.SUPERSEDED: "yellow",
    ActionState.RESTORING: "magenta",
    ActionState.RESTORED: "magenta",
}
"""All others are under way: cyan."""


def labels_in_words(labels: Mapping[str, str]) -> str:
    """As ``model=rev2,site=berlin``."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def coloured_action(state: ActionState) -> str:
    """A state in its colour."""
    return f"[{ACTION_COLOURS.get(state, 'cyan')}]{state.value}[/]"


def show_camera(found: CameraOut, actions: Sequence[ActionOut]) -> None:
    """All of it, and its newest parts in rollouts."""
    health = f"{found.health.value}: {found.health_reason}" if found.health_reason else found.health.value
    show_fields(
        [
            ("camera", found.controller_id),
            ("id", found.id),
            ("labels", labels_in_words(found.labels)),
            ("runs", found.current_package or "nothing, or it is not known"),
            ("last good", found.last_good_package),
            ("health", health),
            ("seen", f"{age(found.last_seen)} ago" if found.last_seen else "never"),
            ("installs", found.format.value),
            ("registered", f"{age(found.registered_at)} ago by {found.registered_by}"),
            ("replaced by", found.replaced_by),
            ("deleted", f"{age(found.deleted_at)} ago" if found.deleted_at else ""),
            ("rollout", found.rollout),
            *_telemetry(found.telemetry),
            ("attributes", "\n".join(f"{key} = {value}" for key, value in sorted(found.attributes.items()))),
        ]
    )
    if actions:
        rows = [_action(action) for action in actions]
        out().print()
        out().print(table(["action", "kind", "package", "state", "age", ""], rows))


def _telemetry(told: Telemetry | None) -> list[tuple[str, Any]]:
    if told is None:
        return []
    seen = f"{told.frames} in {told.span_s:.0f} s, {told.missing_frames} missing"
    times = f"{told.dnn_ms:.1f} ms" if told.dnn_ms is not None else ""
    warmth = f"{told.sensor_celsius:.0f} C" if told.sensor_celsius is not None else ""
    return [("frames", seen), ("network", times), ("sensor", warmth), ("golden", told.golden.value), ("agent", told.agent)]


def _action(action: ActionOut) -> list[str]:
    cells = [str(action.id), action.kind.value, escaped(action.package or "none"), coloured_action(action.state)]
    return [*cells, age(action.created_at), escaped(action.message)]
