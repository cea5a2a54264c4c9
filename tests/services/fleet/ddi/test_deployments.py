"""deploymentBase, installedBase, cancelAction and artifacts, as a device reads them."""

import hashlib
from typing import Any

import pytest

from services.fleet.packages.models import Statement
from services.fleet.runtime import Services
from shared.contracts.ddi import DeploymentBase
from shared.contracts.rollouts import ActionKind
from tests.services.fleet.ddi.conftest import Device, World


def test_a_deployment_names_the_files_of_the_cameras_format(device: Device, world: World, client: Any) -> None:
    package = world.package("3", content=b"three")
    action = world.action(device, package, forced=False)
    body = device.ask("GET", f"/deploymentBase/{action}").json()
    url = f"{str(client.base_url).rstrip('/')}{device.root}/softwaremodules/{package}%3Anetwork/artifacts/line-3.tar"
    hashes = {name: hashlib.new(name, b"three").hexdigest() for name in ("sha1", "md5", "sha256")}
    links = {"download": {"href": url}, "download-http": {"href": url}}
    links |= {"md5sum": {"href": f"{url}.MD5SUM"}, "md5sum-http": {"href": f"{url}.MD5SUM"}}
    artifact = {"filename": "line-3.tar", "hashes": hashes, "size": 5, "_links": links}
    chunk = {"part": "network", "version": "3", "name": "line", "artifacts": [artifact], "metadata": []}
    assert body == {"id": str(action), "deployment": {"download": "attempt", "update": "attempt", "chunks": [chunk]}}
    assert world.state(action) == "offered"
    assert DeploymentBase.model_validate(body).deployment.chunks[0].artifacts[0].links.download_http.href == url


def test_reading_it_again_changes_nothing(device: Device, world: World) -> None:
    action = world.action(device, world.package())
    first, second = (device.ask("GET", f"/deploymentBase/{action}") for _ in range(2))
    assert first.content == second.content
    assert [row.state for row in world.history(action)] == ["offered"]


def test_ids_of_no_action_of_the_camera(device: Device) -> None:
    for action_id in ("0", "-1", "1.0", "x", "9" * 18, "9" * 30, "%C2%B2", "1%2F2", "%FF"):
        for base in ("deploymentBase", "installedBase", "cancelAction"):
            assert device.ask("GET", f"/{base}/{action_id}").status_code == 404


def test_another_cameras_action_is_none(device: Device, world: World) -> None:
    action = world.action(world.device("other"), world.package())
    assert device.ask("GET", f"/deploymentBase/{action}").status_code == 404
    assert device.report(action, "closed", "success").status_code == 404
    assert world.state(action) == "pending"


def test_a_deployment_that_is_over_is_gone(device: Device, world: World) -> None:
    action = world.action(device, world.package())
    assert device.ask("GET", f"/installedBase/{action}").status_code == 404
    device.report(action, "closed", "success")
    assert device.ask("GET", f"/deploymentBase/{action}").status_code == 410
    assert device.ask("GET", f"/installedBase/{action}").json()["deployment"]["chunks"][0]["version"] == "1"


def test_history_is_told_where_it_is_asked_for(device: Device, world: World) -> None:
    action = world.action(device, world.package())
    for message in ("one", "two", "three"):
        device.report(action, "proceeding", details=[message])
    path = f"/deploymentBase/{action}?actionHistory="
    assert device.ask("GET", path + "-1").json()["actionHistory"] == {"status": "RUNNING", "messages": ["three", "two", "one"]}
    assert device.ask("GET", path + "1").json()["actionHistory"]["messages"] == ["three"]
    assert "actionHistory" not in device.ask("GET", path + "0").json()
    assert device.ask("GET", path + "all").status_code == 422


def test_a_return_to_nothing(device: Device, world: World) -> None:
    action = world.action(device, None, kind=ActionKind.RESTORE)
    (chunk,) = device.ask("GET", f"/deploymentBase/{action}").json()["deployment"]["chunks"]
    restore = {"key": "picofleet.restore", "value": "none"}
    assert chunk == {"part": "picofleet", "name": "none", "version": "0", "artifacts": [], "metadata": [restore]}


def test_a_return_to_an_older_release_carries_its_statement(device: Device, world: World) -> None:
    for release in (2, 4, 3):
        world.add(Statement(line="line", from_release=release, to_release=1, envelope={"statement": f"from {release}"}))
    world.add(Statement(line="line", from_release=9, to_release=2, envelope={"statement": "to another"}))
    action = world.action(device, world.package("1"), kind=ActionKind.RESTORE)
    (chunk,) = device.ask("GET", f"/deploymentBase/{action}").json()["deployment"]["chunks"]
    assert chunk["metadata"] == [{"key": "picofleet.statement", "value": '{"statement":"from 4"}'}]


