"""A process that comes back serves what it served, whoever else is away."""

import os
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import select

from services.inference.app import create_app
from services.inference.deployments.models import ReplicaStatus
from services.inference.engine.served import DeploymentNotFound
from tests.conftest import wait_for


def test_what_was_served_is_served_at_once_after_a_start_without_jobs_service_and_registry(
    deployments, registry, jobs, settings, serve
):
    model, shadow = registry.register(0), registry.register(1)
    deployments.serve("default", model, shadow={"model": shadow})
    jobs.stop()
    again = serve(create_app(settings.model_copy(update={"replica": "another", "run_loops": True})))
    wait_for(again.app.state.services.convergence.tried.is_set, what="the first convergence", timeout_s=120)
    found = again.app.state.services.table.get("default")
    assert (found.choose(None).model, found.shadow.model) == (model, shadow)
    assert httpx.get(f"{again.url}/readyz").json()["components"]["deployments"] == "ok"


def test_a_version_that_is_not_here_while_the_registry_is_away_keeps_nobody_from_starting(
    deployments, registry, jobs, settings, serve, tmp_path
):
    deployments.serve("default", registry.register(0))
    jobs.stop()
    elsewhere = settings.model_copy(update={"replica": "another", "run_loops": True, "cache_dir": tmp_path / "empty"})
    again = serve(create_app(elsewhere))
    ready = httpx.get(f"{again.url}/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")


def test_loops_carry_out_a_change_and_a_goodbye_is_seen(deployments, registry, settings, serve):
    other = serve(create_app(settings.model_copy(update={"replica": "another", "run_loops": True, "converge_s": 0.1})))
    table = other.app.state.services.table
    with pytest.raises(DeploymentNotFound):
        table.get("default")
    params, spec = {"wait_s": 60}, {"versions": [{"model": registry.register(0)}]}
    answer = httpx.put(f"{other.url}/v1/deployments/default", json=spec, params=params, headers=deployments.headers, timeout=90)
    assert answer.json()["ready"] is True
    assert [replica["replica"] for replica in answer.json()["replicas"]] == ["another"]
    other.stop()
    assert deployments.read("default")["replicas"] == []


@contextmanager
def process(settings, port, replica):
    """The service as a process of its own; killed at the end."""
    told = {
        "DATABASE_URL": settings.database_url,
        "CACHE_DIR": str(settings.cache_dir),
        "JOBS_URL": settings.jobs_url,
        "FEEDBACK_URL": settings.feedback_url,
        "PORT": str(port),
        "REPLICA": replica,
        "GRPC_PORT": "0",
    }
    env = os.environ | {f"PICOFLEET_INFERENCE_{name}": value for name, value in told.items()}
    running = subprocess.Popen([sys.executable, "-m", "services.inference"], env=env)
    try:
        yield running
    finally:
        running.kill()
        running.wait(20)


@pytest.mark.faults
def test_a_killed_process_serves_what_it_served_when_it_is_started_again(
    deployments, registry, jobs, settings, free_port_number
):
    deployments.serve("default", registry.register(0))
    jobs.stop()

    def is_up():
        try:
            return httpx.get(f"http://127.0.0.1:{free_port_number}/readyz").json()["components"]["deployments"] == "ok"
        except httpx.TransportError:
            return False

    for replica in ("first", "second"):
        with process(settings, free_port_number, replica):
            wait_for(is_up, what="the service", timeout_s=60)
            wait_for(lambda: states(deployments, replica) == ["ready"], what="the deployment", timeout_s=60)  # noqa: B023


def states(deployments, replica):
    with deployments.services.sessions() as session:
        return list(session.scalars(select(ReplicaStatus.state).where(ReplicaStatus.replica == replica)))
