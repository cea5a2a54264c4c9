"""The process as a supervisor starts it."""

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest


@pytest.fixture
def environment(empty_database, redis_url, tmp_path, free_port_number):
    values = {
        "database_url": empty_database,
        "redis_url": redis_url,
        "mlflow_url": "http://127.0.0.1:9",
        "blob_url": str(tmp_path / "blobs"),
        "admin_key_file": str(tmp_path / "keys" / "admin.key"),
        "worker_key_file": str(tmp_path / "keys" / "worker.key"),
        "service_key_file": str(tmp_path / "keys" / "service.key"),
        "port": str(free_port_number),
    }
    return {f"PICOFLEET_JOBS_{name.upper()}": value for name, value in values.items()}


@pytest.fixture
def start(environment):
    """Starts the service; whatever still runs in the end is killed."""
    running = []

    def start(*arguments, **overrides):
        command = [sys.executable, "-m", "services.jobs", *arguments]
        process = subprocess.Popen(command, env=os.environ | environment | overrides, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def wait_ready(url, process):
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and process.poll() is None:
        try:
            return httpx.get(f"{url}/readyz").json()
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"not ready, exit code {process.poll()}")


def test_it_migrates_makes_its_keys_serves_and_stops_when_told(start, environment, tmp_path):
    url = f"http://127.0.0.1:{environment['PICOFLEET_JOBS_PORT']}"
    process = start()
    assert wait_ready(url, process)["components"]["database"] == "ok"
    for name, scope in {"worker": "worker", "service": "viewer", "admin": "admin"}.items():
        secret = (tmp_path / "keys" / f"{name}.key").read_text().strip()
        me = httpx.get(f"{url}/v1/keys/self", headers={"Authorization": f"Bearer {secret}"})
        assert me.json()["scope"] == scope
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode in {0, -signal.SIGTERM}
    assert secret not in log


def test_an_open_event_stream_does_not_hold_up_the_end(start, environment, tmp_path):
    url = f"http://127.0.0.1:{environment['PICOFLEET_JOBS_PORT']}"
    process = start()
    wait_ready(url, process)
    key = {"Authorization": f"Bearer {(tmp_path / 'keys' / 'admin.key').read_text().strip()}"}
    made = httpx.post(f"{url}/v1/datasets", json={"name": "a", "source": {"kind": "generator"}}, headers=key).json()
    with httpx.stream("GET", f"{url}/v1/jobs/{made['import_job']}/events", headers=key, timeout=30) as stream:
        next(stream.iter_lines())
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert time.monotonic() - asked < 12


def test_migrate_alone_ends_by_itself(start):
    process = start("migrate")
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_wrong_settings_are_named_and_their_values_are_not(start):
    process = start(PICOFLEET_JOBS_LEASE_S="hunter2")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "lease_s" in errors
    assert "hunter2" not in errors
