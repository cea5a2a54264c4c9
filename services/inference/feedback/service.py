"""Corrections: kept where the deployment asks for them, for as long as it says."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import CursorResult, Select, delete, select
from sqlalchemy.orm import Session

from services.inference.engine.served import Served
from services.inference.feedback.errors import FeedbackDisabled, FeedbackNotFound
from services.inference.feedback.models import Feedback
from services.inference.feedback.pictures import read_mask, upright
from services.inference.runtime import Services
from services.inference.segmentation.windows import window_of
from shared.contracts.feedback import FeedbackIn
from shared.contracts.windows import WindowPolicy
from shared.kit.blobs import BlobStore
from shared.kit.database import db_now
from shared.picosam.data import rle

log = structlog.get_logger(__name__)

OBJECT: Final = "object"
"""The label of corrections that name none."""

_MOST: Final = 1000
"""Rows of one transaction; the next tick takes more."""


def store(session: Session, services: Services, wanted: FeedbackIn, image: bytes, *, owner: str) -> Feedback:
    """Keep a correction with its ``image`` file.

    FeedbackDisabled, BadImage, BadMask, InvalidRequest for a prompt outside the image.
    """
    settings = services.table.get(wanted.deployment).spec.feedback
    if not settings.enabled:
        raise FeedbackDisabled(f"The deployment {wanted.deployment!r} does not keep corrected masks.")
    kept = upright(image, max_pixels=services.settings.max_image_pixels)
    window_of(wanted.prompt, "body.prompt", kept.shape, WindowPolicy())  # refuses what lies outside
    mask = read_mask(wanted.mask, kept.shape)
    row = Feedback(
        deployment=wanted.deployment,
        model=wanted.model,
        image=services.feedback.put_bytes(kept.content).digest,
        format=kept.format,
        width=kept.shape[1],
        height=kept.shape[0],
        prompt=wanted.prompt.model_dump(mode="json"),
        counts=mask.counts,
        area=rle.area(mask),
        label=wanted.label or OBJECT,
        note=wanted.note,
        created_by=owner,
        expires_at=db_now(session) + timedelta(days=settings.retention_days),
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, feedback_id: str) -> Feedback:
    """FeedbackNotFound."""
    row = session.get(Feedback, feedback_id)
    if row is None:
        raise FeedbackNotFound(f"There is no correction {feedback_id!r}.")
    return row


def of_deployment(deployment: str | None) -> Select[Feedback]:
    """All corrections, or those of one deployment."""
    query = select(Feedback)
    return query if deployment is None else query.where(Feedback.deployment == deployment)


def remove(session: Session, blobs: BlobStore, rows: Iterable[Feedback]) -> int:
    """Delete corrections, and the images that no other one has; how many there were."""
    gone = {row.id: row.image for row in rows}
    if not gone:
        return 0
    result = session.execute(delete(Feedback).where(Feedback.id.in_(gone)))
    still = set(session.scalars(select(Feedback.image).where(Feedback.image.in_(set(gone.values())))))
    blobs.delete_all(set(gone.values()) - still)
    assert isinstance(result, CursorResult)
    return result.rowcount


def forget_old(services: Services) -> None:
    """The loop's tick: what is past its retention, and what a deployment has above its limit, the oldest first."""
    with services.sessions.begin() as session:
        expired = session.scalars(select(Feedback).where(Feedback.expires_at < db_now(session)).limit(_MOST)).all()
        removed = remove(session, services.feedback, expired)
    for served in services.table.all():
        with services.sessions.begin() as session:
            removed += remove(session, services.feedback, _above_limit(session, served))
    if removed:
        log.info("feedback.forgotten", corrections=removed)


def _above_limit(session: Session, served: Served) -> list[Feedback]:
    newest = of_deployment(served.name).order_by(Feedback.id.desc())
    return list(session.scalars(newest.offset(served.spec.feedback.max_items).limit(_MOST)))
