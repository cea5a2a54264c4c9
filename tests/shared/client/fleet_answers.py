"""What a fleet service says, for tests of who asks it."""

from typing import Any

from shared.contracts.cameras import CameraCreated, CameraOut, GroupOut, ProvisioningTokenCreated
from shared.contracts.rollouts import ActionOut, FleetEvent, FleetPackageOut, PreviewOut, RolloutOut
from tests.shared.client.answers import AT

ROLLOUT = "0190163d-8694-739b-aea5-966c26f8ad91"


def a_camera(controller_id: str = "cam-1", **changes: Any) -> str:
    fields = {"id": f"id-of-{controller_id}", "controller_id": controller_id, "format": "package", "labels": {"site": "berlin"}}
    fields |= {"registered_at": AT, "registered_by": "ada"}
    kind = CameraCreated if "token" in changes else CameraOut
    return kind.model_validate(fields | changes).model_dump_json()


def a_group(name: str = "berlin", **changes: Any) -> str:
    fields = {"name": name, "selector": "site=berlin", "description": "", "time_zone": "UTC", "maintenance": [], "cameras": 3}
    return GroupOut.model_validate(fields | {"created_at": AT, "updated_at": AT} | changes).model_dump_json()


def a_provisioning_token(**changes: Any) -> str:
    fields = {
        "id": "t1",
        "name": "berlin",
        "labels": {},
        "format": "package",
        "expires_at": None,
        "max_cameras": 9,
        "cameras": 2,
    }
    fields |= {"created_at": AT, "created_by": "ada", "token": "secret"}
    return ProvisioningTokenCreated.model_validate(fields | changes).model_dump_json()


def a_fleet_package(ref: str = "picosam2/3", **changes: Any) -> str:
    file = {"part": "network", "filename": "p.tar", "format": "package", "size_bytes": 7_000_000}
    file |= {"sha256": "a" * 64, "sha1": "b" * 40, "md5": "c" * 32}
    fields = {"id": "p1", "ref": ref, "kind": "model", "files": [file], "imported_at": AT, "imported_by": "ada"}
    return FleetPackageOut.model_validate(fields | changes).model_dump_json()


def a_phase(number: int = 1, **changes: Any) -> dict[str, Any]:
    fields = {
        "number": number,
        "state": "running",
        "spec": {"percent": 100},
        "cameras": 4,
        "counts": {"running": 3, "pending": 1},
    }
    return fields | changes


def a_rollout(state: str = "running", **changes: Any) -> str:
    spec = {"name": "v3", "package": "picosam2/3", "group": "berlin"}
    fields = {"id": ROLLOUT, "name": "v3", "package": "picosam2/3", "spec": spec, "state": state, "phases": [a_phase()]}
    fields |= {"created_at": AT, "created_by": "ada", "cameras": 4, "counts": {"running": 3, "pending": 1}}
    return RolloutOut.model_validate(fields | changes).model_dump_json()


def an_action(number: int = 17, **changes: Any) -> str:
    fields = {"id": number, "kind": "install", "camera": "c", "controller_id": "cam-1", "state": "failed", "created_at": AT}
    return ActionOut.model_validate(fields | changes).model_dump_json()


def a_preview(**changes: Any) -> str:
    phases = [{"number": 1, "cameras": 1, "examples": ["cam-1"]}, {"number": 2, "cameras": 9, "examples": ["cam-2", "cam-3"]}]
    return PreviewOut.model_validate({"cameras": 10, "already": 2, "busy": 1, "phases": phases} | changes).model_dump_json()


def an_event(seq: int, **changes: Any) -> str:
    return FleetEvent.model_validate({"seq": seq, "at": AT, "type": "rollout.started"} | changes).model_dump_json()
