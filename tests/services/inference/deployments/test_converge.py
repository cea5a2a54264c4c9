"""From the rows to what is served."""

import asyncio
import gc
import shutil
import time
import weakref
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import update

from services.inference.deployments import heartbeat, repository
from services.inference.deployments.models import Replica
from services.inference.engine.served import DeploymentNotFound, DeploymentNotReady
from shared.contracts.serving import NETWORK_DIGEST_TAG
from shared.contracts.windows import WindowPolicy
from shared.kit.database import db_now

WRONG = {NETWORK_DIGEST_TAG: "sha256:" + "0" * 64}


def replica_of(deployments, name="default"):
    (replica,) = deployments.read(name)["replicas"]
    return replica


def cached(settings, model, file):
    """The file of a version in the cache."""
    (folder,) = (settings.cache_dir / "folders").glob(f"*/model-{model.replace('/', '-')}")
    return folder / file


def test_what_cannot_be_served_leaves_the_generation_before_in_place(deployments, registry):
    good, bad = registry.register(0), registry.register(1, tags=WRONG)
    deployments.serve("default", good)
    deployments.put("default", bad)
    deployments.converge()
    replica = replica_of(deployments)
    assert (replica["state"], replica["generation"], deployments.read("default")["ready"]) == ("failed", 1, False)
    assert WRONG[NETWORK_DIGEST_TAG] in replica["error"]
    assert "register the model again" in replica["error"]
    assert deployments.services.table.get("default").choose(None).model == good
    deployments.put("default", good)
    deployments.converge()
    assert replica_of(deployments) | {"seen_at": 0} == replica | {
        "state": "ready",
        "generation": 3,
        "error": None,
        "seen_at": 0,
    }


def test_a_deployment_that_never_could_be_served_says_why_to_those_who_ask(deployments, registry):
    deployments.put("default", registry.register(0, tags=WRONG))
    deployments.converge()
    with pytest.raises(DeploymentNotReady, match="digest"):
        deployments.services.table.get("default")
    assert deployments.http.get("/readyz").json() == {
        "status": "degraded",
        "components": {"database": "ok", "deployments": "failed"},
    }
    deployments.http.delete("/v1/deployments/default", headers=deployments.headers)
    deployments.converge()
    with pytest.raises(DeploymentNotFound):
        deployments.services.table.get("default")
    assert deployments.http.get("/readyz").json()["status"] == "ok"


def test_a_deployment_that_cannot_be_served_does_not_keep_others_from_it(deployments, registry):
    deployments.put("a", registry.register(0, tags=WRONG))
    deployments.put("b", registry.register(0))
    deployments.converge()
    assert deployments.read("b")["ready"] is True


class TestWithAKeyFile:
    """The service's own key can be exchanged while it runs; with a wrong one the registry is out of reach."""

    @pytest.fixture
    def settings(self, settings, tmp_path):
        file = tmp_path / "key"
        file.write_text(settings.api_key.get_secret_value())
        return settings.model_copy(update={"api_key": None, "api_key_file": file})

    def test_a_registry_that_was_away_is_asked_again_after_a_pause(self, deployments, registry, settings):
        deployments.put("default", registry.register())
        key = settings.api_key_file.read_text()
        settings.api_key_file.write_text("pf_" + "x" * 43)
        deployments.converge()
        assert replica_of(deployments)["state"] == "failed"
        assert "API key" in replica_of(deployments)["error"]
        settings.api_key_file.write_text(key)
        deployments.converge()
        assert replica_of(deployments)["state"] == "failed", "too early to ask again"
        time.sleep(1.1)
        deployments.converge()
        assert replica_of(deployments)["state"] == "ready"


@pytest.mark.parametrize("file", ["model.onnx", "config.json", "serving.json", "version.json"])
def test_a_copy_that_was_damaged_on_disk_is_fetched_anew(deployments, registry, settings, file):
    model = registry.register()
    deployments.serve("default", model)
    deployments.http.delete("/v1/deployments/default", headers=deployments.headers)
    deployments.converge()
    gc.collect()
    damaged = cached(settings, model, file)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert deployments.serve("default", model).choose(None).golden_iou == pytest.approx(1, abs=0.01)
    assert replica_of(deployments)["state"] == "ready"


def test_a_version_registered_without_digest_is_checked_against_what_came(deployments, registry, settings):
    model = registry.register(tags={}, without="serving.json")
    deployments.serve("default", model)
    deployments.http.delete("/v1/deployments/default", headers=deployments.headers)
    deployments.converge()
    gc.collect()
    network = cached(settings, model, "model.onnx")
    shutil.copyfile(registry.networks(1) / "model.onnx", network)
    windows = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    healed = deployments.serve("default", model).choose(None).logits(windows)
    other = deployments.serve("other", registry.register(1)).choose(None).logits(windows)
    assert np.abs(healed - other).max() > 0.01


