"""Packages as users see them."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.fleet.packages import repository
from services.fleet.packages.models import Package, PackageFile
from shared.contracts.rollouts import FleetFileOut, FleetPackageKind, FleetPackageOut


def one(session: Session, package: Package) -> FleetPackageOut:
    """A single package."""
    (shown,) = many(session, [package])
    return shown


def many(session: Session, packages: Sequence[Package]) -> list[FleetPackageOut]:
    """Packages in the order given."""
    files = repository.files(session, [package.id for package in packages])
    return [_shown(package, files[package.id]) for package in packages]


def _shown(package: Package, files: Sequence[PackageFile]) -> FleetPackageOut:
    return FleetPackageOut(
        id=package.id,
        ref=package.ref,
        kind=FleetPackageKind(package.kind),
        digest=package.digest,
        release=package.release,
        model=_model(package),
        key_id=package.key_id,
        files=[FleetFileOut.model_validate(file) for file in files],
        imported_at=package.imported_at,
        imported_by=package.imported_by,
        deleted_at=package.deleted_at,
    )


def _model(package: Package) -> str | None:
    if package.manifest is None:
        return None
    model = package.manifest["model"]
    return f"{model['name']}/{model['version']}"
