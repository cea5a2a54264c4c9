"""Debian's swupdate, as it is, against the service: it polls, downloads, installs, restarts and reports."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.actions.moves import release, request_cancel
from services.fleet.cameras.models import Camera
from services.fleet.packages.models import Package
from services.fleet.runtime import Services
from services.fleet.settings import FleetSettings
from shared.contracts.rollouts import ActionKind, ActionState
from tests.conftest import wait_for
from tests.services.fleet.packages.conftest import Packages
from tests.services.fleet.packages.conftest import packages as packages  # the fixture
from tests.shared.kit.packages.swu_keys import a_pair

pytestmark = [
    pytest.mark.services,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("swupdate") is None, reason="Debian's swupdate is not installed"),
]

POLL_S = 1
SUCCESS, FAILURE = "2", "3"
"""What `-c` has it tell of the update before its restart. Where there is a boot loader, that one knows."""
CONFIG = """globals: { loglevel = 5; };
identify: ( { name = "board"; value = "cam"; }, { name = "serial"; value = "17"; } );
"""


@pytest.fixture
def camera_folder(tmp_path: Path) -> Path:
    """The camera's own files."""
    folder = tmp_path / "camera"
    folder.mkdir()
    return folder


@pytest.fixture
def swu_files(tmp_path: Path) -> tuple[Path, Path]:
    """The key and the certificate of the service."""
    return a_pair(tmp_path / "swu")


@pytest.fixture
def settings(settings: FleetSettings, swu_files: tuple[Path, Path], camera_folder: Path) -> FleetSettings:
    key, certificate = swu_files
    changes = {"swu_target_dir": str(camera_folder / "incoming"), "swu_key_file": key, "swu_certificate_file": certificate}
    return FleetSettings.model_validate(settings.model_dump() | changes | {"poll_s": POLL_S, "busy_poll_s": POLL_S})


class Swupdate:
    """A camera with swupdate on it. It can be stopped and started again."""

    def __init__(self, url: str, folder: Path, certificate: Path, token: str) -> None:
        self._url, self._folder, self._certificate, self._token = url, folder, certificate, token
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "swupdate.log"

    def start(self, confirm: str | None = None) -> None:
        """``confirm``: what it reports of the update before its restart."""
        server = ["-t", "default", "-u", self._url, "-i", "cam-1", "-k", self._token, "-p", str(POLL_S)]
        server += ["-c", confirm] if confirm else []
        (self._folder / "swupdate.cfg").write_text(CONFIG)
        command = [
            "swupdate",
            "-l",
            "5",
            "-f",
            "swupdate.cfg",
            "-k",
            str(self._certificate),
            "-H",
            "cam:1",
            "-u",
            " ".join(server),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(self._folder)},  # for its files and its sockets
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def restart(self, confirm: str) -> None:
        """As the camera does after an update; the log begins anew."""
        self.stop()
        self.log.unlink()
        self.start(confirm)

    def wait_for(self, pattern: str, timeout_s: float = 150) -> None:
        """Until its log has a line."""
        wait_for(lambda: re.search(pattern, self.said()) is not None, what=pattern, timeout_s=timeout_s)

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass
class Fleet:
    """The operators' side."""

    services: Services
    http: httpx.Client
    user: dict[str, str]

    def register(self) -> str:
        body = {"controller_id": "cam-1", "format": "swu"}
        token: str = self.http.post("/v1/fleet/cameras", json=body, headers=self.user).raise_for_status().json()["token"]
        return token

    def release(self, ref: str = "picosam2/3") -> int:
        name, version = ref.split("/")
        with self.services.sessions.begin() as session:
            package = session.scalars(select(Package).where(Package.name == name, Package.version == version)).one()
            camera = session.scalars(select(Camera)).one()
            state = ActionState.PENDING.value
            action = Action(kind=ActionKind.INSTALL.value, camera_id=camera.id, package_id=package.id, state=state)
            session.add(action)
            session.flush()
            assert release(session, [action.id], deadline_at=None)
            return action.id

    def cancel(self, action_id: int) -> None:
        with self.services.sessions.begin() as session:
            request_cancel(session, [action_id], told=True)

    def state(self, action_id: int) -> str:
        with self.services.sessions() as session:
            return session.get_one(Action, action_id).state

    def wait(self, action_id: int, state: str, timeout_s: float = 150) -> None:
        wait_for(lambda: self.state(action_id) == state, what=f"action {state}", timeout_s=timeout_s)

    def camera(self) -> Camera:
        with self.services.sessions() as session:
            return session.scalars(select(Camera)).one()

    def current(self) -> str | None:
        """What the camera runs."""
        with self.services.sessions() as session:
            package = session.get(Package, self.camera().current_package_id or "")
            return package.ref if package else None

    def lines(self, action_id: int) -> str:
        """All that the device has told of it."""
        with self.services.sessions() as session:
            rows = session.scalars(select(ActionHistory.detail).where(ActionHistory.action_id == action_id))
            return "\n".join(line for detail in rows for line in detail.get("lines", []))

    def history(self, action_id: int) -> list[tuple[str, str]]:
        """States and the last line of what was said."""
        with self.services.sessions() as session:
            rows = session.scalars(select(ActionHistory).where(ActionHistory.action_id == action_id).order_by(ActionHistory.id))
            return [(row.state, row.message) for row in rows]


