"""Lists of jobs and of log lines."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.jobs.datasets import repository as datasets
from services.jobs.jobs import repository
from services.jobs.jobs.models import Job, JobEventRow
from services.jobs.jobs.schemas import JobFilters, LogLineOut, LogLinesOut
from shared.kit.pages import PageParams, newest_first


def page(session: Session, filters: JobFilters, page: PageParams) -> tuple[Sequence[Job], str | None]:
    """One page of the jobs that match, newest first."""
    wanted = repository.Filters(
        kind=filters.kind or (),
        state=filters.state or (),
        owner=filters.owner,
        name=filters.name,
        tags=[_tag(text) for text in filters.tag or ()],
        parent_id=filters.parent,
        dataset_id=None if filters.dataset is None else _dataset_id(session, filters.dataset),
    )
    return newest_first(session, repository.filtered(wanted), Job.id, page)


def _tag(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _dataset_id(session: Session, name_or_id: str) -> str:
    # An id is used as it is: jobs are still found by the id of a dataset that was deleted.
    dataset = datasets.find(session, name_or_id)
    return dataset.id if dataset is not None else name_or_id


def log_lines(session: Session, job_id: str, *, after: int, limit: int) -> LogLinesOut:
    """Up to ``limit`` log lines above ``after``."""
    rows = repository.logs_after(session, job_id, after, limit + 1)
    shown = rows[:limit]
    return LogLinesOut(items=[_line(row) for row in shown], next_after=shown[-1].seq if len(rows) > limit else None)


def _line(row: JobEventRow) -> LogLineOut:
    return LogLineOut(seq=row.seq, at=row.at, level=str(row.payload["level"]), message=str(row.payload["message"]))
