"""Running `picofleet` in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.fleet.app import create_app as create_fleet_app
from services.fleet.migrate import upgrade as upgrade_fleet
from services.fleet.settings import FleetSettings
from services.jobs.jobs.models import Job
from services.jobs.jobs.service import enqueue
from services.jobs.packages import publishing
from shared.client.cli.main import main
from shared.contracts.packaging import PackagingSpec
from shared.contracts.worker import MadePackage
from shared.kit.packages.folder import write_package
from shared.kit.packages.tars import pack
from tests.shared.kit.packages.making import some_contents, some_facts

Run = Callable[..., Any]


@pytest.fixture
def run(service: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `picofleet ...` against the service; the answer has ``code``, ``out`` and ``err``."""
    monkeypatch.setenv("PICOFLEET_URL", service.url)
    monkeypatch.setenv("PICOFLEET_API_KEY", service.key)
    return _runner(capfd)


@pytest.fixture
def run_scripted(script: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The same against the scripted server."""
    monkeypatch.setenv("PICOFLEET_URL", script.url)
    return _runner(capfd)


@pytest.fixture
def run_alone(capfd: pytest.CaptureFixture[str]) -> Run:
    """The same without any service."""
    return _runner(capfd)


@pytest.fixture
def fleet_service(
    service: Any, databases: Any, tmp_path: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The real fleet service, with its loops, beside the jobs service; `run` finds it. It ticks often."""
    url = databases.create()
    upgrade_fleet(url)
    settings = FleetSettings(
        database_url=url,
        jobs_url=service.url,
        api_key=service.key,
        blob_url=str(tmp_path / "fleet-blobs"),
        tick_s=0.1,
        poll_s=1,
        busy_poll_s=1,
    )
    served = serve(create_fleet_app(settings))
    monkeypatch.setenv("PICOFLEET_FLEET_URL", served.url)
    return served


def _runner(capfd: pytest.CaptureFixture[str]) -> Run:
    class Ended:
        def __init__(self, *arguments: str) -> None:
            with pytest.raises(SystemExit) as caught:
                main(list(arguments))
            self.code = caught.value.code
            self.out, self.err = capfd.readouterr()

    return Ended


@pytest.fixture
def publish(service: Any, tmp_path: Path) -> Callable[[], int]:
    """Signs one more package, as the end of a packaging job does; its release number."""
    services, spec = service.app.state.services, {"model": "picosam2.imx500/3"}
    golden = {"dataset": {"dataset": "shapes", "split": "val"}}

    def make() -> int:
        with services.sessions.begin() as session:
            job_id = enqueue(session, spec=PackagingSpec.model_validate(spec | {"golden": golden}), owner="ada").id
        lineage = some_facts().lineage.model_dump() | {"job": job_id}
        write_package(tmp_path / job_id, some_facts(release=1, lineage=lineage), some_contents())
        pack(tmp_path / job_id, tmp_path / f"{job_id}.tar")
        made = MadePackage(blob=services.blobs.put_file(tmp_path / f"{job_id}.tar").digest)
        with publishing.unpacked(services.blobs, made) as unsigned, services.sessions.begin() as session:
            job, tools = session.get_one(Job, job_id), {"blobs": services.blobs, "signer": services.signer}
            return publishing.publish(session, job, **tools, made=unsigned).package.release

    return make
