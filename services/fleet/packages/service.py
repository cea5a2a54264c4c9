"""What users read of packages."""

from sqlalchemy.orm import Session

from services.fleet.packages import repository, views
from services.fleet.packages.errors import FleetPackageNotFound, PackageFileNotFound
from services.fleet.packages.models import Package, PackageFile
from shared.contracts.rollouts import FleetPackageKind, FleetPackageOut
from shared.kit.pages import PageParams, newest_first


def get(session: Session, name: str, version: str) -> Package:
    """Raises FleetPackageNotFound."""
    package = repository.find(session, name, version)
    if package is None:
        raise FleetPackageNotFound(f"There is no package {name}/{version}.")
    return package


def page(
    session: Session, name: str | None, kind: FleetPackageKind | None, page: PageParams
) -> tuple[list[FleetPackageOut], str | None]:
    """Packages, newest first."""
    rows, following = newest_first(session, repository.listed(name, kind), Package.id, page)
    return views.many(session, rows), following


def file(session: Session, name: str, version: str, filename: str | None) -> PackageFile:
    """A file of a package; the first one for None. FleetPackageNotFound, PackageFileNotFound."""
    package = get(session, name, version)
    for found in repository.files(session, [package.id])[package.id]:
        if filename in {None, found.filename}:
            return found
    what = "file" if filename is None else f"file {filename!r}"
    raise PackageFileNotFound(f"The package {package.ref} has no {what}.")
