"""Deployments on fleets: one rollout per generation, whatever gets lost between the two services."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.inference.deployments import converge, fleet, follow, repository
from services.inference.deployments.domain import Plan
from services.inference.deployments.models import DeploymentRollout
from services.inference.deployments.rollout_reader import RolloutReader
from services.inference.runtime import Services
from services.inference.settings import InferenceSettings
from shared.client.connecting import ClientFactory
from shared.contracts.deployments import CpuTarget
from shared.contracts.rollouts import ActionState, RolloutOut, RolloutState
from tests.services.inference.deployments.fleet_service import FleetService, problem

Json = dict[str, Any]


@pytest.fixture
def fleet_service() -> FleetService:
    return FleetService()


@pytest.fixture
def settings(settings: InferenceSettings, fleet_service: FleetService, serve: Callable[[FastAPI], Any]) -> InferenceSettings:
    return settings.model_copy(update={"fleet_url": serve(fleet_service.app()).url})


@pytest.fixture
def mlflow_url() -> str:
    return "http://127.0.0.1:9"


@dataclass(frozen=True)
class Fleets:
    """What users do with deployments on fleets, and the loop that carries it out."""

    http: httpx.Client
    headers: dict[str, str]
    services: Services

    def put(self, package: str = "picosam2/1", *, name: str = "gate", **spec: Any) -> httpx.Response:
        body = {"target": "fleet:berlin", "package": package} | spec
        return self.http.put(f"/v1/deployments/{name}", json=body, headers=self.headers)

    def roll_out(self, *packages: str) -> None:
        for package in packages:
            self.put(package).raise_for_status()
            self.tick()

    def tick(self) -> None:
        """One tick, without the pause after a failure."""
        for name in [*self.services.convergence._failures]:
            self.services.convergence.forget(name)
        fleet.tick(self.services)

    def read(self, name: str = "gate") -> Json:
        found: Json = self.http.get(f"/v1/deployments/{name}", headers=self.headers).raise_for_status().json()
        return found

    def rollback(self, **body: Any) -> httpx.Response:
        return self.http.post("/v1/deployments/gate/rollback", json=body, headers=self.headers)

    def delete(self) -> None:
        self.http.delete("/v1/deployments/gate", headers=self.headers).raise_for_status()

    def rows(self) -> int:
        with self.services.sessions.begin() as session:
            return session.query(DeploymentRollout).count()


@pytest.fixture
def fleets(client: httpx.Client, operator: dict[str, str], services: Services) -> Iterator[Fleets]:
    return Fleets(client, operator, services)


def test_a_generation_becomes_a_rollout_of_its_package(fleets: Fleets, fleet_service: FleetService) -> None:
    made = fleets.put("picosam2/1", phases=[{"count": 5}, {"percent": 100}], on_failure="pause", priority=80)
    assert (made.status_code, made.json()["generation"], made.json()["versions"]) == (201, 1, [])
    assert made.json()["rollout"]["id"] is None
    fleets.tick()
    (rollout,) = fleet_service.rollouts.values()
    assert (rollout.state, rollout.package, rollout.spec.group) == ("running", "picosam2/1", "berlin")
    assert (rollout.spec.on_failure, rollout.spec.priority, rollout.spec.phases[0].count) == ("pause", 80, 5)
    assert fleet_service.imported == ["picosam2/1"]
    shown = fleets.read()
    assert (shown["rollout"]["id"], shown["rollout"]["state"], shown["ready"]) == (rollout.id, "running", False)


def test_it_is_ready_when_its_rollout_is_finished(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1")
    (rollout_id,) = fleet_service.rollouts
    counts = {ActionState.RUNNING: 48, ActionState.EXPIRED: 2}
    fleet_service.move(rollout_id, RolloutState.FINISHED, cameras=50, counts=counts)
    shown = fleets.read()
    assert (shown["ready"], shown["rollout"]["cameras"], shown["rollout"]["counts"]["running"]) == (True, 50, 48)
    assert [phase["number"] for phase in shown["rollout"]["phases"]] == [1, 2, 3]


def test_what_is_told_is_told_once(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1")
    asked = len(fleet_service.asked)
    fleets.tick()
    assert fleets.put("picosam2/1").json()["generation"] == 1
    fleets.tick()
    assert not [what for what in fleet_service.asked[asked:] if not what.startswith("GET")]


def test_both_kinds_stand_in_one_list(fleets: Fleets, fleet_service: FleetService, deployed: Any) -> None:
    fleets.roll_out("picosam2/1")
    fleets.put("picosam2/2", name="yard")
    fleet_service.move(next(iter(fleet_service.rollouts)), RolloutState.PAUSED, reason="too many failed")
    found = fleets.http.get("/v1/deployments", headers=fleets.headers).json()["items"]
    assert [(each["name"], each["rollout"]["state"]) for each in found] == [("yard", None), ("gate", "paused")]
    assert found[1]["rollout"]["reason"] == "too many failed"


def test_a_fleet_does_not_disturb_what_answers_requests(fleets: Fleets, services: Services, deployed: Any) -> None:
    fleets.roll_out("picosam2/1")
    converge.tick(services)
    follow.tick(services)
    assert services.table.failing() == {}
    assert services.convergence.statuses == {}
    answer = fleets.http.post(
        "/v1/segment", headers=fleets.headers, json={"deployment": "gate", "image": "", "prompts": [{"point": [1, 1]}]}
    )
    assert answer.status_code in {404, 422}
    assert fleets.http.get("/readyz").status_code == 200


def test_a_newer_generation_stops_the_older_ones_rollout_first(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1", "picosam2/2")
    assert fleet_service.states() == {"picosam2/1 0": "aborted", "picosam2/2 1": "running"}
    asked = [what for what in fleet_service.asked if not what.startswith("GET")]
    assert (
        next(n for n, what in enumerate(asked) if what.endswith("/abort"))
        < [n for n, what in enumerate(asked) if what == "POST rollouts"][-1]
    )
    fleet_service.move(list(fleet_service.rollouts)[1], RolloutState.FINISHED)
    fleets.roll_out("picosam2/3")
    assert list(fleet_service.states().values()) == ["aborted", "finished", "running"], "what is over stays as it is"


def test_going_back_to_the_generation_before_is_a_return(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1", "picosam2/2")
    went = fleets.rollback()
    assert (went.status_code, went.json()["generation"], went.json()["spec"]["package"]) == (200, 3, "picosam2/1")
    fleets.tick()
    assert fleet_service.states() == {"picosam2/1 0": "aborted", "picosam2/2 1": "rolling_back"}
    second = list(fleet_service.rollouts)[1]
    shown = fleets.read()
    assert (shown["rollout"]["id"], shown["rollout"]["returns"], shown["ready"]) == (second, True, False)
    fleet_service.move(second, RolloutState.ROLLED_BACK)
    assert fleets.read()["ready"] is True


def test_a_return_that_is_superseded_goes_on_and_the_next_is_a_rollout(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1", "picosam2/2", "picosam2/1", "picosam2/2")
    assert fleet_service.states() == {"picosam2/1 0": "aborted", "picosam2/2 1": "rolling_back", "picosam2/2 2": "running"}


def test_a_return_that_was_never_begun_leaves_no_rollout_running(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1", "picosam2/2")
    fleet_service.before = lambda what: problem(503, "not now") if what.endswith("rollback") else None
    fleets.roll_out("picosam2/1", "picosam2/3")
    assert list(fleet_service.states().values()) == ["aborted", "aborted", "running"]


def test_going_back_further_is_a_rollout_of_the_older_package(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1", "picosam2/2", "picosam2/3")
    fleets.rollback(generation=1)
    fleets.tick()
    assert fleet_service.states() | {} == {
        "picosam2/1 0": "aborted",
        "picosam2/2 1": "aborted",
        "picosam2/3 2": "aborted",
        "picosam2/1 3": "running",
    }


def test_another_group_is_not_returned_for_this_one(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1")
    fleets.put("picosam2/2", target="fleet:hamburg")
    fleets.tick()
    fleets.roll_out("picosam2/1")
    assert list(fleet_service.states().values()) == ["aborted", "aborted", "running"]


def test_deleting_it_stops_the_rollout_and_leaves_nothing_behind(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1", "picosam2/2")
    fleets.delete()
    assert fleets.put("picosam2/3").status_code == 201, "the name is free at once"
    fleets.tick()
    assert list(fleet_service.states().values()) == ["aborted", "aborted", "running"]
    assert fleets.rows() == 1


def test_a_deleted_deployment_is_stopped_when_the_fleet_service_is_back(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1")
    fleets.delete()
    fleet_service.before = lambda _: problem(503, "away")
    fleets.tick()
    assert fleets.rows() == 1
    fleet_service.before = lambda _: None
    fleets.tick()
    assert (fleet_service.states(), fleets.rows()) == ({"picosam2/1 0": "aborted"}, 0)


@pytest.mark.parametrize("lost", ["POST packages", "POST rollouts", "start", "abort"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_got_lost_on_the_way_is_repeated_and_makes_one_rollout(
    fleets: Fleets, fleet_service: FleetService, lost: str, when: str
) -> None:
    fleets.roll_out("picosam2/1")
    setattr(fleet_service, when, lambda what: problem(502, "broken off") if what.endswith(lost) else None)
    fleets.roll_out("picosam2/2")
    assert "broken off" in fleets.read()["rollout"]["error"]
    setattr(fleet_service, when, lambda _: None)
    fleets.tick()
    assert fleet_service.states() == {"picosam2/1 0": "aborted", "picosam2/2 1": "running"}
    shown = fleets.read()["rollout"]
    assert (shown["begun"], shown["error"], shown["state"]) == (True, None, "running")


def test_a_rollout_whose_id_was_never_told_is_cleared_away(fleets: Fleets, fleet_service: FleetService) -> None:
    fleet_service.after = lambda what: problem(502, "broken off") if what == "POST rollouts" else None
    fleets.roll_out("picosam2/1")
    assert fleet_service.states() == {"picosam2/1 0": "draft"}
    fleet_service.after = lambda _: None
    fleets.roll_out("picosam2/2")
    assert fleet_service.states() == {"picosam2/2 0": "running"}


def test_several_replicas_make_one_rollout(fleets: Fleets, fleet_service: FleetService, services: Services) -> None:
    fleets.put("picosam2/1")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fleet.tick(services), range(8)))
    fleets.tick()
    assert fleet_service.states() == {"picosam2/1 0": "running"}
    assert fleets.read()["rollout"]["error"] is None


@pytest.mark.parametrize("spec", [{"package": "picosam2/9"}, {"target": "fleet:nowhere"}])
def test_what_the_fleet_service_refuses_is_shown_and_tried_again_less_and_less_often(
    fleets: Fleets, fleet_service: FleetService, services: Services, spec: Json
) -> None:
    fleets.put(**spec)
    for _ in range(5):
        fleet.tick(services)
    shown = fleets.read()
    assert ("no package" if "package" in spec else "no group") in shown["rollout"]["error"]
    assert shown["ready"] is False
    assert fleet_service.asked.count("POST packages") == 1, "a pause comes first"
    fleets.put("picosam2/1")
    fleets.tick()
    assert list(fleet_service.states().values()) == ["running"]


def test_an_absent_fleet_service_is_no_error_of_ours(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1")
    fleet_service.before = lambda _: problem(503, "gone for a minute")
    shown = fleets.read()
    assert (shown["ready"], shown["rollout"]["state"]) == (False, None)
    assert "gone for a minute" in shown["rollout"]["reason"]
    assert fleets.http.get("/v1/deployments", headers=fleets.headers).status_code == 200
    fleet_service.before = lambda _: None
    fleet_service.rollouts.clear()
    assert "no such rollout" in fleets.read()["rollout"]["reason"]


def test_a_key_that_was_exchanged_is_used_at_once(
    fleets: Fleets, fleet_service: FleetService, services: Services, tmp_path: Path
) -> None:
    fleets.roll_out("picosam2/1")
    (rollout_id,) = fleet_service.rollouts
    (tmp_path / "key").write_text("first")
    reader = RolloutReader(ClientFactory(services.settings.fleet_url, key=None, key_file=tmp_path / "key"))
    for key in ("first", "second"):
        (tmp_path / "key").write_text(key)
        assert isinstance(reader.read([rollout_id])[rollout_id], RolloutOut)
        assert fleet_service.authorization == f"Bearer {key}"
    (tmp_path / "key").unlink()
    assert "cannot be asked" in str(reader.read([rollout_id])[rollout_id]), "a lost key is no error 500"
    reader.close()


def test_a_deployment_stays_of_its_kind(fleets: Fleets, fleet_service: FleetService) -> None:
    fleets.roll_out("picosam2/1")
    on_cpus = Plan(spec=CpuTarget.model_validate({"versions": [{"model": "picosam2/1"}]}), versions=(), shadow=None)
    with fleets.services.sessions.begin() as session:
        repository.create(session, "default", on_cpus, by="ada", reason="put")
    refused = fleets.put("picosam2/1", name="default")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/other-target")
    assert "is on CPUs, not on a fleet" in refused.json()["detail"]
    unloaded = fleets.http.post("/v2/repository/models/gate/unload", headers=fleets.headers)
    assert (unloaded.status_code, list(fleet_service.states().values())) == (404, ["running"])
    loaded = fleets.http.post("/v2/repository/models/gate/load", headers=fleets.headers)
    assert loaded.status_code == 409
    assert "cameras run it" in loaded.json()["error"]


@pytest.mark.parametrize("change", [{"target": "fleet:"}, {"package": "picosam2"}, {"versions": [{"model": "picosam2/1"}]}])
def test_specifications_that_make_no_sense_are_refused(fleets: Fleets, change: Json) -> None:
    answer = fleets.put(**change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == f"body.fleet.{next(iter(change))}"


def test_revisions_name_their_packages(fleets: Fleets) -> None:
    fleets.roll_out("picosam2/1", "picosam2/2")
    found = fleets.http.get("/v1/deployments/gate/revisions", headers=fleets.headers).json()["items"]
    assert [(each["generation"], each["spec"]["package"]) for each in found] == [(2, "picosam2/2"), (1, "picosam2/1")]


def test_waiting_ends_when_the_rollout_has_begun_or_cannot(fleets: Fleets) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            lambda: fleets.http.put(
                "/v1/deployments/gate",
                params={"wait_s": 30},
                json={"target": "fleet:berlin", "package": "picosam2/1"},
                headers=fleets.headers,
            )
        )
        while not waiting.done():
            fleet.tick(fleets.services)
        assert waiting.result().json()["rollout"]["state"] == "running"
