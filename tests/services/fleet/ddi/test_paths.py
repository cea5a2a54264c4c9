"""Controller ids in URLs, and tenants."""

from urllib.parse import quote

import httpx
from hypothesis import given
from hypothesis import strategies as st

from services.fleet.ddi.caller import controller_id_of
from services.fleet.ddi.errors import InvalidControllerId
from tests.services.fleet.ddi.conftest import Device, World

STRANGE = ["halle/3", "\U0001f4f7 am Tor", "a%2Fb", "deploymentBase/7", "x?y#z", "...", "a/../b", "/", "caf\u00e9", "%", "a+b"]


def test_any_text_may_be_a_controller_id(world: World) -> None:
    package = world.package()
    for controller_id in STRANGE:
        device = world.device(controller_id, quote(controller_id, safe=""))
        headers = {"Authorization": device.authorization}
        action = world.action(device, package)
        answer = device.http.get(device.links()["deploymentBase"], headers=headers)
        assert answer.json()["id"] == str(action)
        links = answer.json()["deployment"]["chunks"][0]["artifacts"][0]["_links"]
        assert device.http.get(links["download"]["href"], headers=headers).content == b"bytes"


def test_what_is_no_controller_id_is_refused(client: httpx.Client) -> None:
    for path in ["%2E%2E", "%2e", "x" * 129, "%20a", "a%0Ab", "%FF", "%C3", "a%E2%80%8Bb", "%ED%A0%80"]:
        for method, rest in (("GET", ""), ("GET", "/deploymentBase/1"), ("PUT", "/configData")):
            content = b'{"data": {}}' if method == "PUT" else None
            answer = client.request(method, f"/default/controller/v1/{path}{rest}", content=content)
            assert answer.status_code == 400
            assert answer.json()["type"] == "/problems/invalid-controller-id"
            assert "hint" in answer.json()


def test_paths_that_name_nothing(client: httpx.Client) -> None:
    for path in ("//deploymentBase/1", "", "/a/b"):
        answer = client.get(f"/default/controller/v1{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_nul_character_is_refused(device: Device) -> None:
    assert device.http.get("/default/controller/v1/a%00b").status_code == 400
    assert device.ask("GET", "/softwaremodules/x%00/artifacts/y").status_code == 400


def test_there_is_one_tenant(device: Device) -> None:
    answer = device.http.get("/DEFAULT/controller/v1/cam-1", headers={"Authorization": device.authorization})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/tenant-not-found")


@given(
    st.text(min_size=1, max_size=128).filter(
        lambda text: text.isprintable() and text.strip() == text and text not in {".", ".."}
    )
)
def test_every_id_survives_its_way_through_a_url(controller_id: str) -> None:
    assert controller_id_of(quote(controller_id, safe="")) == controller_id


@given(st.binary(max_size=200))
def test_any_bytes_are_an_id_or_refused(segment: bytes) -> None:
    try:
        found = controller_id_of(quote(segment, safe=""))
    except InvalidControllerId:
        return
    assert found.encode() == segment
