"""What users read of packages, and returns to older ones."""

from collections.abc import Sequence

import structlog
from sqlalchemy.orm import Session

from services.jobs.packages import repository
from services.jobs.packages.errors import PackageNotFound
from services.jobs.packages.models import Package
from services.jobs.packages.signer import Signer
from shared.contracts.packages import ReleaseStatement
from shared.contracts.packaging import PackageOut, ReturnIn, SignedReturnOut
from shared.kit.database import db_now
from shared.kit.pages import PageParams, newest_first

log = structlog.get_logger(__name__)


def get(session: Session, line: str, release: int | None = None) -> Package:
    """A release of a line; the newest for None. Raises PackageNotFound."""
    found = repository.find(session, line, release)
    if found is None:
        what = "package" if release is None else f"release {release}"
        raise PackageNotFound(f"There is no {what} of the line {line!r}.")
    return found


def sign_return(session: Session, signer: Signer, line: str, body: ReturnIn) -> SignedReturnOut:
    """Sign the return of a line to an older release that is kept here. PackageNotFound; what the signer raises."""
    for release in (body.from_release, body.to_release):
        get(session, line, release)
    statement = ReleaseStatement(line=line, issued_at=db_now(session), **body.model_dump())
    signed = signer.sign_return(statement)
    log.warning("packages.return_signed", line=line, from_release=body.from_release, to_release=body.to_release)
    return SignedReturnOut(statement=signed.content.decode(), signature=signed.signature.decode())


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
