"""A client that makes the calls of rauc-hawkbit-updater's test suite, and a device that makes those of the updater."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from shared.contracts.keys import Scope

SCOPES = (Scope.OPERATOR, Scope.ADMIN)


class Management:
    """hawkBit's management API over HTTP Basic; ``ids`` remembers what was made last, by kind."""

    def __init__(self, url: str, key: str, admin: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/rest/v1/", auth=("admin", key), timeout=30)
        self.admin = ("admin", admin)
        self.url, self.ids = url, dict[str, Any]()
        self._devices: list[Updater] = []

    def call(self, method: str, path: str, expect: int | None = None, **kwargs: Any) -> Any:
        answer = self.http.request(method, path, **kwargs)
        assert answer.status_code == expect if expect else answer.is_success, answer.text
        return answer.json() if answer.content else None

    def config(self, key: str, value: Any) -> None:
        self.call("PUT", f"system/configs/{key}", json={"value": value}, auth=self.admin)

    def target(self, name: str = "device-1", **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.call("POST", "targets", 201, json=[{"controllerId": name, "name": name} | fields])[0]
        self.ids |= {"target": name, "token": made["securityToken"]}
        return made

    def module(self, name: str = "module", type: str = "os", version: str = "1.0") -> int:
        body = [{"name": name, "version": version, "type": type}]
        self.ids["module"] = self.call("POST", "softwaremodules", 201, json=body)[0]["id"]
        return int(self.ids["module"])

    def artifact(self, content: bytes = b"bundle" * 999, name: str = "bundle.raucb", expect: int = 201, **query: str) -> Any:
        path = f"softwaremodules/{self.ids['module']}/artifacts"
        return self.call("POST", path, expect, files={"file": (name, content)}, params=query)

    def set(self, *modules: int, name: str = "distribution 1.0 (17.3)", type: str = "os", version: str = "1.0") -> int:
        parts = [{"id": module} for module in modules or [self.ids["module"]]]
        body = [{"name": name, "description": "Test", "version": version, "modules": parts, "type": type}]
        self.ids["set"] = self.call("POST", "distributionsets", 201, json=body)[0]["id"]
        return int(self.ids["set"])

    def assign(self, set_id: int | None = None, **fields: Any) -> int:
        body = [{"id": self.ids["target"]} | fields]
        done = self.call("POST", f"distributionsets/{set_id or self.ids['set']}/assignedTargets", json=body)
        self.ids["action"] = done["assignedActions"][-1]["id"]
        return int(self.ids["action"])

    def assigned(self, **fields: Any) -> int:
        """Everything from a target to an action."""
        self.target()
        self.module()
        self.artifact()
        self.set()
        return self.assign(**fields)

    def action(self, number: int | None = None) -> Any:
        return self.call("GET", f"targets/{self.ids['target']}/actions/{number or self.ids['action']}")

    def statuses(self) -> Any:
        query = {"offset": 0, "limit": 50, "sort": "id:DESC"}
        path = f"targets/{self.ids['target']}/actions/{self.ids['action']}/status"
        return self.call("GET", path, params=query)["content"]

    def cancel(self, *, force: bool = False, expect: int = 204) -> Any:
        path = f"targets/{self.ids['target']}/actions/{self.ids['action']}"
        return self.call("DELETE", path, expect, params={"force": "true"} if force else None)

    def device(self, authorization: str | None = None) -> "Updater":
        made = Updater(self.url, self.ids["target"], authorization or f"TargetToken {self.ids['token']}")
        self._devices.append(made)
        return made

    def close(self) -> None:
        for http in [self.http, *(device.http for device in self._devices)]:
            http.close()


class Updater:
    """What rauc-hawkbit-updater sends and reads."""

    def __init__(self, url: str, name: str, authorization: str) -> None:
        self.http = httpx.Client(headers={"Authorization": authorization, "Accept": "application/hal+json"}, timeout=30)
        self.root = f"{url}/DEFAULT/controller/v1/{name}"

    def poll(self, expect: int = 200) -> dict[str, str]:
        answer = self.http.get(self.root)
        assert answer.status_code == expect, answer.text
        return {name: link["href"] for name, link in answer.json().get("_links", {}).items()}

    def sleep(self) -> str:
        found: str = self.http.get(self.root).json()["config"]["polling"]["sleep"]
        return found

    def get(self, url: str, **kwargs: Any) -> httpx.Response:
        answer = self.http.get(url, **kwargs)
        assert answer.is_success, answer.text
        return answer

    def say(self, action: int, execution: str, *lines: str, finished: str = "none", base: str = "deploymentBase") -> int:
        status = {"execution": execution, "result": {"finished": finished}, "details": list(lines)}
        body = {"id": str(action), "time": "20260101T000000", "status": status}
        return self.http.post(f"{self.root}/{base}/{action}/feedback", json=body).status_code

    def identify(self, **attributes: str) -> None:
        body = {"mode": "merge", "data": attributes, "status": {"execution": "closed", "result": {"finished": "success"}}}
        assert self.http.put(f"{self.root}/configData", json=body).is_success


@pytest.fixture
def hawkbit(served: Any, key_for: Callable[..., dict[str, str]]) -> Iterator[Management]:
    operator, admin = (key_for(scope, f"hawkbit-{scope}")["Authorization"].removeprefix("Bearer ") for scope in SCOPES)
    client = Management(served.url, operator, admin)
    yield client
    client.close()
