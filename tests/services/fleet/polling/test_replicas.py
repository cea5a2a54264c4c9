"""Several replicas on one database: what one of them changes, devices hear from the others."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from services.fleet.app import create_app
from services.fleet.cameras.models import Camera
from services.fleet.polling.contacts import write_heard
from services.fleet.polling.epochs import touch
from services.fleet.polling.loops import look_at_epochs
from services.fleet.polling.models import Contact
from services.fleet.rollouts import engine, service
from services.fleet.runtime import Services
from services.fleet.settings import FleetSettings
from shared.contracts.keys import Scope
from shared.contracts.rollouts import RolloutIn
from shared.kit.auth import Actor
from shared.kit.database import db_now
from tests.services.fleet.ddi.conftest import TOKEN, Device, World

ACTOR = Actor(key_id="a-key", name="someone", scope=Scope.OPERATOR)


class Replica:
    """One of several services on the same database."""

    def __init__(self, served: Any) -> None:
        self.services: Services = served.app.state.services
        self.http = httpx.Client(base_url=served.url, timeout=30)

    def told_to_sleep(self, device: Device) -> str:
        """What this replica says when it has looked at the epochs."""
        look_at_epochs(self.services)
        answer = self.http.get(device.root, headers={"Authorization": device.authorization})
        said: str = answer.json()["config"]["polling"]["sleep"]
        return said

    @contextmanager
    def counting(self) -> Any:
        """A list that grows by each statement."""
        statements: list[str] = []

        def note(*args: Any) -> None:
            if not args[2].startswith("BEGIN"):
                statements.append(args[2])

        event.listen(self.services.engine, "before_cursor_execute", note)
        yield statements
        event.remove(self.services.engine, "before_cursor_execute", note)

    def polled(self, device: Device) -> list[str]:
        """The links that the device is shown by this replica."""
        answer = self.http.get(device.root, headers={"Authorization": device.authorization})
        assert answer.status_code == 200
        return list(answer.json()["_links"])


@pytest.fixture
def replicas(settings: FleetSettings, serve: Callable[[FastAPI], Any]) -> Any:
    """Two, whose loops tests call themselves."""
    made = [Replica(serve(create_app(settings))) for _ in range(2)]
    for replica in made:
        look_at_epochs(replica.services)
    yield made
    for replica in made:
        replica.http.close()


@pytest.fixture
def world(replicas: list[Replica]) -> World:
    """Changes are made through the first one."""
    return World(replicas[0].services, replicas[0].http)


def test_quiet_polls_leave_the_database_alone(replicas: list[Replica], world: World) -> None:
    device, (first, _) = world.device("halle/3 \U0001f4f7", "halle%2F3%20%F0%9F%93%B7"), replicas
    first.polled(device)
    with first.counting() as statements:
        answers = [device.poll() for _ in range(20)]
        assert device.poll(**{"If-None-Match": answers[0].headers["etag"]}).status_code == 304
    assert statements == []
    assert {answer.content for answer in answers} == {answers[0].content}
    sample = first.services.metrics.polls.labels("memory")._value.get()
    assert sample == 20


def test_a_poll_that_reaches_the_database_is_one_statement(replicas: list[Replica], world: World) -> None:
    device, (first, _) = world.device(), replicas
    action = world.action(device, world.package())
    device.ask("GET", f"/deploymentBase/{action}")
    with first.counting() as statements:
        assert first.polled(device) == ["deploymentBase"]
    assert len(statements) == 1


def test_what_one_replica_releases_the_others_show_after_a_look(replicas: list[Replica], world: World) -> None:
    device, (_, second) = world.device(), replicas
    assert second.polled(device) == []
    world.action(device, world.package())
    assert second.polled(device) == []  # not yet
    look_at_epochs(second.services)
    assert second.polled(device) == ["deploymentBase"]


def test_cameras_come_often_from_the_start_of_their_rollout_to_its_end(replicas: list[Replica], world: World) -> None:
    device, (first, second) = world.device(), replicas
    world.package()
    phases = [{"percent": 100, "approval": True}]  # nobody approves it, so the camera's turn does not come
    body = RolloutIn.model_validate({"name": "r", "package": "line/1", "selector": "", "phases": phases, "start": True})
    assert second.told_to_sleep(device) == "00:05:00"
    with first.services.sessions.begin() as session:
        rollout_id = service.make(session, body, actor=ACTOR).id
    engine.tick(first.services)
    heard = [second.told_to_sleep(device)]
    for deed in (service.pause, service.resume, service.abort):
        with first.services.sessions.begin() as session:
            deed(session, rollout_id, actor=ACTOR, reason="")
        heard.append(second.told_to_sleep(device))
    assert heard == ["00:00:30", "00:05:00", "00:00:30", "00:05:00"]


def test_cameras_of_a_rollout_that_ends_by_itself_come_seldom_again(replicas: list[Replica], world: World) -> None:
    device, (first, second) = world.device(), replicas
    phases = [{"percent": 100, "soak_s": 0.5}]
    body = RolloutIn.model_validate({"name": "r", "package": "line/1", "selector": "", "phases": phases, "start": True})
    package = world.package()
    with first.services.sessions.begin() as session:
        session.get_one(Camera, device.camera_id).current_package_id = package  # it has succeeded from the start
        service.make(session, body, actor=ACTOR)
    engine.tick(first.services)
    assert second.told_to_sleep(device) == "00:00:30"
    time.sleep(0.6)
    engine.tick(first.services)
    assert second.told_to_sleep(device) == "00:05:00"


def test_a_change_between_reading_and_remembering_is_not_lost(replicas: list[Replica], world: World) -> None:
    device, (_, second) = world.device(), replicas
    plain, done = second.services.polls.put, []

    def late(*args: Any, **kwargs: Any) -> None:
        done.append(world.action(device, world.package()))
        look_at_epochs(second.services)
        plain(*args, **kwargs)

    second.services.polls.put = late  # type: ignore[method-assign]
    assert second.polled(device) == []
    second.services.polls.put = plain  # type: ignore[method-assign]
    assert done
    assert second.polled(device) == ["deploymentBase"]


def test_a_change_that_is_rolled_back_forgets_nothing(replicas: list[Replica], world: World) -> None:
    device, (first, _) = world.device(), replicas
    first.polled(device)
    with first.services.sessions() as session:
        touch(session, [device.camera_id])
        session.rollback()
    look_at_epochs(first.services)
    with first.counting() as statements:
        first.polled(device)
    assert statements == []


def test_another_token_is_not_answered_from_memory(replicas: list[Replica], world: World) -> None:
    device, (first, _) = world.device(), replicas
    first.polled(device)
    for authorization in ("TargetToken wrong", f"GatewayToken {TOKEN}", ""):
        assert first.http.get(device.root, headers={"Authorization": authorization}).status_code == 401


def test_a_token_that_was_changed_elsewhere_stops_after_a_look(replicas: list[Replica], world: World) -> None:
    device, (first, second) = world.device(), replicas
    second.polled(device)
    with first.services.sessions.begin() as session:
        session.get_one(Camera, device.camera_id).token_hash = "0" * 64
        touch(session, [device.camera_id])
    look_at_epochs(second.services)
    assert second.http.get(device.root, headers={"Authorization": device.authorization}).status_code == 401


def test_quiet_polls_go_on_while_the_database_is_away(replicas: list[Replica], world: World) -> None:
    device, (first, _) = world.device(), replicas
    first.polled(device)
    first.services.engine.dispose()
    with first.services.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE poll_epochs RENAME TO away")
        connection.exec_driver_sql("ALTER TABLE camera_contacts RENAME TO away2")
    for tick in (look_at_epochs, write_heard):
        with pytest.raises(Exception, match=r"poll_epochs|camera_contacts"):
            tick(first.services)
    assert first.polled(device) == []
    with first.services.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO poll_epochs")
        connection.exec_driver_sql("ALTER TABLE away2 RENAME TO camera_contacts")
    assert write_heard(first.services) == 1


def test_who_was_heard_of_is_written_in_batches(replicas: list[Replica], world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.fleet.polling.contacts.BATCH", 3)
    (first, second), devices = replicas, [world.device(f"cam-{number}") for number in range(5)]
    for device in [*devices, *devices]:
        first.polled(device)
    second.polled(devices[0])
    with first.counting() as statements:
        assert write_heard(first.services) == 5
    assert sum(statement.startswith("UPDATE") for statement in statements) == 2
    assert write_heard(second.services) == 1
    assert write_heard(first.services) == 0
    with first.services.sessions() as session:
        now = db_now(session)
        for device in devices:
            contact = session.get_one(Contact, device.camera_id)
            assert contact.address == "127.0.0.1"
            assert contact.seen_at is not None
            assert 0 <= (now - contact.seen_at).total_seconds() < 60


def test_running_services_tell_each_other_within_a_moment(
    settings: FleetSettings, serve: Callable[[FastAPI], Any], replicas: list[Replica], world: World
) -> None:
    running = settings.model_copy(update={"run_loops": True, "epochs_s": 0.2, "contacts_s": 0.2})
    third = Replica(serve(create_app(running)))
    device = world.device()
    with third.counting() as statements:
        give_up = time.monotonic() + 10
        while "cameras" in "".join(statements[-1:]) or not statements:
            assert time.monotonic() < give_up
            third.polled(device)
    assert third.polled(device) == []
    world.action(device, world.package())
    released, give_up = time.monotonic(), time.monotonic() + 10
    while third.polled(device) != ["deploymentBase"]:
        assert time.monotonic() < give_up
    assert time.monotonic() - released < 5
    third.http.close()
