"""What a device is told when it polls."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.fleet.cameras.models import Camera
from services.fleet.ddi.polls import sleep
from services.fleet.packages.models import Package
from services.fleet.rollouts.models import Rollout
from services.fleet.runtime import Services
from shared.contracts.ddi import Poll
from shared.kit.database import db_now
from tests.services.fleet.ddi.conftest import Device, World


def test_a_camera_with_nothing_to_do_is_told_when_to_come_back(device: Device) -> None:
    answer = device.poll()
    assert answer.json() == {"config": {"polling": {"sleep": "00:05:00"}}, "_links": {}}
    assert answer.headers["content-type"] == "application/json"
    assert Poll.model_validate_json(answer.content).links.deployment_base is None


def test_an_unchanged_answer_is_not_sent_again(device: Device, world: World) -> None:
    etag = device.poll().headers["etag"]
    unchanged = device.poll(**{"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    world.action(device, world.package())
    assert device.poll(**{"If-None-Match": etag}).status_code == 200


def test_an_action_is_linked_to_and_its_camera_comes_often(device: Device, world: World, client: Any) -> None:
    action = world.action(device, world.package())
    answer = device.poll().json()
    assert answer["config"]["polling"]["sleep"] == "00:00:30"
    href = answer["_links"]["deploymentBase"]["href"]
    assert href.startswith(f"{client.base_url}".rstrip("/") + f"/default/controller/v1/cam-1/deploymentBase/{action}?c=")


def test_actions_that_are_not_released_are_not_seen(device: Device, world: World) -> None:
    action = world.action(device, world.package(), released=False)
    assert device.links() == {}
    assert device.ask("GET", f"/deploymentBase/{action}").status_code == 404


def test_cameras_of_a_running_rollout_come_often_before_their_turn(device: Device, world: World) -> None:
    package = world.package()
    spec: dict[str, Any] = {"name": "r", "package_id": package, "spec": {}, "priority": 1, "budget": {}, "created_by": "tests"}
    rollout = world.add(Rollout(**spec, state="running"))
    world.action(device, package, released=False, rollout_id=rollout.id)
    assert device.poll().json() == {"config": {"polling": {"sleep": "00:00:30"}}, "_links": {}}


def test_a_cancelled_action_is_shown_instead_of_its_deployment(device: Device, world: World) -> None:
    action = world.action(device, world.package())
    device.ask("GET", f"/deploymentBase/{action}")
    world.cancel(action)
    (name, href), *others = device.links().items()
    assert (name, others) == ("cancelAction", [])
    assert href.endswith(f"/cancelAction/{action}")


def test_what_was_installed_is_linked_to(device: Device, world: World) -> None:
    action = world.action(device, world.package())
    assert device.report(action, "closed", "success").status_code == 200
    (name, href), *others = device.links().items()
    assert (name, others) == ("installedBase", [])
    assert href.endswith(f"/installedBase/{action}")


def test_attributes_are_asked_for_until_they_come(device: Device, services: Services) -> None:
    with services.sessions.begin() as session:
        session.get_one(Camera, device.camera_id).attributes_wanted = True
    assert device.links()["configData"].endswith("/configData")
    assert device.ask("PUT", "/configData", json={"data": {}}).status_code == 200
    assert device.links() == {}


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "fleet.example.com:8443, inner"},
            "https://fleet.example.com:8443/",
        ),
        ({"X-Forwarded-Host": "[::1]:80"}, "http://[::1]:80/"),
        ({"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "evil@host", "Host": "fleet"}, "http://fleet/"),
    ],
)
def test_links_start_where_the_device_came_in(device: Device, world: World, headers: dict[str, str], base: str) -> None:
    world.action(device, world.package())
    href = device.poll(**headers).json()["_links"]["deploymentBase"]["href"]
    assert href.startswith(f"{base}default/controller/v1/cam-1/")


def closed_window(services: Services) -> list[dict[str, Any]]:
    """One that begins in two hours."""
    with services.sessions() as session:
        begin = db_now(session) + timedelta(hours=2)
    return [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": f"{begin:%H:%M}", "minutes": 60}]


def test_a_closed_maintenance_window_keeps_new_actions_back(device: Device, world: World, services: Services) -> None:
    world.group("halls", "", closed_window(services))
    action = world.action(device, world.package())
    assert device.links() == {}
    refused = device.ask("GET", f"/deploymentBase/{action}")
    assert refused.status_code == 404
    assert timedelta(hours=1) < datetime.fromisoformat(refused.json()["opens_at"]) - datetime.now(UTC) <= timedelta(hours=2)
    assert world.state(action) == "pending"


def test_what_was_offered_stays_so_when_the_window_closes(device: Device, world: World, services: Services) -> None:
    action = world.action(device, world.package())
    assert device.ask("GET", f"/deploymentBase/{action}").status_code == 200
    world.group("halls", "", closed_window(services))
    assert "deploymentBase" in device.links()
    assert device.ask("GET", f"/deploymentBase/{action}").status_code == 200


def test_windows_of_other_groups_do_not_matter(world: World, services: Services) -> None:
    device = world.device(labels={"site": "berlin"})
    world.group("others", "site=paris", closed_window(services))
    world.group("at-any-time", "site=berlin", [])
    world.action(device, world.package())
    assert "deploymentBase" in device.links()


def test_a_deleted_package_is_not_offered(device: Device, world: World, services: Services) -> None:
    package = world.package()
    action = world.action(device, package)
    with services.sessions.begin() as session:
        session.get_one(Package, package).deleted_at = db_now(session)
    assert device.links() == {}
    assert "deleted" in device.ask("GET", f"/deploymentBase/{action}").json()["detail"]
    assert world.state(action) == "pending"


def test_a_package_without_a_file_for_the_camera_is_not_offered(device: Device, world: World) -> None:
    bare = world.add(Package(kind="software", name="bare", version="1", imported_by="tests"))
    action = world.action(device, bare.id)
    assert device.links() == {}
    assert device.ask("GET", f"/deploymentBase/{action}").status_code == 404


@pytest.mark.parametrize(("seconds", "text"), [(1, "00:00:01"), (3661, "01:01:01"), (10**9, "23:59:59")])
def test_sleep_is_a_time_of_the_day(seconds: int, text: str) -> None:
    assert sleep(seconds) == text
