"""Every statement on the tables of packages."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Select, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.jobs.models.models import ModelVersion
from services.jobs.packages.models import Package, PackageLine
from shared.kit.database import violated


def next_release(session: Session, line: str) -> int:
    """The line's next number. Whoever asks next waits until this transaction ends, and gets the one after it, or the same
    if this one is rolled back.
    """
    counted = update(PackageLine).where(PackageLine.name == line).values(last_release=PackageLine.last_release + 1)
    raising = counted.returning(PackageLine.last_release).execution_options(synchronize_session=False)
    found = session.scalar(raising)
    if found is None:
        _begin(session, line)
        found = session.scalars(raising).one()
    return found


def _begin(session: Session, line: str) -> None:
    """A line whose first release is to come; another transaction may begin it at the same time."""
    try:
        with session.begin_nested():
            session.add(PackageLine(name=line, last_release=0))
    except IntegrityError as exc:
        if violated(exc) != ("package_lines", ("name",)):
            raise


def find(session: Session, line: str, release: int | None) -> Package | None:
    """A release of the line; the newest for None."""
    query = select(Package).where(Package.line == line)
    if release is not None:
        query = query.where(Package.release == release)
    return session.scalar(query.order_by(Package.release.desc()).limit(1))


def listed(line: str | None) -> Select[Package]:
    """The query of all packages, or of a line's."""
    query = select(Package)
    return query if line is None else query.where(Package.line == line)


def registered(session: Session, job_ids: Iterable[str]) -> dict[str, str]:
    """The versions that these jobs registered, as picosam2.package/1, by job."""
    rows: Sequence[ModelVersion] = session.scalars(
        select(ModelVersion).where(ModelVersion.job_id.in_(list(job_ids)), ModelVersion.version.is_not(None))
    ).all()
    return {row.job_id: f"{row.name}/{row.version}" for row in rows if row.is_registered}
