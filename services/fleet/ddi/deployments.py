"""What a device is to install, and what it has installed: deploymentBase, installedBase, cancelAction."""

import json
from typing import Final
from urllib.parse import quote

from sqlalchemy.orm import Session

from services.fleet.actions.domain import is_open
from services.fleet.actions.models import Action
from services.fleet.actions.moves import move
from services.fleet.cameras.models import Camera
from services.fleet.ddi import repository
from services.fleet.ddi.errors import ActionGone, DeviceActionNotFound, NothingToCancel
from services.fleet.ddi.offering import check_offered
from services.fleet.packages.models import Package, PackageFile
from shared.contracts.ddi import (
    NO_PACKAGE_PART,
    RESTORE_METADATA,
    STATEMENT_METADATA,
    Artifact,
    ArtifactLinks,
    CancelAction,
    Chunk,
    Deployment,
    DeploymentBase,
    DeviceHistory,
    Hashes,
    Link,
    Metadata,
    StopAction,
)
from shared.contracts.rollouts import ActionKind, ActionState
from shared.kit.problems import InvalidRequest

_LONGEST_ID: Final = 18
"""Digits: what a BIGINT surely holds."""

_STATUS: Final = {
    ActionState.RUNNING: "FINISHED",
    ActionState.FAILED: "ERROR",
    ActionState.RESTORING: "FINISHED",
    ActionState.RESTORED: "FINISHED",
}
"""hawkBit's words for actions that are over; CANCELED for the others."""


def find_action(session: Session, camera: Camera, action_id: str) -> Action:
    """The camera's action of this id, a string of digits, if its turn has come; DeviceActionNotFound for all others alike."""
    digits = action_id.isascii() and action_id.isdigit() and len(action_id) <= _LONGEST_ID
    action = repository.action_of(session, camera.id, int(action_id)) if digits else None
    if action is None:
        raise DeviceActionNotFound(f"The camera has no action {action_id[:40]!r}.")
    return action


def deployment_base(session: Session, camera: Camera, action_id: str, root: str, history: str | None) -> DeploymentBase:
    """What is to be installed, offered from now on. DeviceActionNotFound, NotOffered, ActionGone, InvalidRequest."""
    action = find_action(session, camera, action_id)
    if action.state == ActionState.PENDING and action.active:
        check_offered(session, camera.id, action.package_id)
        move(session, action.id, ActionState.OFFERED, expected={ActionState.PENDING})
    elif not is_open(ActionState(action.state)):
        raise gone(action)
    return described(session, camera, action, root, history)


def installed_base(session: Session, camera: Camera, action_id: str, root: str, history: str | None) -> DeploymentBase:
    """What was installed by an action that succeeded. DeviceActionNotFound, InvalidRequest."""
    action = find_action(session, camera, action_id)
    if action.succeeded_at is None:
        raise DeviceActionNotFound(f"Nothing was installed by action {action.id}.")
    return described(session, camera, action, root, history)


def cancel_action(session: Session, camera: Camera, action_id: str) -> CancelAction:
    """Which action is to stop. DeviceActionNotFound, NothingToCancel, ActionGone."""
    action = find_action(session, camera, action_id)
    if not action.active:
        raise gone(action)
    if action.cancel_requested_at is None:
        raise NothingToCancel(f"Nobody wants action {action.id} to stop.")
    return CancelAction(id=str(action.id), cancel_action=StopAction(stop_id=str(action.id)))


def gone(action: Action) -> ActionGone:
    """Of an action that is over."""
    return ActionGone(f"Action {action.id} is over: {action.state}.", state=action.state)


def described(session: Session, camera: Camera, action: Action, root: str, history: str | None) -> DeploymentBase:
    """As devices read it. InvalidRequest if ``history`` is no number."""
    how = "forced" if action.forced else "attempt"
    update = "skip" if action.download_only else how
    return DeploymentBase.model_validate(
        {
            "id": str(action.id),
            "deployment": Deployment.model_validate(
                {"download": how, "update": update, "chunks": _chunks(session, camera, action, root)}
            ),
            "action_history": _history(session, action, history),
        }
    )


def _chunks(session: Session, camera: Camera, action: Action, root: str) -> list[Chunk]:
    package = repository.package(session, action.package_id) if action.package_id is not None else None
    if package is None:
        nothing = Metadata(key=RESTORE_METADATA, value="none")
        return [Chunk(part=NO_PACKAGE_PART, name="none", version="0", metadata=[nothing])]
    metadata = _statements(session, action, package)
    parts: dict[str, list[Artifact]] = {}
    for file in repository.files(session, package.id, camera.format):
        parts.setdefault(file.part, []).append(artifact(file, root))
    return [
        Chunk(part=part, name=package.name, version=package.version, artifacts=artifacts, metadata=metadata)
        for part, artifacts in parts.items()
    ]


def _statements(session: Session, action: Action, package: Package) -> list[Metadata]:
    if action.kind != ActionKind.RESTORE or package.release is None:
        return []
    statement = repository.statement(session, package.name, package.release)
    if statement is None:
        return []
    return [Metadata(key=STATEMENT_METADATA, value=json.dumps(statement.envelope, separators=(",", ":")))]


def artifact(file: PackageFile, root: str) -> Artifact:
    """A file and where it is."""
    url = f"{root}/softwaremodules/{quote(module_of(file), safe='')}/artifacts/{quote(file.filename, safe='')}"
    download, md5sum = Link(href=url), Link(href=f"{url}.MD5SUM")
    return Artifact(
        filename=file.filename,
        hashes=Hashes(sha1=file.sha1, md5=file.md5, sha256=file.sha256),
        size=file.size_bytes,
        links=ArtifactLinks(download=download, download_http=download, md5sum=md5sum, md5sum_http=md5sum),
    )


def module_of(file: PackageFile) -> str:
    """The id of DDI's software module: a package's part."""
    return f"{file.package_id}:{file.part}"


def _history(session: Session, action: Action, wanted: str | None) -> DeviceHistory | None:
    if wanted is None or (count := _count(wanted)) == 0:
        return None
    rows = [row.message for row in repository.history(session, action.id) if row.message]
    return DeviceHistory(status=_status(action), messages=rows if count < 0 else rows[:count])


def _count(wanted: str) -> int:
    """How many messages; all if negative."""
    try:
        return int(wanted[:10])
    except ValueError as exc:
        raise InvalidRequest.of_field("query.actionHistory", "not a whole number", "-1 for all messages") from exc


def _status(action: Action) -> str:
    state = ActionState(action.state)
    if is_open(state):
        return "CANCELING" if action.cancel_requested_at is not None else "RUNNING"
    return _STATUS.get(state, "CANCELED")
