"""What users read of packages."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.jobs.packages import repository
from services.jobs.packages.errors import PackageNotFound
from services.jobs.packages.models import Package
from shared.contracts.packaging import PackageOut
from shared.kit.pages import PageParams, newest_first


def get(session: Session, line: str, release: int | None = None) -> Package:
    """A release of a line; the newest for None. Raises PackageNotFound."""
    found = repository.find(session, line, release)
    if found is None:
        what = "package" if release is None else f"release {release}"
        raise PackageNotFound(f"There is no {what} of the line {line!r}.")
    return found


def page(session: Session, line: str | None, page: PageParams) -> tuple[list[PackageOut], str | None]:
    """Packages, newest first."""
    rows, following = newest_first(session, repository.listed(line), Package.id, page)
    return shown(session, rows), following


def shown(session: Session, packages: Sequence[Package]) -> list[PackageOut]:
    """As users see them, in the order given."""
    registered = repository.registered(session, [package.job_id for package in packages])
    return [
        PackageOut.model_validate(package).model_copy(update={"registered_as": registered.get(package.job_id)})
        for package in packages
    ]
