"""Whether a package may be installed: signature, every byte, release number. Needs pydantic and cryptography, nothing else."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared.contracts.base import digest_of
from shared.contracts.packages import MANIFEST, SIGNATURE, PackageManifest, ReleaseStatement, TrustedKeys
from shared.kit.packages import tars
from shared.kit.packages.envelope import Signed, opened
from shared.kit.packages.errors import (
    FileDiffers,
    ReleaseTooOld,
    SignatureInvalid,
    SignatureMissing,
)
from shared.kit.packages.folder import check_files, description, listed, parsed_manifest
from shared.kit.packages.statements import SignedStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A package that may be installed."""

    manifest: PackageManifest
    digest: str
    """Of manifest.json, and so of all files: names the package whoever signed it and however it is packed."""
    key_id: str
    returned_by: ReleaseStatement | None
    """The statement without which its release would be too old."""


def verify(
    package: Path,
    keys: TrustedKeys,
    *,
    floor: int = 0,
    statement: SignedStatement | None = None,
    now: datetime | None = None,
) -> Verified:
    """Checks a package's folder or tar, and says what is in it. PackageError names the file at fault.

    ``floor``: the highest release of its line that was ever installed here; it stays where it is after a return. A lower
    release needs a ``statement`` of its line that leads to it from ``floor`` or above. ``now`` decides which keys count.
    """
    moment = now or datetime.now(UTC)
    with tars.opened(package) as folder:
        verified = _verified(folder, keys, moment)
    returned_by = None
    if verified.manifest.release < floor:
        returned_by = _allowed(verified.manifest, floor, statement, keys, moment)
    return Verified(manifest=verified.manifest, digest=verified.digest, key_id=verified.key_id, returned_by=returned_by)


def _verified(folder: Path, keys: TrustedKeys, now: datetime) -> Verified:
    if SIGNATURE not in listed(folder):
        raise SignatureMissing(f"{SIGNATURE} is missing", file=SIGNATURE)
    signed = opened(description(folder, SIGNATURE), keys.keys, now, file=SIGNATURE)
    content = description(folder, MANIFEST)
    digest = digest_of(content)
    if signed.digests.get(MANIFEST) != digest:
        raise FileDiffers(f"{MANIFEST} is not the one that was signed", file=MANIFEST)
    manifest = parsed_manifest(content)
    _check_agreement(signed, manifest)
    check_files(folder, manifest)
    return Verified(manifest=manifest, digest=digest, key_id=signed.key_id, returned_by=None)


def _check_agreement(signed: Signed, manifest: PackageManifest) -> None:
    """That signature and manifest, which both list all files, say the same."""
    listed_there = {file.path: file.digest for file in manifest.files}
    listed_here = {name: digest for name, digest in signed.digests.items() if name != MANIFEST}
    for place in sorted(listed_there.keys() | listed_here.keys()):
        if listed_there.get(place) != listed_here.get(place):
            raise SignatureInvalid(f"{SIGNATURE} and {MANIFEST} disagree on {place}", file=place)


def _allowed(
    manifest: PackageManifest, floor: int, statement: SignedStatement | None, keys: TrustedKeys, now: datetime
) -> ReleaseStatement:
    told = f"release {manifest.release} of {manifest.line} is older than release {floor}, which was seen before"
    if statement is None:
        raise ReleaseTooOld(told, file=MANIFEST)
    said = statement.verified(keys, now)
    if said.line != manifest.line or said.to_release != manifest.release or said.from_release < floor:
        leads = f"the statement leads {said.line} from {said.from_release} to {said.to_release}"
        raise ReleaseTooOld(f"{told}; {leads}", file=MANIFEST)
    return said
