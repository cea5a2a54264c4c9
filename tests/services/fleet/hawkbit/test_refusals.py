"""What hawkBit's API refuses, and that nothing of it is left."""

import httpx
import pytest

from services.fleet.hawkbit.software.upload import BadUpload
from shared.contracts.keys import Scope
from tests.conftest import wait_for
from tests.services.fleet.packages.conftest import Packages

MEMBERS = {"exceptionClass", "errorCode", "message", "type", "title", "status", "detail"}


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"max_package_bytes": 3 << 20})


@pytest.fixture
def blobs(services, tmp_path):
    """What is in the store, uploads that were left too."""

    def look():
        return sorted(path.name for path in (tmp_path / "fleet-blobs").rglob("*") if path.is_file())

    return look


class TestCallers:
    def test_a_bearer_key_is_as_good_as_a_password(self, client, operator):
        assert client.get("/rest/v1/targets", headers=operator).status_code == 200

    def test_others_are_asked_for_a_key(self, client):
        for auth in (None, ("admin", "admin"), ("admin", "pf_" + "x" * 43)):
            answer = client.get("/rest/v1/targets", auth=auth)
            assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
            assert answer.json().keys() >= MEMBERS

    def test_viewers_read_and_do_not_write(self, client, viewer):
        assert client.get("/rest/v1/system/configs", headers=viewer).status_code == 200
        for method, path in [("POST", "targets"), ("DELETE", "targets/x"), ("PUT", "system/configs/pollingTime")]:
            body = {"value": "00:01:00"} if method == "PUT" else [{"controllerId": "x"}]
            answer = client.request(method, f"/rest/v1/{path}", headers=viewer, json=body)
            assert answer.status_code == 403, path

    def test_workers_do_neither(self, client, key_for):
        assert client.get("/rest/v1/targets", headers=key_for(Scope.WORKER)).status_code == 403


def test_problems_have_what_hawkbits_clients_read(hawkbit):
    problem = hawkbit.call("GET", "targets/nobody", 404)
    assert problem["errorCode"] == "hawkbit.server.error.repo.entitiyNotFound"
    assert (problem["exceptionClass"], problem["message"]) == ("TargetNotFound", problem["detail"])


WRONG_BODIES = [
    ("targets", []),
    ("targets", {"controllerId": "x"}),
    ("targets", [{"controllerId": "x", "evil": 1}]),
    ("targets", [{"controllerId": ""}]),
    ("targets", [{"controllerId": "x\ny"}]),
    ("targets", [{"controllerId": "x" * 129}]),
    ("targets", [{"controllerId": "x", "securityToken": "short"}]),
    ("targets", [{"controllerId": "x", "securityToken": "with a blank in it"}]),
    ("targets", [{"controllerId": "x", "name": "y" * 129}]),
    ("targets", [{"controllerId": f"x{n}"} for n in range(201)]),
    ("softwaremodules", [{"name": "m", "version": "1", "type": "none"}]),
    ("softwaremodules", [{"name": "m", "version": "", "type": "os"}]),
    ("softwaremodules", [{"name": " m", "version": "1", "type": "os"}]),
    ("softwaremodules", [{"name": 7, "version": "1", "type": "os"}]),
    ("distributionsets", [{"name": "d", "version": "1", "type": "os", "modules": []}]),
    ("distributionsets", [{"name": "d", "version": "1", "type": "os", "modules": [{"id": 4711}]}]),
    ("distributionsets", [{"name": "d", "version": "1", "type": "os", "modules": [{"id": -1}]}]),
    ("distributionsets", [{"name": "d", "version": "1", "type": "x", "modules": [{"id": 1}]}]),
    (
        "distributionsets",
        [{"name": "d", "version": "1", "type": "os", "modules": [{"id": 1}], "requiredMigrationStep": True}],
    ),
]


def test_bodies_that_say_what_cannot_be_are_refused(hawkbit):
    for path, body in WRONG_BODIES:
        problem = hawkbit.call("POST", path, 422, json=body)
        assert problem["errors"], body
        assert problem.keys() >= MEMBERS
    for path in ("targets", "softwaremodules", "distributionsets"):
        assert hawkbit.call("GET", path)["total"] == 0


