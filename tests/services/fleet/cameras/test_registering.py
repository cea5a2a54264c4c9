"""A camera's rows come together, and its controller id is its own."""

import threading
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera, CameraLabel
from services.fleet.cameras.registering import CameraExists, register
from services.fleet.events.models import Event
from services.fleet.polling.models import Contact
from services.fleet.runtime import Services
from shared.contracts.base import new_id
from shared.contracts.cameras import CameraFormat
from shared.contracts.keys import Scope
from shared.kit.auth import Actor
from shared.kit.database import db_now


def a_camera(session: Session, controller_id: str = "hall/3", **overrides: Any) -> Camera:
    plain: dict[str, Any] = {"labels": {}, "format": CameraFormat.PACKAGE, "token_hash": None, "provisioned_by": None}
    return register(session, controller_id, **(plain | {"by": "tests"} | overrides))


def test_all_rows_of_a_camera_are_written(session: Session) -> None:
    actor = Actor(key_id=new_id(), name="anna", scope=Scope.OPERATOR)
    camera = a_camera(session, labels={"site": "berlin", "gpu": ""}, by=actor)
    session.commit()
    labels = {row.key: row.value for row in session.scalars(select(CameraLabel).where(CameraLabel.camera_id == camera.id))}
    assert labels == camera.labels == {"site": "berlin", "gpu": ""}
    assert session.get_one(Contact, camera.id).seen_at is None
    event = session.scalars(select(Event).where(Event.camera_id == camera.id)).one()
    assert (event.type, event.actor, event.detail["controller_id"]) == ("camera.registered", "anna", "hall/3")


def test_a_taken_controller_id_adds_nothing(session: Session) -> None:
    a_camera(session)
    with pytest.raises(CameraExists):
        a_camera(session)
    session.commit()
    assert session.scalar(select(func.count()).select_from(Camera)) == 1
    assert session.scalar(select(func.count()).select_from(Event)) == 1


def test_the_controller_id_of_a_deleted_camera_is_free(session: Session) -> None:
    a_camera(session).deleted_at = db_now(session)
    session.flush()
    a_camera(session)
    session.commit()


def test_of_two_at_the_same_time_one_gets_it(services: Services) -> None:
    told: list[str] = []

    def try_it() -> None:
        try:
            with services.sessions.begin() as session:
                a_camera(session)
            told.append("made")
        except CameraExists:
            told.append("taken")

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["made", "taken", "taken", "taken"]
