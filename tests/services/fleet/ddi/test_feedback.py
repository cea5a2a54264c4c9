"""What devices report, rightly and wrongly."""

import threading
from typing import Any

import pytest

from services.fleet.actions.models import ActionHistory
from services.fleet.actions.moves import move
from services.fleet.ddi.feedback import MOST_ROWS
from services.fleet.runtime import Services
from shared.contracts.rollouts import ActionKind, ActionState
from tests.services.fleet.ddi.conftest import Device, World


@pytest.fixture
def action(device: Device, world: World) -> int:
    """An action that the device has read."""
    made = world.action(device, world.package())
    device.ask("GET", f"/deploymentBase/{made}")
    return made


def test_an_installation_is_followed_step_by_step(device: Device, world: World, action: int) -> None:
    steps = [
        ("download", [], "downloading"),
        ("downloaded", [], "verifying"),
        ("proceeding", ["picofleet.state=verifying"], "verifying"),
        ("proceeding", ["unpacking", "picofleet.state=installing"], "installing"),
        ("scheduled", [], "installing"),
        ("proceeding", ["picofleet.state=self_testing"], "self_testing"),
        ("resumed", [], "self_testing"),
    ]
    for execution, details, state in steps:
        assert device.report(action, execution, details=details).status_code == 200
        assert world.state(action) == state
    assert device.report(action, "closed", "success", details=["all good"]).status_code == 200
    states = [row.state for row in world.history(action)]
    assert list(dict.fromkeys(states)) == ["offered", "downloading", "verifying", "installing", "self_testing", "running"]
    assert world.camera(device).current_package_id is not None


@pytest.mark.parametrize(
    ("execution", "finished", "state"),
    [
        ("closed", "success", "running"),
        ("closed", "none", "running"),
        ("closed", "failure", "failed"),
        ("rejected", "none", "failed"),
        ("canceled", "success", "failed"),
    ],
)
def test_how_it_ends(device: Device, world: World, action: int, execution: str, finished: str, state: str) -> None:
    for _ in range(3):
        assert device.report(action, execution, finished, details=["that is it"]).status_code == 200
        assert world.state(action) == state
    assert [row.state for row in world.history(action)] == ["offered", state]
    assert "deploymentBase" not in device.links()


def test_who_was_asked_to_stop_and_does_has_not_failed(device: Device, world: World, action: int) -> None:
    world.cancel(action)
    for _ in range(2):
        assert device.report(action, "canceled", "success").status_code == 200
    assert world.state(action) == "cancelled"


def test_reports_out_of_order_never_go_back(device: Device, world: World, action: int) -> None:
    device.report(action, "proceeding", details=["picofleet.state=self_testing"])
    for execution in ("download", "downloaded", "proceeding", "scheduled"):
        assert device.report(action, execution).status_code == 200
    assert world.state(action) == "self_testing"


def test_the_same_report_twice_is_one(device: Device, world: World, action: int) -> None:
    for _ in range(3):
        assert device.report(action, "proceeding", details=["writing"]).status_code == 200
    assert [row.message for row in world.history(action)] == ["", "writing"]


@pytest.mark.parametrize("end", ["cancelled", "expired", "superseded", "failed"])
def test_a_success_that_comes_too_late_is_noted_only(
    device: Device, world: World, action: int, end: str, services: Services
) -> None:
    with services.sessions.begin() as session:
        move(session, action, ActionState(end))
    answer = device.report(action, "closed", "success", details=["done after all"])
    assert (answer.status_code, answer.json()["type"], answer.json()["state"]) == (410, "/problems/action-gone", end)
    assert world.state(action) == end
    assert world.history(action)[-1].message == "done after all"
    assert world.camera(device).current_package_id is None


def test_a_failure_after_the_success_changes_nothing(device: Device, world: World, action: int) -> None:
    device.report(action, "closed", "success")
    assert device.report(action, "closed", "failure").status_code == 410
    assert device.report(action, "proceeding").status_code == 410
    assert world.state(action) == "running"


def test_what_a_camera_runs_after_a_failure(device: Device, world: World, action: int) -> None:
    older = world.package("7")
    details = ["self-test failed", "picofleet.package=line/7"]
    assert device.report(action, "closed", "failure", details=details).status_code == 200
    assert world.camera(device).current_package_id == older
    assert world.history(action)[-1].message == "self-test failed"