def test_pages_have_bounds_and_what_lists_cannot_do_is_said(hawkbit):
    for query in ("limit=0", "limit=501", "offset=-1", "limit=x", f"offset={2**63}"):
        hawkbit.call("GET", f"targets?{query}", 422)
    for query in ("q=updatestatus==error", "sort=name:ASC", "sort=id:UP"):
        assert hawkbit.call("GET", f"targets?{query}", 400)["type"] == "/problems/not-supported"


def test_targets_are_listed_in_pages_and_found_by_id(hawkbit):
    hawkbit.call("POST", "targets", 201, json=[{"controllerId": f"cam-{n}"} for n in range(5)])
    page = hawkbit.call("GET", "targets", params={"offset": 2, "limit": 2})
    assert (page["total"], page["size"], [each["controllerId"] for each in page["content"]]) == (5, 2, ["cam-2", "cam-3"])
    found = hawkbit.call("GET", "targets", params={"q": "controllerId==cam-4"})
    assert [each["controllerId"] for each in found["content"]] == ["cam-4"]
    assert hawkbit.call("GET", "targets", params={"q": "name==cam_4"})["total"] == 0


def test_any_controller_id_can_be_spoken_of(hawkbit):
    for name in ("a/actions/5", "a/attributes", "B\u00fcro \U0001f3a5", "100%"):
        made = hawkbit.target(name)
        assert hawkbit.http.get(made["_links"]["self"]["href"]).json()["controllerId"] == name
        assert hawkbit.http.get(made["_links"]["actions"]["href"]).json()["total"] == 0
        assert hawkbit.http.delete(made["_links"]["self"]["href"]).status_code == 204


def test_one_target_that_is_there_keeps_all_of_a_request_out(hawkbit):
    hawkbit.target("cam-1")
    problem = hawkbit.call("POST", "targets", 409, json=[{"controllerId": "cam-2"}, {"controllerId": "cam-1"}])
    assert problem["errorCode"] == "hawkbit.server.error.repo.entitiyAlreayExists"
    assert hawkbit.call("GET", "targets")["total"] == 1


def test_the_token_is_shown_once_and_can_be_changed(hawkbit):
    made = hawkbit.target()
    assert hawkbit.call("GET", "targets/device-1")["securityToken"] is None
    old = hawkbit.device()
    changed = hawkbit.call("PUT", "targets/device-1", json={"securityToken": "another-token-of-it", "name": "Front door"})
    assert (changed["name"], changed["securityToken"]) == ("Front door", None)
    old.poll(expect=401)
    hawkbit.device("TargetToken another-token-of-it").poll()
    assert made["securityToken"] != "another-token-of-it"


class TestSettings:
    def test_values_that_cannot_be_are_refused_with_those_that_can(self, hawkbit):
        wrong = {
            "authentication.targettoken.enabled": False,
            "anonymous.download.enabled": True,
            "authentication.gatewaytoken.enabled": "yes",
            "authentication.gatewaytoken.key": "short",
            "pollingTime": "00:00:01",
            "pollingOverdueTime": None,
        }
        for key, value in wrong.items():
            problem = hawkbit.call("PUT", f"system/configs/{key}", 422, json={"value": value}, auth=hawkbit.admin)
            assert problem["errors"][0]["hint"], key

    def test_the_gateway_token_is_not_shown_again(self, hawkbit):
        hawkbit.config("authentication.gatewaytoken.key", "a-secret-of-the-gateway")
        problem = hawkbit.call("GET", "system/configs/authentication.gatewaytoken.key", 403)
        assert problem["type"] == "/problems/config-not-readable"
        assert "authentication.gatewaytoken.key" not in hawkbit.call("GET", "system/configs")

    @pytest.mark.parametrize("key", ["authentication.gatewaytoken.enabled", "authentication.gatewaytoken.key"])
    def test_only_who_may_make_provisioning_tokens_sets_the_gateway_token(self, hawkbit, key):
        for method, asked in (("PUT", {"json": {"value": "a-secret-of-the-gateway"}}), ("DELETE", {})):
            problem = hawkbit.call(method, f"system/configs/{key}", 403, **asked)
            assert "needs admin" in problem["detail"]

    def test_settings_that_there_are_not_are_not_made(self, hawkbit):
        hawkbit.call("PUT", "system/configs/repository.actions.autoclose.enabled", 404, json={"value": True})

    def test_what_is_set_is_told_and_can_be_taken_back(self, hawkbit):
        assert hawkbit.call("GET", "system/configs/pollingTime") == {"value": "00:05:00", "global": True}
        hawkbit.call("PUT", "system/configs/pollingTime", json={"value": "00:01:00"})
        assert hawkbit.call("GET", "system/configs")["pollingTime"] == {"value": "00:01:00", "global": False}
        assert hawkbit.call("GET", "system/configs/pollingOverdueTime")["value"] == "00:03:00"
        hawkbit.call("DELETE", "system/configs/pollingTime", 204)
        assert hawkbit.call("GET", "system/configs/pollingTime")["global"] is True

    @pytest.mark.parametrize("off", [("PUT", {"json": {"value": False}}), ("DELETE", {})])
    def test_switched_off_the_gateway_token_lets_nobody_in(self, hawkbit, off):
        hawkbit.config("authentication.gatewaytoken.key", "a-secret-of-the-gateway")
        hawkbit.ids["target"] = "device-1"
        device = hawkbit.device("GatewayToken a-secret-of-the-gateway")
        device.poll(expect=401)
        hawkbit.config("authentication.gatewaytoken.enabled", True)
        device.poll()
        hawkbit.call(off[0], "system/configs/authentication.gatewaytoken.enabled", auth=hawkbit.admin, **off[1])
        device.poll(expect=401)

    def test_a_deleted_gateway_token_does_not_come_back(self, hawkbit):
        hawkbit.config("authentication.gatewaytoken.enabled", True)
        hawkbit.config("authentication.gatewaytoken.key", "a-secret-of-the-gateway")
        hawkbit.call("DELETE", "system/configs/authentication.gatewaytoken.key", 204, auth=hawkbit.admin)
        hawkbit.config("authentication.gatewaytoken.enabled", True)
        hawkbit.ids["target"] = "device-1"
        hawkbit.device("GatewayToken a-secret-of-the-gateway").poll(expect=401)


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'


