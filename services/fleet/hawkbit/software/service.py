"""Decisions on software modules and their artifacts."""

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.fleet.events.record import record
from services.fleet.hawkbit.errors import (
    ArtifactExists,
    ModuleArtifactNotFound,
    ModuleExists,
    ModuleInUse,
    ModuleNotFound,
    UploadLost,
)
from services.fleet.hawkbit.messages import Base, Href, Paged, Window, ms
from services.fleet.hawkbit.models import Artifact, SoftwareModule
from services.fleet.hawkbit.software import repository
from services.fleet.hawkbit.software.schemas import ArtifactOut, HashesOut, ModuleIn, ModuleOut
from services.fleet.hawkbit.software.upload import Uploaded
from services.fleet.packages.models import ANY_FORMAT, PackageFile
from services.fleet.packages.repository import hold_contents
from shared.kit.auth import Actor
from shared.kit.blobs import BlobStore
from shared.kit.database import Violation, db_now, violated


def create(session: Session, bodies: Sequence[ModuleIn], *, actor: Actor) -> list[SoftwareModule]:
    """New modules. ModuleExists; then none is made."""
    return [_create(session, body, actor) for body in bodies]


def _create(session: Session, body: ModuleIn, actor: Actor) -> SoftwareModule:
    module = SoftwareModule(**body.model_dump(), created_by=actor.name)
    try:
        with session.begin_nested():
            session.add(module)
    except IntegrityError as exc:
        if violated(exc) != Violation("hawkbit_modules", ("name", "version", "type")):
            raise
        raise ModuleExists(f"There is a module {body.name!r} {body.version} of type {body.type}.") from exc
    session.refresh(module)
    record(session, "hawkbit.module.created", actor=actor, module=module.id, name=body.name, version=body.version)
    return module


def get(session: Session, module_id: int) -> SoftwareModule:
    """ModuleNotFound, also of a deleted one."""
    module = session.get(SoftwareModule, module_id)
    if module is None or module.deleted_at is not None:
        raise ModuleNotFound(f"There is no software module {module_id}.")
    return module


def delete(session: Session, module_id: int, *, actor: Actor) -> set[str]:
    """Forget a module and its artifacts; the sha256 of what was in it. Once more changes nothing.

    ModuleNotFound; ModuleInUse while a set that is there has it.
    """
    module = repository.locked(session, module_id)
    if module is None:
        raise ModuleNotFound(f"There is no software module {module_id}.")
    if module.deleted_at is not None:
        return set()
    if sets := repository.packages_of(session, module_id):
        raise ModuleInUse(f"The set {sets[0].ref!r} has this module.", hint="delete the distribution set first")
    gone = repository.all_artifacts(session, [module_id])
    for artifact in gone:
        session.delete(artifact)
    module.deleted_at = db_now(session)
    session.flush()
    record(session, "hawkbit.module.deleted", actor=actor, module=module_id)
    return {artifact.sha256 for artifact in gone}


def check_open(session: Session, module_id: int) -> None:
    """ModuleNotFound; ModuleInUse if targets have got it, since then it must stay what it is."""
    get(session, module_id)
    packages = repository.packages_of(session, module_id)
    if repository.is_used(session, [package.id for package in packages]):
        raise ModuleInUse(f"Targets have got the module {module_id} as it is.")


def add_artifact(session: Session, blobs: BlobStore, module_id: int, uploaded: Uploaded, *, actor: Actor) -> Artifact:
    """A file whose bytes are stored already; it is in all sets of its module.

    ModuleNotFound, ModuleInUse, ArtifactExists, UploadLost.
    """
    repository.locked(session, module_id)
    hold_contents(session, [uploaded.sha256])
    if not blobs.exists(f"sha256:{uploaded.sha256}"):
        raise UploadLost("The last package with the same bytes was removed at the same moment, and the bytes with it.")
    check_open(session, module_id)
    module = get(session, module_id)
    artifact = Artifact(module_id=module_id, created_by=actor.name, **uploaded.columns())
    try:
        with session.begin_nested():
            session.add(artifact)
    except IntegrityError as exc:
        if violated(exc) != Violation("hawkbit_artifacts", ("module_id", "filename")):
            raise
        raise ArtifactExists(f"The module {module_id} has a file {uploaded.filename!r}.") from exc
    session.refresh(artifact)
    session.add_all(file_of(artifact, package.id, module.name) for package in repository.packages_of(session, module_id))
    record(session, "hawkbit.artifact.added", actor=actor, module=module_id, artifact=artifact.id, sha256=artifact.sha256)
    session.flush()
    return artifact


def file_of(artifact: Artifact, package_id: str, part: str) -> PackageFile:
    """An artifact as a file of a package."""
    return PackageFile(
        package_id=package_id,
        part=part,
        filename=artifact.filename,
        format=ANY_FORMAT,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        sha1=artifact.sha1,
        md5=artifact.md5,
    )


def get_artifact(session: Session, module_id: int, artifact_id: int) -> Artifact:
    """ModuleNotFound, ModuleArtifactNotFound."""
    get(session, module_id)
    artifact = repository.artifact(session, module_id, artifact_id)
    if artifact is None:
        raise ModuleArtifactNotFound(f"The module {module_id} has no artifact {artifact_id}.")
    return artifact


def delete_artifact(session: Session, module_id: int, artifact_id: int, *, actor: Actor) -> set[str]:
    """Take a file out of its module and the module's sets; the sha256 of what was in it.

    ModuleNotFound, ModuleArtifactNotFound, ModuleInUse.
    """
    module = repository.locked(session, module_id)
    artifact = get_artifact(session, module_id, artifact_id)
    check_open(session, module_id)
    assert module is not None
    packages = [package.id for package in repository.packages_of(session, module_id)]
    repository.drop_file(session, packages, module.name, artifact.filename)
    session.delete(artifact)
    session.flush()
    record(session, "hawkbit.artifact.deleted", actor=actor, module=module_id, artifact=artifact_id)
    return {artifact.sha256}


def page(session: Session, window: Window, base: Base) -> Paged[ModuleOut]:
    """All modules."""
    found, total = repository.page(session, window)
    return Paged(content=[show(module, base) for module in found], total=total, size=len(found))


def artifacts_page(session: Session, module_id: int, window: Window, base: Base) -> Paged[ArtifactOut]:
    """A module's artifacts. ModuleNotFound."""
    get(session, module_id)
    found, total = repository.artifacts(session, module_id, window)
    return Paged(content=[show_artifact(artifact, base) for artifact in found], total=total, size=len(found))


def show(module: SoftwareModule, base: Base) -> ModuleOut:
    """As clients are told of it."""
    mine = "softwaremodules", module.id
    links: dict[str, Href] = {"self": base(*mine), "artifacts": base(*mine, "artifacts")}
    return ModuleOut(
        id=module.id,
        name=module.name,
        version=module.version,
        type=module.type,
        description=module.description,
        vendor=module.vendor,
        deleted=module.deleted_at is not None,
        created_at=ms(module.created_at) or 0,
        created_by=module.created_by,
        links=links,
    )


def show_artifact(artifact: Artifact, base: Base) -> ArtifactOut:
    """As clients are told of it."""
    mine = "softwaremodules", artifact.module_id, "artifacts", artifact.id
    return ArtifactOut(
        id=artifact.id,
        hashes=HashesOut(sha1=artifact.sha1, md5=artifact.md5, sha256=artifact.sha256),
        provided_filename=artifact.filename,
        size=artifact.size_bytes,
        created_at=ms(artifact.created_at) or 0,
        created_by=artifact.created_by,
        links={"self": base(*mine)},
    )
