"""The flows of rauc-hawkbit-updater's public test suite (its test_basics, test_download, test_install, test_cancel)."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from services.fleet.actions.models import Action
from services.fleet.cameras.models import Camera
from services.fleet.hawkbit.targets import repository as targets
from services.fleet.polling.loops import look_at_epochs

SUITE = {
    "pollingTime": "00:00:30",
    "pollingOverdueTime": "00:03:00",
    "authentication.targettoken.enabled": True,
    "authentication.gatewaytoken.enabled": True,
    "authentication.gatewaytoken.key": "5ae3f7e2b1c04d0f9d1e",
    "anonymous.download.enabled": False,
}


def test_a_target_identifies_itself(hawkbit):
    for key, value in SUITE.items():
        hawkbit.config(key, value)
    hawkbit.target(securityToken="ieHai3du7gee7aPhojeth4ong")
    hawkbit.device().identify(product="Terminator", model="T-1000", mac_address="ff:ff:ff:ff:ff:ff")
    attributes = hawkbit.call("GET", "targets/device-1/attributes")
    assert attributes == {"product": "Terminator", "model": "T-1000", "mac_address": "ff:ff:ff:ff:ff:ff"}


def test_a_wrong_token_is_refused(hawkbit):
    hawkbit.target()
    hawkbit.device("TargetToken wrong-auth-token").poll(expect=401)
    hawkbit.device("GatewayToken wrong-gateway-token").poll(expect=401)


@pytest.mark.parametrize("before", [True, False], ids=["known target", "new target"])
def test_the_gateway_token_lets_targets_in(hawkbit, before):
    hawkbit.config("authentication.gatewaytoken.enabled", True)
    hawkbit.config("authentication.gatewaytoken.key", SUITE["authentication.gatewaytoken.key"])
    if before:
        hawkbit.target()
    hawkbit.ids["target"] = "device-1"
    hawkbit.device(f"GatewayToken {SUITE['authentication.gatewaytoken.key']}").poll()
    assert hawkbit.call("GET", "targets/device-1")["controllerId"] == "device-1"


def test_an_artifact_is_installed(hawkbit):
    content = b"bundle" * 999
    action = hawkbit.assigned()
    device = hawkbit.device()
    deployment = device.get(device.poll()["deploymentBase"]).json()
    assert deployment["id"] == str(action)
    assert deployment["deployment"]["update"] == deployment["deployment"]["download"] == "forced"
    [chunk] = deployment["deployment"]["chunks"]
    [artifact] = chunk["artifacts"]
    assert artifact["hashes"]["sha1"] == hashlib.sha1(content).hexdigest()
    assert device.get(artifact["_links"]["download-http"]["href"]).content == content
    assert device.say(action, "proceeding", "Downloading") == 200
    assert device.say(action, "closed", "Software bundle installed successfully.", finished="success") == 200
    assert "deploymentBase" not in device.poll()
    newest = hawkbit.statuses()[0]
    assert (newest["type"], newest["messages"]) == ("finished", ["Software bundle installed successfully."])
    assert hawkbit.action()["status"] == "finished"
    assert hawkbit.action()["detailStatus"] == "finished"
    assert hawkbit.call("GET", "targets/device-1")["updateStatus"] == "in_sync"


def test_an_installation_fails(hawkbit):
    action = hawkbit.assigned()
    device = hawkbit.device()
    device.get(device.poll()["deploymentBase"])
    device.say(action, "closed", "Failed to install software bundle.", finished="failure")
    newest = hawkbit.statuses()[0]
    assert (newest["type"], newest["messages"]) == ("error", ["Failed to install software bundle."])
    assert hawkbit.call("GET", "targets/device-1")["updateStatus"] == "error"


def test_a_download_is_resumed(hawkbit):
    hawkbit.assigned()
    device = hawkbit.device()
    chunk = device.get(device.poll()["deploymentBase"]).json()["deployment"]["chunks"][0]
    rest = device.get(chunk["artifacts"][0]["_links"]["download"]["href"], headers={"Range": "bytes=1000-"})
    assert (rest.status_code, rest.content) == (206, (b"bundle" * 999)[1000:])


def test_a_download_only_says_so_and_is_reported_as_downloaded(hawkbit):
    action = hawkbit.assigned(type="downloadonly")
    device = hawkbit.device()
    assert device.get(device.poll()["deploymentBase"]).json()["deployment"]["update"] == "skip"
    device.say(action, "proceeding", "Downloading")
    device.say(action, "downloaded", "Download complete.", "File checksum OK.")
    newest = hawkbit.statuses()[0]
    assert newest["type"] == "downloaded"
    assert "File checksum OK." in newest["messages"]
    assert hawkbit.action()["forceType"] == "downloadonly"


@pytest.mark.parametrize(("way", "has_it"), [("forced", True), ("soft", True), ("downloadonly", False)])
def test_what_was_installed_by_hand_is_what_the_camera_is_returned_to(hawkbit, services, way, has_it):
    action = hawkbit.assigned(type=way)
    hawkbit.device().say(action, "closed", finished="success")
    with services.sessions() as session:
        camera = session.scalars(select(Camera)).one()
        package = session.get_one(Action, action).package_id if has_it else None
    assert (camera.current_package_id, camera.last_good_package_id) == (package, package)


def test_a_soft_assignment_leaves_it_to_the_device(hawkbit):
    hawkbit.assigned(type="soft")
    device = hawkbit.device()
    assert device.get(device.poll()["deploymentBase"]).json()["deployment"]["update"] == "attempt"


def test_a_cancellation_before_the_first_poll_reaches_the_device(hawkbit):
    action = hawkbit.assigned()
    hawkbit.cancel()
    assert (hawkbit.action()["type"], hawkbit.action()["detailStatus"]) == ("cancel", "canceling")
    device = hawkbit.device()
    links = device.poll()
    assert "deploymentBase" not in links
    assert device.get(links["cancelAction"]).json()["cancelAction"]["stopId"] == str(action)
    assert device.say(action, "closed", "Action canceled.", finished="success", base="cancelAction") == 200
    assert (hawkbit.action()["type"], hawkbit.action()["status"]) == ("cancel", "finished")
    newest = hawkbit.statuses()[0]
    assert (newest["type"], newest["messages"]) == ("canceled", ["Action canceled."])


def test_a_device_that_was_faster_than_the_cancellation_has_installed(hawkbit):
    action = hawkbit.assigned()
    device = hawkbit.device()
    device.get(device.poll()["deploymentBase"])
    device.say(action, "proceeding", "Installing")
    hawkbit.cancel()
    device.say(action, "closed", "Software bundle installed successfully.", finished="success")
    assert (hawkbit.action()["type"], hawkbit.action()["status"]) == ("update", "finished")
    assert hawkbit.statuses()[0]["type"] == "finished"


def test_a_device_that_does_not_answer_is_given_up_by_force(hawkbit):
    hawkbit.assigned()
    refusal = hawkbit.cancel(force=True, expect=409)
    assert refusal["type"] == "/problems/not-cancelled-yet"
    hawkbit.cancel()
    hawkbit.cancel(force=True)
    assert hawkbit.action()["detailStatus"] == "canceled"
    assert "cancelAction" not in hawkbit.device().poll()
    assert hawkbit.cancel(expect=409)["type"] == "/problems/action-not-open"


@pytest.mark.parametrize(("modules", "artifacts"), [(2, 1), (1, 2)])
def test_several_chunks_and_artifacts_are_offered_and_refused_by_the_device(hawkbit, modules, artifacts):
    hawkbit.target()
    made = []
    for module in range(modules):
        made.append(hawkbit.module(f"module {module}", "application" if modules > 1 else "os"))
        for number in range(artifacts):
            hawkbit.artifact(name=f"bundle_{number}")
    hawkbit.set(*made, type="app" if modules > 1 else "os")
    action, device = hawkbit.assign(), hawkbit.device()
    chunks = device.get(device.poll()["deploymentBase"]).json()["deployment"]["chunks"]
    assert [len(chunk["artifacts"]) for chunk in chunks] == [artifacts] * modules
    assert [chunk["part"] for chunk in chunks] == [f"module {module}" for module in range(modules)]
    device.say(action, "closed", f"Deployment {action} unsupported: cannot handle multiple chunks.", finished="failure")
    assert hawkbit.statuses()[0]["type"] == "error"


def test_what_the_suite_has_made_it_can_delete(hawkbit):
    hawkbit.assigned()
    artifact = hawkbit.call("GET", f"softwaremodules/{hawkbit.ids['module']}/artifacts")["content"][0]["id"]
    assert hawkbit.call("DELETE", f"distributionsets/{hawkbit.ids['set']}", 409)["type"] == "/problems/set-in-use"
    hawkbit.cancel()
    hawkbit.cancel(force=True)
    hawkbit.call("DELETE", f"distributionsets/{hawkbit.ids['set']}", 204)
    hawkbit.call("DELETE", f"softwaremodules/{hawkbit.ids['module']}/artifacts/{artifact}", 204)
    for _ in range(2):  # the suite deletes a module once for each of its artifacts
        hawkbit.call("DELETE", f"softwaremodules/{hawkbit.ids['module']}", 204)
    hawkbit.call("DELETE", "targets/device-1", 204)
    for path in (f"distributionsets/{hawkbit.ids['set']}", f"softwaremodules/{hawkbit.ids['module']}", "targets/device-1"):
        hawkbit.call("GET", path, 404)


def test_a_new_assignment_takes_the_place_of_the_older_one(hawkbit):
    older = hawkbit.assigned()
    device = hawkbit.device()
    device.get(device.poll()["deploymentBase"])
    newer = hawkbit.assign(hawkbit.set(version="1.1"))
    assert f"/deploymentBase/{newer}?" in device.poll()["deploymentBase"]
    assert device.say(older, "closed", "late", finished="success") == 410
    assert (hawkbit.action(older)["status"], hawkbit.action(older)["detailStatus"]) == ("finished", "canceled")
    listed = hawkbit.call("GET", "targets/device-1/actions", params={"sort": "id:DESC"})
    assert [each["id"] for each in listed["content"]] == [newer, older]


def test_what_a_target_has_or_is_at_is_not_assigned_again(hawkbit):
    action = hawkbit.assigned()
    path, body = f"distributionsets/{hawkbit.ids['set']}/assignedTargets", [{"id": "device-1"}]
    again = hawkbit.call("POST", path, json=body)
    assert (again["assigned"], again["alreadyAssigned"], again["assignedActions"]) == (0, 1, [])
    hawkbit.device().say(action, "closed", finished="success")
    assert hawkbit.call("POST", path, json=body)["alreadyAssigned"] == 1


def test_the_polling_time_is_what_devices_are_told(hawkbit, services):
    hawkbit.target()
    assert hawkbit.device().sleep() == "00:05:00"
    hawkbit.config("pollingTime", "00:00:30")
    look_at_epochs(services)
    assert hawkbit.device().sleep() == "00:00:30"
    hawkbit.call("DELETE", "system/configs/pollingTime", 204)
    look_at_epochs(services)
    assert hawkbit.device().sleep() == "00:05:00"


def test_a_report_and_an_assignment_at_once_do_not_wait_for_each_other(hawkbit, monkeypatch):
    action, device = hawkbit.assigned(), hawkbit.device()
    other = hawkbit.set(name="another")
    locked = targets.find_locked

    with ThreadPoolExecutor(1) as elsewhere:
        reports = []

        def locked_and_reported(*args):
            camera = locked(*args)
            reports.append(elsewhere.submit(device.say, action, "closed", finished="success"))
            time.sleep(0.5)  # so that the report has come as far as it comes
            return camera

        monkeypatch.setattr(targets, "find_locked", locked_and_reported)
        assert hawkbit.assign(other) > action
    assert reports[0].result() == 410
