"""Signed packages of the jobs service beside, as packaging jobs make them."""

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.fleet.runtime import Services
from services.jobs.jobs.service import enqueue
from services.jobs.packages.models import Package as JobsPackage
from services.jobs.packages.models import PackageLine
from shared.contracts.packaging import PackagingSpec
from shared.kit.packages.folder import write_package
from shared.kit.packages.tars import pack
from tests.shared.kit.packages.making import some_contents, some_facts

Json = dict[str, Any]
GOLDEN = {"dataset": {"dataset": "shapes", "split": "val"}}


@dataclass(frozen=True)
class Packages:
    """The fleet's packages over HTTP, and those of the jobs service in its database."""

    services: Services
    http: httpx.Client
    user: dict[str, str]
    jobs: Any
    folder: Path

    def published(self, release: int = 3, *, line: str = "picosam2", **facts: Any) -> str:
        """A signed package in the jobs service; the id of its job."""
        folder = self.folder / f"{line}-{len(list(self.folder.iterdir()))}"
        jobs = self.jobs.app.state.services
        with jobs.sessions.begin() as session:
            spec = PackagingSpec.model_validate({"model": "picosam2.imx500/3", "golden": GOLDEN, "line": line})
            job = enqueue(session, spec=spec, owner="ada")
            lineage = some_facts().lineage.model_dump() | {"job": job.id}
            write_package(folder, some_facts(**{"line": line, "release": release, "lineage": lineage} | facts), some_contents())
            verified = jobs.signer.sign(folder)
            pack(folder, tar := folder.with_suffix(".tar"))
            stored = jobs.blobs.put_file(tar)
            if session.get(PackageLine, line) is None:
                session.add(PackageLine(name=line, last_release=release))
                session.flush()
            session.add(
                JobsPackage(
                    line=line,
                    release=release,
                    job_id=job.id,
                    model="picosam2.imx500",
                    version=3,
                    digest=stored.digest,
                    manifest=verified.digest,
                    size_bytes=stored.size_bytes,
                    rpk="pending",
                    key=verified.key_id,
                )
            )
            job.result = {"line": line, "release": release}
            return job.id

    def jobs_row(self, **changes: Any) -> None:
        """Change what the jobs service says of its only package."""
        with self.jobs.app.state.sessions.begin() as session:
            row = session.query(JobsPackage).one()
            for name, value in changes.items():
                setattr(row, name, value)

    def put_tar(self, folder: Path) -> None:
        """Let the jobs service give out another tar, under the name of its only package."""
        pack(folder, tar := folder.with_suffix(".other.tar"))
        stored = self.jobs.app.state.services.blobs.put_file(tar)
        self.jobs_row(digest=stored.digest, size_bytes=stored.size_bytes)

    def import_(self, ref: str = "picosam2/3", /, *, key: str | None = None, **body: Any) -> httpx.Response:
        headers = self.user | ({"Idempotency-Key": key} if key else {})
        return self.http.post("/v1/fleet/packages", json=body or {"package": ref}, headers=headers)

    def get(self, path: str = "", headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        return self.http.get(f"/v1/fleet/packages{path}", headers=self.user | (headers or {}), params=params)

    def delete(self, ref: str = "picosam2/3", **params: Any) -> httpx.Response:
        return self.http.delete(f"/v1/fleet/packages/{ref}", headers=self.user, params=params)

    def refs(self, **params: Any) -> list[str]:
        return [item["ref"] for item in self.get(**params).raise_for_status().json()["items"]]

    def blobs(self) -> list[str]:
        """The sha256 of all that is in the fleet's store; uploads that were left too."""
        root = Path(self.services.settings.blob_url)
        return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.fixture
def packages(services: Services, client: httpx.Client, operator: dict[str, str], jobs: Any, tmp_path: Path) -> Packages:
    (tmp_path / "made").mkdir()
    return Packages(services, client, operator, jobs, tmp_path / "made")


@pytest.fixture
def unpacked(packages: Packages) -> Path:
    """The folder of a package that the jobs service has, to be changed and put back with ``put_tar``."""
    packages.published()
    (tar,) = packages.folder.glob("*.tar")
    folder = packages.folder / "unpacked"
    with tarfile.open(tar) as archive:
        archive.extractall(folder, filter="data")
    return folder