@pytest.fixture
def fleet(services: Services, client: httpx.Client, operator: dict[str, str], packages: Packages) -> Fleet:
    packages.published()
    packages.import_().raise_for_status()
    return Fleet(services, client, operator)


@pytest.fixture
def swupdate(served: Any, fleet: Fleet, camera_folder: Path, swu_files: tuple[Path, Path]) -> Iterator[Callable[..., Swupdate]]:
    """Makes the camera's swupdate; ``certificate``: whose images it takes."""
    made: list[Swupdate] = []

    def make(certificate: Path = swu_files[1]) -> Swupdate:
        made.append(Swupdate(served.url, camera_folder, certificate, fleet.register()))
        return made[-1]

    yield make
    for each in made:
        each.stop()
        print(each.said()[-20_000:])  # pytest shows it of a test that failed


def test_it_installs_the_package_restarts_and_reports_once(fleet, packages, swupdate, camera_folder):
    camera, action = swupdate(), fleet.release()
    camera.start()
    camera.wait_for("All Chunks Installed")
    installed = camera_folder / "incoming" / "picosam2-3.tar"
    assert installed.read_bytes() == packages.get("/picosam2/3/file", filename="picosam2-3.tar").content
    assert fleet.state(action) == ActionState.INSTALLING
    camera.restart(SUCCESS)
    fleet.wait(action, ActionState.RUNNING)
    said = fleet.history(action)
    assert [state for state, _ in said] == ["offered", *["installing"] * (len(said) - 2), "running"]
    assert {"Installing Update Chunk Artifacts.", "Installed Chunk.", "All Chunks Installed.", "Update Installed."} <= {
        line for _, line in said
    }
    camera.restart(SUCCESS)
    camera.wait_for("No pending action to process")
    assert fleet.history(action) == said
    assert fleet.current() == "picosam2/3"


def test_an_update_that_does_not_outlive_the_restart_has_failed(fleet, swupdate):
    camera, action = swupdate(), fleet.release()
    camera.start()
    camera.wait_for("All Chunks Installed")
    camera.restart(FAILURE)
    fleet.wait(action, ActionState.FAILED)
    assert fleet.current() is None


def test_an_image_that_others_have_signed_is_not_installed(fleet, swupdate, camera_folder, tmp_path):
    _, certificate_of_others = a_pair(tmp_path / "others")
    camera, action = swupdate(certificate_of_others), fleet.release()
    camera.start()
    fleet.wait(action, ActionState.FAILED)
    assert "Authentication of all signatures failed" in fleet.lines(action)
    assert fleet.history(action)[-1] == ("failed", "No suitable .swu image found")
    assert not (camera_folder / "incoming").exists()


def test_a_cancelled_action_is_not_installed(fleet, swupdate, camera_folder):
    camera, action = swupdate(), fleet.release()
    fleet.cancel(action)
    camera.start()
    fleet.wait(action, ActionState.CANCELLED)
    camera.wait_for("No pending action to process")
    assert not (camera_folder / "incoming").exists()


def test_it_tells_what_it_is(fleet, swupdate):
    camera = swupdate()
    camera.start()
    wait_for(lambda: fleet.camera().attributes == {"board": "cam", "serial": "17"}, what="attributes")
    camera.wait_for("No pending action to process")
    assert not fleet.camera().attributes_wanted