WRONG_FORMS = [
    ({"Content-Type": "application/octet-stream"}, b"x"),
    ({"Content-Type": "multipart/form-data"}, b"x"),
    (FORM, b""),
    (FORM, b"no form"),
    (FORM, HEAD + b"cut"),
    (FORM, HEAD + b"one\r\n" + HEAD + b"two\r\n--b--\r\n"),
    (FORM, HEAD.replace(b'"file"', b'"image"') + b"one\r\n--b--\r\n"),
    (FORM, HEAD.replace(b'"x"', b'"../x"') + b"one\r\n--b--\r\n"),
    (FORM, HEAD.replace(b'"x"', b'""') + b"one\r\n--b--\r\n"),
    (FORM, HEAD.replace(b'"x"', b'"x\\"\x01"') + b"one\r\n--b--\r\n"),
    (FORM, b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\n\r\n--b--\r\n"),
    (FORM, b"--b--\r\n"),
]


class TestUploads:
    def test_what_is_no_form_with_one_file_is_refused_and_nothing_kept(self, hawkbit, blobs):
        module = hawkbit.module()
        for headers, body in WRONG_FORMS:
            problem = hawkbit.call("POST", f"softwaremodules/{module}/artifacts", 400, headers=headers, content=body)
            assert problem["title"] == BadUpload.title, body[:100]
        assert blobs() == []

    def test_announced_sums_must_be_those_of_the_content(self, hawkbit, blobs):
        hawkbit.module()
        for name in ("md5sum", "sha1sum", "sha256sum"):
            problem = hawkbit.artifact(expect=422, **{name: "0" * 32})
            assert problem["title"] == "Checksum differs from the content"
        assert blobs() == []

    def test_the_same_name_twice_is_refused_and_the_second_content_not_kept(self, hawkbit, blobs):
        hawkbit.module()
        hawkbit.artifact(b"first", "x")
        hawkbit.artifact(b"second", "x", expect=409)
        assert len(blobs()) == 1

    def test_too_much_is_refused_while_it_comes(self, hawkbit, settings, blobs):
        module = hawkbit.module()

        def body():
            yield HEAD
            for _ in range((settings.max_package_bytes >> 20) + 2):
                yield bytes(1 << 20)

        path = f"softwaremodules/{module}/artifacts"
        try:
            answer = hawkbit.http.post(path, headers=FORM, content=body())
            assert answer.status_code == 413
        except httpx.WriteError:
            pass  # the service has hung up
        assert blobs() == []

    def test_nobody_who_may_not_write_uploads(self, hawkbit, client, viewer, blobs):
        path = f"/rest/v1/softwaremodules/{hawkbit.module()}/artifacts"
        assert client.post(path, files={"file": ("x", b"x")}, headers=viewer).status_code == 403
        assert blobs() == []


class TestSets:
    def test_modules_of_one_name_cannot_be_told_apart_by_devices(self, hawkbit):
        both = [hawkbit.module("m", "application", version) for version in ("1", "2")]
        body = [{"name": "d", "version": "1", "type": "app", "modules": [{"id": module} for module in both]}]
        assert "two modules have one name" in hawkbit.call("POST", "distributionsets", 422, json=body)["detail"]

    def test_a_set_without_artifacts_is_not_assigned(self, hawkbit):
        hawkbit.target()
        hawkbit.module()
        path = f"distributionsets/{hawkbit.set()}/assignedTargets"
        assert hawkbit.call("POST", path, 409, json=[{"id": "device-1"}])["type"] == "/problems/set-incomplete"

    def test_an_assignment_is_whole_or_nothing(self, hawkbit):
        hawkbit.target()
        hawkbit.module()
        hawkbit.artifact()
        path = f"distributionsets/{hawkbit.set()}/assignedTargets"
        hawkbit.call("POST", path, 404, json=[{"id": "device-1"}, {"id": "nobody"}])
        window = {"schedule": "0 0 * * * ?"}
        hawkbit.call("POST", path, 400, json=[{"id": "device-1", "maintenanceWindow": window}])
        hawkbit.call("POST", path, 422, json=[{"id": "device-1", "type": "timeforced"}])
        hawkbit.call("POST", path, 422, json=[])
        assert hawkbit.call("GET", "targets/device-1/actions")["total"] == 0

    def test_what_targets_have_got_stays_as_it_is(self, hawkbit):
        hawkbit.assigned()
        hawkbit.artifact(name="another", expect=409)
        path = f"softwaremodules/{hawkbit.ids['module']}"
        [artifact] = hawkbit.call("GET", path + "/artifacts")["content"]
        assert hawkbit.call("DELETE", f"{path}/artifacts/{artifact['id']}", 409)["type"] == "/problems/module-in-use"
        assert hawkbit.call("DELETE", path, 409)["type"] == "/problems/module-in-use"

    def test_artifacts_that_come_later_are_in_the_set_too_until_it_is_assigned(self, hawkbit, client, operator):
        hawkbit.module()
        hawkbit.set(name="later")
        hawkbit.artifact(name="one")
        second = hawkbit.artifact(name="two")
        hawkbit.call("DELETE", f"softwaremodules/{hawkbit.ids['module']}/artifacts/{second['id']}", 204)
        shown = client.get("/v1/fleet/packages/later/1.0", headers=operator).json()
        assert (shown["kind"], [file["filename"] for file in shown["files"]]) == ("software", ["one"])

    def test_a_name_that_a_package_has_is_taken(self, hawkbit, services, client, operator, jobs, tmp_path):
        (tmp_path / "made").mkdir()
        packages = Packages(services, client, operator, jobs, tmp_path / "made")
        packages.published()
        packages.import_().raise_for_status()
        body = [{"name": "picosam2", "version": "3", "type": "os", "modules": [{"id": hawkbit.module()}]}]
        hawkbit.call("POST", "distributionsets", 409, json=body)


def test_bytes_go_when_nothing_needs_them_any_more(hawkbit, blobs):
    one, other = hawkbit.module("one"), hawkbit.module("other")
    for module in (one, other):
        hawkbit.ids["module"] = module
        hawkbit.artifact()
    hawkbit.call("DELETE", f"softwaremodules/{one}", 204)
    hawkbit.call("DELETE", f"softwaremodules/{one}", 204)  # answered after what came before it is done
    assert len(blobs()) == 1
    hawkbit.call("DELETE", f"softwaremodules/{other}", 204)
    wait_for(lambda: blobs() == [], what="the bytes to be removed")


def test_types_are_those_that_hawkbit_starts_with(hawkbit):
    keys = [each["key"] for each in hawkbit.call("GET", "softwaremoduletypes")["content"]]
    assert keys == ["os", "runtime", "application"]
    assert [each["key"] for each in hawkbit.call("GET", "distributionsettypes")["content"]] == ["os", "os_app", "app"]