def test_versions_are_loaded_once_for_all_and_go_with_their_last_user(deployments, registry):
    model, other = registry.register(0), registry.register(1)
    first = deployments.serve("a", model).choose(None)
    assert deployments.serve("b", model, max_queue=3).choose(None) is first
    assert deployments.serve("b", model, threads=2).choose(None) is not first
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is not None
    deployments.serve("a", other)
    gc.collect()
    assert gone() is None


def test_a_version_in_use_stays_in_the_cache_however_little_fits(deployments, registry, settings):
    first, second = registry.register(0), registry.register(1)
    object.__setattr__(deployments.services.store._cache, "limit_bytes", 1)
    deployments.serve("a", first)
    deployments.serve("a", second)
    gc.collect()
    deployments.serve("b", registry.register(2))
    assert cached(settings, second, "model.onnx").exists()
    assert not list((settings.cache_dir / "folders").glob(f"*/model-{first.replace('/', '-')}"))


def test_the_queue_lives_on_unless_its_size_changes(deployments, registry):
    first, second = registry.register(0), registry.register(1)
    desk = deployments.serve("default", first, max_queue=9).desk
    assert deployments.serve("default", second, max_queue=9).desk is desk
    assert deployments.serve("default", second, max_queue=8).desk is not desk
    assert deployments.serve("default", second, batching={"max_batch": 16}).desk.parallel == 16


def test_no_request_is_lost_while_versions_and_queues_are_swapped(deployments, registry):
    models = [registry.register(0), registry.register(1)]
    table = deployments.services.table
    deployments.serve("default", models[0])
    window = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    wanted, swapping = {}, True
    for model in models:
        wanted[model] = deployments.serve("default", model).choose(None).logits(window) > 0

    async def ask() -> int:
        served = table.get("default")
        version = served.choose(None)
        await asyncio.sleep(0.002)  # as a request does that has its body read: the swap may come in between
        turn = await served.desk.do(lambda alone: version.logits(window, alone=alone) > 0, deadline_s=30)
        assert np.mean(turn.result == wanted[version.model]) > 0.999
        return 1

    async def client() -> int:
        answered = 0
        while swapping:
            answered += await ask()
        return answered

    async def both() -> list[int]:
        nonlocal swapping
        clients = [asyncio.create_task(client()) for _ in range(6)]
        for turn in range(20):
            await asyncio.to_thread(deployments.serve, "default", models[turn % 2], max_queue=100 + turn % 3)
        swapping = False
        return await asyncio.gather(*clients)

    assert sum(asyncio.run(both())) > 20


def test_batches_over_requests_answer_as_single_runs_do(deployments, registry):
    model = registry.register()
    windows = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)
    plain = deployments.serve("plain", model).choose(None).logits(windows)
    batched = deployments.serve("batched", model, batching={"max_batch": 4}).choose(None)
    assert batched.step == 4
    assert np.allclose(batched.logits(windows), plain, atol=1e-3)


def test_a_shadow_that_reads_other_windows_is_refused(deployments, registry):
    other = registry.register(1, window=WindowPolicy(side=128))
    deployments.put("default", registry.register(0), shadow={"model": other})
    deployments.converge()
    assert "cannot be compared" in replica_of(deployments)["error"]


def test_ready_means_every_living_replica(deployments, registry):
    services = deployments.services
    deployments.serve("default", registry.register())
    with services.sessions.begin() as session:
        repository.heard(session, "another")
    shown = deployments.read("default")
    assert shown["ready"] is False
    assert sorted(replica["state"] for replica in shown["replicas"]) == ["loading", "ready"]
    with services.sessions.begin() as session:
        ago = db_now(session) - timedelta(seconds=services.settings.replica_alive_s + 1)
        session.execute(update(Replica).where(Replica.name == "another").values(seen_at=ago))
    assert deployments.read("default")["ready"] is True


def test_a_heartbeat_tells_again_what_was_not_heard_and_forgets_replicas_that_never_came_back(deployments, registry):
    services = deployments.services
    deployments.serve("default", registry.register())
    heartbeat.leave(services)
    assert deployments.read("default")["replicas"] == []
    with services.sessions.begin() as session:
        repository.heard(session, "old")
        session.execute(update(Replica).where(Replica.name == "old").values(seen_at=db_now(session) - timedelta(days=2)))
    heartbeat.tick(services)
    assert replica_of(deployments)["state"] == "ready"
    with services.sessions() as session:
        assert session.get(Replica, "old") is None
