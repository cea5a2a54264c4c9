"""Packaging jobs on the running app, and the packages that their workers bring."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.jobs.jobs.service import enqueue
from services.jobs.runtime import Services
from shared.contracts.packages import TrustedKeys
from shared.contracts.packaging import PackagingSpec
from shared.kit.packages.folder import write_package
from shared.kit.packages.tars import pack
from tests.shared.kit.packages.making import some_contents, some_facts

Json = dict[str, Any]
GOLDEN = {"dataset": {"dataset": "shapes", "split": "val"}}


@dataclass(frozen=True)
class Packaging:
    """Queues packaging jobs, and speaks for their workers."""

    services: Services
    http: httpx.Client
    user: dict[str, str]
    worker: dict[str, str]
    folder: Path

    def queue(self, **changes: Any) -> str:
        """A job's id. What its spec names is not looked up."""
        body = {"model": "picosam2.imx500/3", "golden": GOLDEN} | changes
        with self.services.sessions.begin() as session:
            return enqueue(session, spec=PackagingSpec.model_validate(body), owner="ada").id

    def claim(self, job_id: str) -> int:
        """The token."""
        answer = self.http.post(f"/v1/worker/jobs/{job_id}/claim", json={"worker": "w"}, headers=self.worker)
        return int(answer.raise_for_status().json()["token"])

    def made(self, job_id: str, **facts: Any) -> str:
        """An unsigned package of the job's, uploaded; its blob."""
        lineage = some_facts().lineage.model_dump() | {"job": job_id}
        target = self.folder / f"{job_id}-{len(list(self.folder.iterdir()))}"
        write_package(target, some_facts(**{"release": 1, "lineage": lineage} | facts), some_contents())
        pack(target, tar := target.with_suffix(".tar"))
        return self.upload(tar.read_bytes())

    def upload(self, content: bytes) -> str:
        return str(self.http.post("/v1/blobs", content=content, headers=self.worker).raise_for_status().json()["digest"])

    def finish(self, job_id: str, token: int, blob: str | None = None, **message: Any) -> httpx.Response:
        body = {"token": token, "package": {"blob": blob} if blob else None, "result": {"memory_utilization": 0.42}} | message
        return self.http.post(f"/v1/worker/jobs/{job_id}/finish", json=body, headers=self.worker)

    def done(self, **changes: Any) -> Json:
        """A whole job; as users see it."""
        job_id = self.queue(**changes)
        token = self.claim(job_id)
        answer = self.finish(job_id, token, self.made(job_id, **{key: changes[key] for key in ("line",) if key in changes}))
        assert answer.status_code == 204, answer.text
        return self.job(job_id)

    def job(self, job_id: str) -> Json:
        return dict(self.get(f"/v1/jobs/{job_id}").raise_for_status().json())

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(path, headers=self.user, params=params)

    @property
    def keys(self) -> TrustedKeys:
        return TrustedKeys.model_validate_json(self.get("/v1/package-keys").raise_for_status().content)


@pytest.fixture
def packaging(
    services: Services, client: httpx.Client, viewer: dict[str, str], worker: dict[str, str], tmp_path: Path
) -> Packaging:
    (tmp_path / "made").mkdir()
    return Packaging(services, client, viewer, worker, tmp_path / "made")


@pytest.fixture
def race() -> Callable[[Sequence[Callable[[], Any]]], list[Any]]:
    """Calls all at once; their answers in order."""

    def run(calls: Sequence[Callable[[], Any]]) -> list[Any]:
        barrier = threading.Barrier(len(calls))

        def wait_and(call: Callable[[], Any]) -> Any:
            barrier.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(wait_and, calls))

    return run
