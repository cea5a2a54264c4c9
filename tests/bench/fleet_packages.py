"""Packages in the fleet's database, and actions on them, for benchmarks: written as importing and releasing leave them."""

import hashlib
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.actions.moves import release
from services.fleet.cameras.models import Camera
from services.fleet.packages.models import Package, PackageFile
from shared.contracts.cameras import CameraFormat
from shared.contracts.rollouts import ActionKind, ActionState, FleetPackageKind
from shared.kit.blobs import BlobStore
from tests.bench.fleet_ours import Fleet, connected

LINE = "bench"


def add_package(fleet: Fleet, version: int, content: bytes) -> str:
    """Its id. The package is named ``bench/<version>``; nobody has signed it."""
    BlobStore(str(fleet.blobs)).put_bytes(content)
    package = Package(kind=FleetPackageKind.MODEL.value, name=LINE, version=str(version), release=version, imported_by="bench")
    with connected(fleet.url) as engine, Session(engine, expire_on_commit=False) as session, session.begin():
        session.add(package)
        session.flush()
        session.add(PackageFile(package_id=package.id, **_file_of(version, content)))
    return package.id


def assign(fleet: Fleet, package_id: str) -> None:
    """Let all cameras see the package now, without a rollout."""
    with connected(fleet.url) as engine, Session(engine) as session, session.begin():
        cameras = session.scalars(select(Camera.id)).all()
        common: dict[str, Any] = {"kind": ActionKind.INSTALL.value, "state": ActionState.PENDING.value}
        actions = [Action(camera_id=camera, package_id=package_id, **common) for camera in cameras]
        session.add_all(actions)
        session.flush()
        if len(release(session, [action.id for action in actions], deadline_at=None)) != len(cameras):
            raise RuntimeError("some cameras have an action already")


def _file_of(version: int, content: bytes) -> dict[str, Any]:
    digests = {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "sha1", "md5")}
    named = {"part": "network", "filename": f"{LINE}-{version}.tar", "format": CameraFormat.PACKAGE.value}
    return {**named, **digests, "size_bytes": len(content)}
