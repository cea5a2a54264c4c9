"""Epochs are counted up with what changes, whatever savepoints there are."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.polling.epochs import bucket_of, touch
from services.fleet.polling.models import Epoch
from services.fleet.runtime import Services

CAMERA, OTHER = "01890000-0000-7000-8000-000000000005", "01890000-0000-7000-8000-000000000006"


def epoch(services: Services, camera_id: str) -> int:
    with services.sessions() as session:
        return session.scalars(select(Epoch.epoch).where(Epoch.bucket == bucket_of(camera_id))).one()


def test_a_commit_counts_each_bucket_once(services: Services) -> None:
    before = epoch(services, CAMERA), epoch(services, OTHER)
    with services.sessions.begin() as session:
        touch(session, [CAMERA, CAMERA])
        touch(session, [CAMERA])
    assert (epoch(services, CAMERA), epoch(services, OTHER)) == (before[0] + 1, before[1])


def test_a_savepoint_that_is_rolled_back_takes_no_count_along(services: Services) -> None:
    before = epoch(services, CAMERA)
    with services.sessions.begin() as session:
        touch(session, [CAMERA])
        outer = session.begin_nested()
        with session.begin_nested():
            touch(session, [OTHER])
        outer.rollback()
    assert epoch(services, CAMERA) == before + 1


def test_each_commit_of_a_session_counts(services: Services, session: Session) -> None:
    before = epoch(services, CAMERA)
    for _ in range(2):
        touch(session, [CAMERA])
        session.commit()
    session.commit()
    assert epoch(services, CAMERA) == before + 2
