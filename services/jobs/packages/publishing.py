"""From what a packaging job made to a signed package: in two parts, so that no transaction waits for reading and unpacking."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from services.jobs.jobs.models import Job
from services.jobs.packages import repository
from services.jobs.packages.models import Package
from services.jobs.packages.signer import Signer
from shared.contracts.base import Digest
from shared.contracts.jobs import JobOutput
from shared.contracts.packages import PackageManifest
from shared.contracts.packaging import PackagingSpec
from shared.contracts.tags import PACKAGE_TAG, RELEASE_TAG
from shared.contracts.worker import MadePackage
from shared.kit.blobs import BlobStore
from shared.kit.packages import signing, tars
from shared.kit.packages.errors import PackageError
from shared.kit.packages.folder import check_files, read_manifest, set_release
from shared.kit.packages.verifying import Verified
from shared.kit.problems import InvalidRequest, Problem

FIELD = "body.package"


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A package as its job made it, unpacked and checked. ``blob`` is not needed once it is signed."""

    folder: Path
    manifest: PackageManifest
    blob: Digest


@dataclass(frozen=True, slots=True)
class Published:
    """A signed package, and what is told of it."""

    package: Package
    unsigned: Digest
    """The blob that it was made of, which is not needed any more."""

    @property
    def output(self) -> JobOutput:
        """Of the job."""
        return JobOutput(name="package", kind="blob", blob=self.package.digest)

    @property
    def result(self) -> dict[str, Any]:
        """To be added to the job's."""
        package = self.package
        named = {"line": package.line, "release": package.release, "signed_by": package.key}
        return {**named, "package": package.digest, "package_bytes": package.size_bytes}

    @property
    def tags(self) -> dict[str, str]:
        """Of the version in the registry."""
        return {PACKAGE_TAG: self.package.digest, RELEASE_TAG: f"{self.package.line}/{self.package.release}"}


@contextmanager
def unpacked(blobs: BlobStore, made: MadePackage) -> Iterator[Unsigned | Problem]:
    """The package that a worker uploaded, in a folder for the block. What is wrong with it is handed on to ``publish``: the
    fence comes first, and a message that is repeated finds the blob gone.
    """
    with tempfile.TemporaryDirectory(prefix="picofleet-signing-") as temporary:
        try:
            found: Unsigned | Problem = _unpacked(blobs, made.blob, Path(temporary, "package"))
        except Problem as problem:
            found = problem
        yield found


def _unpacked(blobs: BlobStore, blob: Digest, folder: Path) -> Unsigned:
    try:
        with _file(blobs, blob, folder.parent) as tar:
            tars.unpack(tar, folder)
        manifest = read_manifest(folder)
        check_files(folder, manifest)
    except PackageError as exc:
        raise InvalidRequest.of_field(FIELD, f"the package cannot be used: {exc}", exc.hint) from exc
    signing.make_ready()
    return Unsigned(folder, manifest, blob)


@contextmanager
def _file(blobs: BlobStore, digest: Digest, temporary: Path) -> Iterator[Path]:
    """The blob as a file: itself in a local store, else a copy."""
    local = blobs.path(digest)
    if local is not None and blobs.exists(digest):
        yield local
        return
    copy = temporary / "package.tar"
    with blobs.open(digest) as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
    yield copy
    copy.unlink()


def publish(session: Session, job: Job, *, blobs: BlobStore, signer: Signer, made: Unsigned | Problem) -> Published:
    """Number, sign and keep a package. Call it in the transaction of `finish`, whose fence it relies on.

    Raises what ``unpacked`` found, InvalidRequest for a package of something else than the job's, SigningUnavailable. What is
    raised later in the transaction leaves a blob that nothing names, and the number is given again.
    """
    if isinstance(made, Problem):
        raise made
    spec = PackagingSpec.model_validate(job.spec)
    _check_origin(job, spec, made.manifest)
    release = repository.next_release(session, spec.line)
    set_release(made.folder, release)
    verified = signer.sign(made.folder)
    package = _kept(blobs, job, made, verified)
    session.add(package)
    session.flush()
    return Published(package, made.blob)


def _check_origin(job: Job, spec: PackagingSpec, manifest: PackageManifest) -> None:
    """That the manifest speaks of this job: a worker decides neither line nor origin."""
    if spec.dry_run:
        raise InvalidRequest.of_field(FIELD, "a dry run makes no package")
    for said, true in ((manifest.lineage.job, job.id), (manifest.line, spec.line)):
        if said != true:
            raise InvalidRequest.of_field(FIELD, f"its manifest says {said}, the job is {true}")


def _kept(blobs: BlobStore, job: Job, made: Unsigned, verified: Verified) -> Package:
    tar = made.folder.with_name("signed.tar")
    tars.pack(made.folder, tar)
    stored = blobs.put_file(tar)
    manifest = verified.manifest
    return Package(
        line=manifest.line,
        release=manifest.release,
        job_id=job.id,
        model=manifest.model.name,
        version=manifest.model.version,
        digest=stored.digest,
        manifest=verified.digest,
        size_bytes=stored.size_bytes,
        rpk=manifest.rpk,
        key=verified.key_id,
    )
