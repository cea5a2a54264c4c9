"""Who is let in."""

import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from services.fleet.cameras.models import Camera, CameraLabel, ProvisioningToken
from services.fleet.runtime import Services
from shared.kit.auth import hash_secret
from shared.kit.database import db_now
from tests.services.fleet.ddi.conftest import TOKEN, Device, World

GATEWAY = {"Authorization": "GatewayToken a-secret-of-many-cameras"}


@pytest.fixture
def token(world: World) -> ProvisioningToken:
    return a_token(world)


def a_token(world: World, **overrides: Any) -> ProvisioningToken:
    columns: dict[str, Any] = {"name": "halls", "token_hash": hash_secret("a-secret-of-many-cameras")}
    columns |= {"labels": {"site": "berlin"}, "format": "swu", "max_cameras": 3, "created_by": "tests"}
    made: ProvisioningToken = world.add(ProvisioningToken(**(columns | overrides)))
    return made


def change(services: Services, token: ProvisioningToken, **columns: Any) -> None:
    with services.sessions.begin() as session:
        row = session.get_one(ProvisioningToken, token.id)
        for name, value in columns.items():
            setattr(row, name, value)


def poll(client: httpx.Client, controller_id: str, authorization: str | None = None) -> httpx.Response:
    headers = {"Authorization": authorization} if authorization else GATEWAY
    return client.get(f"/default/controller/v1/{controller_id}", headers=headers)


def test_only_the_cameras_own_token_lets_it_in(device: Device, world: World) -> None:
    world.device("other", token_hash=hash_secret("another"))
    world.device("without", token_hash=None)
    for authorization in (
        "",
        "TargetToken",
        "TargetToken another",
        f"Bearer {TOKEN}",
        f"GatewayToken {TOKEN}",
        "TargetToken \xff",
    ):
        for path in ("", "/deploymentBase/1", "/confirmationBase"):
            answer = device.http.get(device.root + path, headers={"Authorization": authorization.encode("latin-1")})
            assert answer.status_code == 401
            assert answer.json()["type"] == "/problems/not-let-in"
            assert "TargetToken" in answer.headers["www-authenticate"]
    assert poll(device.http, "without", "TargetToken").status_code == 401
    assert poll(device.http, "cam-1", f"targettoken  {TOKEN}").status_code == 200


def test_unknown_and_deleted_cameras_sound_alike(device: Device, services: Services) -> None:
    with services.sessions.begin() as session:
        session.get_one(Camera, device.camera_id).deleted_at = db_now(session)
    deleted, unknown = device.poll(), poll(device.http, "nobody", device.authorization)
    assert deleted.status_code == unknown.status_code == 401
    assert deleted.json()["detail"] == unknown.json()["detail"]


def test_a_provisioning_token_registers_a_camera_at_its_first_poll(
    client: httpx.Client, token: ProvisioningToken, services: Services
) -> None:
    for _ in range(3):
        assert "configData" in poll(client, "new%2Fone").json()["_links"]
    with services.sessions() as session:
        camera = session.scalars(select(Camera)).one()
        labels = session.scalars(select(CameraLabel.value)).all()
    assert (camera.controller_id, camera.format, camera.labels) == ("new/one", "swu", {"site": "berlin"})
    assert (camera.registered_by, camera.provisioned_by, labels) == ("halls", token.id, ["berlin"])
    assert client.get("/default/controller/v1/new%2Fone/confirmationBase", headers=GATEWAY).status_code == 200


def test_it_speaks_for_no_other_cameras(device: Device, token: ProvisioningToken) -> None:
    assert poll(device.http, "cam-1").status_code == 401
    assert device.http.put(device.root + "/configData", json={"data": {}}, headers=GATEWAY).status_code == 401


def test_an_expired_one_lets_nobody_new_in(client: httpx.Client, token: ProvisioningToken, services: Services) -> None:
    assert poll(client, "early").status_code == 200
    with services.sessions() as session:
        now = db_now(session)
    change(services, token, expires_at=now - timedelta(seconds=1))
    assert poll(client, "late").status_code == 401
    assert poll(client, "early").status_code == 200
    change(services, token, revoked_at=now)
    assert poll(client, "early").status_code == 401


def test_no_more_cameras_than_it_may_also_when_all_come_at_once(
    client: httpx.Client, token: ProvisioningToken, services: Services
) -> None:
    answers: list[int] = []

    def come(number: int) -> None:
        answers.append(poll(client, f"cam-{number}").status_code)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 200, 200, 403, 403, 403]
    with services.sessions() as session:
        assert session.get_one(ProvisioningToken, token.id).cameras == len(session.scalars(select(Camera)).all()) == 3


def test_one_device_that_comes_twice_at_once_is_counted_once(
    client: httpx.Client, token: ProvisioningToken, services: Services
) -> None:
    threads = [threading.Thread(target=poll, args=(client, "twin")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert poll(client, "twin").status_code == 200
    with services.sessions() as session:
        assert session.get_one(ProvisioningToken, token.id).cameras == 1


def enrol(client: httpx.Client, controller_id: str, **headers: str) -> httpx.Response:
    return client.post("/v1/fleet/enrol", json={"controller_id": controller_id}, headers=headers or GATEWAY)


def test_enrolment_gives_a_token_of_its_own(client: httpx.Client, token: ProvisioningToken) -> None:
    first = enrol(client, "new/one")
    assert first.status_code == 201
    assert poll(client, "new%2Fone", f"TargetToken {first.json()['token']}").status_code == 200
    second = enrol(client, "new/one")
    assert poll(client, "new%2Fone", f"TargetToken {second.json()['token']}").status_code == 200
    assert poll(client, "new%2Fone", f"TargetToken {first.json()['token']}").status_code == 401


def test_enrolment_takes_no_other_camera_over(
    device: Device, token: ProvisioningToken, world: World, services: Services
) -> None:
    assert enrol(device.http, "cam-1").json()["type"] == "/problems/camera-exists"
    assert device.poll().status_code == 200
    with services.sessions() as session:
        assert session.get_one(ProvisioningToken, token.id).cameras == 0


def test_enrolment_is_refused(client: httpx.Client, token: ProvisioningToken, services: Services) -> None:
    assert enrol(client, "x", Authorization="GatewayToken wrong").status_code == 401
    assert enrol(client, "x", Authorization="TargetToken a-secret-of-many-cameras").status_code == 401
    for controller_id in ("", "..", "a\n", "x" * 129):
        assert enrol(client, controller_id).status_code == 422
    assert enrol(client, "early").status_code == 201
    with services.sessions() as session:
        now = db_now(session)
    change(services, token, expires_at=now)
    assert enrol(client, "early").status_code == 401
    assert enrol(client, "late").status_code == 401