def test_a_package_that_nobody_knows_is_not_believed(device: Device, world: World) -> None:
    package = world.package()
    for told in ("line/99", "none/", "", "/", "x" * 600):
        action = world.action(device, package)
        assert device.report(action, "closed", "failure", details=[f"picofleet.package={told}"]).status_code == 200
        assert world.camera(device).current_package_id is None
        assert world.state(action) == "failed"


def test_a_restore_takes_its_action_back(device: Device, world: World, action: int, services: Services) -> None:
    good = world.package("5")
    device.report(action, "closed", "failure")
    with services.sessions.begin() as session:
        move(session, action, ActionState.RESTORING)
    restore = world.action(device, good, kind=ActionKind.RESTORE, restores_id=action)
    assert device.report(restore, "closed", "success").status_code == 200
    assert (world.state(restore), world.state(action)) == ("running", "restored")
    assert world.camera(device).current_package_id == good


def test_history_has_an_end(device: Device, world: World, action: int, services: Services) -> None:
    with services.sessions.begin() as session:
        rows = [ActionHistory(action_id=action, state="installing", message=str(n), detail={}) for n in range(MOST_ROWS)]
        session.add_all(rows)
        move(session, action, ActionState.INSTALLING)
    before = len(world.history(action))
    assert device.report(action, "proceeding", details=["one more"]).status_code == 200
    assert len(world.history(action)) == before
    assert device.report(action, "closed", "success").status_code == 200
    assert world.state(action) == "running"


def test_long_reports_are_cut(device: Device, world: World, action: int) -> None:
    details = ["x" * 5_000] * 100
    assert device.report(action, "proceeding", details=details, code=2**70, progress={}).status_code == 200
    detail = world.history(action)[-1].detail
    assert (len(detail["lines"]), len(detail["lines"][0])) == (50, 512)
    assert "code" not in detail


NOT_UNDERSTOOD = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"not json",
    b'{"status": 7}',
    b'{"status": {"execution": "exploded", "result": {"finished": "success"}}}',
    b'{"status": {"execution": "closed"}}',
    b'{"status": {"execution": "closed", "result": {}}}',
    b'{"status": {"execution": "closed", "result": {"finished": "maybe"}}}',
    b'{"status": {"execution": 1.5, "result": {"finished": "success"}}}',
    b'{"status": {"execution": "closed", "result": {"finished": "success"}, "details": ["\\u0000"]}}',
    b'{"status": {"execution": "closed", "result": {"finished": "success"}, "code": NaN}}',
    b"[" * 2000,
    b'{"status": {"execution": "clo',
]


def test_reports_that_cannot_be_understood(device: Device, world: World, action: int) -> None:
    for body in NOT_UNDERSTOOD:
        for content_type in ("application/json", "text/plain"):
            headers = {"Content-Type": content_type}
            answer = device.ask("POST", f"/deploymentBase/{action}/feedback", content=body, headers=headers)
            assert answer.status_code in {400, 422}, body
            assert answer.headers["content-type"] == "application/problem+json"
    assert world.state(action) == "offered"


def test_stock_clients_old_and_new_are_understood(device: Device, world: World, action: int) -> None:
    for body in (
        {"id": action, "time": "20140511T121314", "status": {"execution": "download", "result": {"finished": "none"}}},
        {"timestamp": 1.5, "id": 3.5, "status": {"execution": "proceeding", "result": {"finished": "none", "progress": None}}},
        {
            "status": {
                "execution": "proceeding",
                "result": {"finished": "none", "progress": {"cnt": 1, "of": 2}},
                "details": "one",
            }
        },
        {"status": {"execution": "proceeding", "details": [1, None, "two"]}, "more": {"of": ["later", "versions"]}},
    ):
        assert device.ask("POST", f"/deploymentBase/{action}/feedback", json=body).status_code == 200
    assert [row.message for row in world.history(action)] == ["", "", "", "one", "two"]
    assert world.history(action)[3].detail["progress"] == {"cnt": 1, "of": 2}


def test_of_two_ends_at_the_same_time_one_counts(device: Device, world: World, action: int) -> None:
    answers: list[Any] = []

    def end(finished: str) -> None:
        answers.append(device.report(action, "closed", finished).status_code)

    threads = [threading.Thread(target=end, args=(finished,)) for finished in ("success", "failure") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = world.state(action)
    assert state in {"running", "failed"}
    assert sorted(answers) == [200, 200, 200, 410, 410, 410]
    assert [row.state for row in world.history(action)].count(state) >= 1
