"""What the processes are started with; nothing is started here."""

import json
from pathlib import Path

import pytest

from infra.embedded.errors import PlatformError
from infra.embedded.home import Home
from infra.embedded.platform import status
from infra.embedded.ports import DEFAULTS
from infra.embedded.programs import PROGRAMS, Setup, base_environment, programs
from infra.embedded.secrets import secret_in


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    home = Home.at(tmp_path / "home")
    home.create()
    return Setup(home=home, ports=dict(DEFAULTS), dataset_roots=[])


def test_every_program_of_the_supervisor_is_planned(setup: Setup) -> None:
    configured = Path("infra/embedded/supervisord.conf").read_text()
    assert list(programs(setup)) == list(PROGRAMS)
    assert all(f"[program:{name}]" in configured and f"embedded.launch {name}\n" in configured for name in PROGRAMS)


def test_where_the_user_looks_is_no_setting_of_the_services(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PICOFLEET_URL", "PICOFLEET_INFERENCE_URL", "PICOFLEET_FLEET_URL", "PICOFLEET_API_KEY"):
        monkeypatch.setenv(name, "http://elsewhere")
    monkeypatch.setenv("PICOFLEET_INFERENCE_MAX_IMAGE_PIXELS", "1000")
    monkeypatch.setenv("PICOFLEET_FLEET_POLL_S", "5")
    kept = base_environment(setup.home)
    assert "http://elsewhere" not in kept.values()
    tuned = (kept["PICOFLEET_INFERENCE_MAX_IMAGE_PIXELS"], kept["PICOFLEET_FLEET_POLL_S"])
    assert tuned == ("1000", "5"), "what tunes a service reaches it"


def test_the_inference_service_reads_the_registry_with_the_key_that_the_jobs_service_makes(setup: Setup) -> None:
    planned = programs(setup)
    key_file = planned["inference"].env["PICOFLEET_INFERENCE_API_KEY_FILE"]
    assert key_file == planned["jobs"].env["PICOFLEET_JOBS_SERVICE_KEY_FILE"]
    secret = secret_in(Path(key_file))
    assert secret not in json.dumps([planned["inference"].argv, planned["inference"].env])


def test_one_key_opens_packages_for_the_fleet_service_and_rollouts_for_the_inference_service(setup: Setup) -> None:
    planned = programs(setup)
    key_file = planned["jobs"].env["PICOFLEET_JOBS_FLEET_KEY_FILE"]
    fleet, inference = planned["fleet"].env, planned["inference"].env
    assert (fleet["PICOFLEET_FLEET_API_KEY_FILE"], inference["PICOFLEET_INFERENCE_FLEET_KEY_FILE"]) == (key_file, key_file)
    assert key_file != planned["jobs"].env["PICOFLEET_JOBS_SERVICE_KEY_FILE"], "a reader's key would not do"
    assert secret_in(Path(key_file)) not in json.dumps([[each.argv, each.env] for each in planned.values()])


def test_the_inference_service_finds_the_fleet_service_on_its_port(setup: Setup) -> None:
    planned = programs(setup)
    url = f"http://127.0.0.1:{planned['fleet'].env['PICOFLEET_FLEET_PORT']}"
    assert planned["inference"].env["PICOFLEET_INFERENCE_FLEET_URL"] == url == setup.fleet_url


def test_its_ports_are_its_own(setup: Setup) -> None:
    env = programs(setup)["inference"].env
    assert setup.inference_url == f"http://127.0.0.1:{env['PICOFLEET_INFERENCE_PORT']}"
    assert env["PICOFLEET_INFERENCE_GRPC_PORT"] != env["PICOFLEET_INFERENCE_PORT"]
    assert len(set(setup.ports.values())) == len(setup.ports)


def test_a_platform_of_another_version_is_told_how_to_be_restarted(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    (setup.home.run / "setup.json").write_text(json.dumps({"ports": {"jobs": 8001}, "dataset_roots": []}))
    monkeypatch.setattr("infra.embedded.platform.Supervisor.pid", lambda _: 1)
    with pytest.raises(PlatformError, match="another version") as caught:
        status(setup.home)
    assert "picofleet down" in caught.value.hint