def test_a_cancellation_is_read_and_confirmed(device: Device, world: World) -> None:
    action = world.action(device, world.package())
    device.ask("GET", f"/deploymentBase/{action}")
    assert device.ask("GET", f"/cancelAction/{action}").json()["type"] == "/problems/nothing-to-cancel"
    assert device.report(action, "closed", "success", base="cancelAction").status_code == 404
    world.cancel(action)
    assert device.ask("GET", f"/cancelAction/{action}").json() == {"id": str(action), "cancelAction": {"stopId": str(action)}}
    for _ in range(2):
        assert device.report(action, "closed", "success", base="cancelAction").status_code == 200
    assert world.state(action) == "cancelled"
    assert device.links() == {}
    assert device.ask("GET", f"/cancelAction/{action}").status_code == 410


@pytest.mark.parametrize(("execution", "finished"), [("closed", "failure"), ("rejected", "none"), ("proceeding", "none")])
def test_a_device_that_does_not_stop_goes_on(device: Device, world: World, execution: str, finished: str) -> None:
    action = world.action(device, world.package())
    device.report(action, "proceeding")
    world.cancel(action)
    assert device.report(action, execution, finished, base="cancelAction", details=["too late"]).status_code == 200
    assert world.state(action) == "installing"
    assert world.history(action)[-1].message == "too late"
    assert device.report(action, "closed", "success").status_code == 200
    assert world.state(action) == "running"
    assert device.report(action, "closed", "success", base="cancelAction").status_code == 410


def test_nothing_waits_for_a_confirmation(device: Device) -> None:
    assert device.ask("GET", "/confirmationBase").json() == {"autoConfirm": {"active": False}}
    assert device.ask("POST", "/confirmationBase/activateAutoConfirm", json={"initiator": "x"}).status_code == 200
    assert device.ask("POST", "/confirmationBase/deactivateAutoConfirm").status_code == 200
    assert device.ask("GET", "/confirmationBase/7").status_code == 404
    assert device.ask("POST", "/confirmationBase/7/feedback", json={}).status_code == 404


def download_of(device: Device, action: int) -> str:
    chunk = device.ask("GET", f"/deploymentBase/{action}").json()["deployment"]["chunks"][0]
    href: str = chunk["artifacts"][0]["_links"]["download"]["href"]
    return href[href.index(device.root) + len(device.root) :]


def test_artifacts_come_whole_in_parts_and_not_twice(device: Device, world: World) -> None:
    content = bytes(range(256)) * 20
    path = download_of(device, world.action(device, world.package(content=content)))
    whole = device.ask("GET", path)
    assert whole.content == content
    assert whole.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    part = device.ask("GET", path, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, content[100:200])
    assert device.ask("GET", path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert device.ask("GET", path, headers={"Range": "bytes=9999-"}).status_code == 416
    head = device.ask("HEAD", path)
    assert (head.headers["content-length"], head.content) == (str(len(content)), b"")


def test_md5_sums_and_lists_of_artifacts(device: Device, world: World) -> None:
    path = download_of(device, world.action(device, world.package(content=b"abc")))
    answer = device.ask("GET", path + ".MD5SUM")
    assert answer.text == f"{hashlib.md5(b'abc').hexdigest()}  line-1.tar\n"
    (artifact,) = device.ask("GET", path.rpartition("/")[0]).json()
    assert (artifact["filename"], artifact["size"]) == ("line-1.tar", 3)
    assert artifact["_links"]["download"]["href"].endswith(path)


def test_a_camera_gets_no_files_but_those_of_its_own_actions(device: Device, world: World) -> None:
    package = world.package()
    path = download_of(device, world.action(device, package))
    other = world.device("other")
    assert other.ask("GET", path).status_code == 404
    world.action(other, package, released=False)
    assert other.ask("GET", path).status_code == 404
    assert device.ask("GET", path.replace(".tar", ".swu")).status_code == 404
    assert device.ask("GET", path.replace("network", "x")).status_code == 404
    assert device.ask("GET", "/softwaremodules/..%2F..%2Fetc/artifacts/passwd").status_code == 404


def test_files_of_what_was_installed_can_be_had_again(device: Device, world: World) -> None:
    action = world.action(device, world.package())
    path = download_of(device, action)
    device.report(action, "closed", "failure")
    assert device.ask("GET", path).status_code == 200


def test_a_file_whose_bytes_are_gone(device: Device, world: World, services: Services) -> None:
    path = download_of(device, world.action(device, world.package(content=b"lost")))
    services.blobs.delete(f"sha256:{hashlib.sha256(b'lost').hexdigest()}")
    answer = device.ask("GET", path)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/download-not-found")
