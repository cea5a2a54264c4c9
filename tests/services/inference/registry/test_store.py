"""Versions on this machine's disk, from a real registry behind a real jobs service."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from services.inference.engine.errors import WrongDigest
from services.inference.registry.errors import ModelsAway, ModelUnknown, NotServable
from services.inference.registry.store import ClientFactory, ModelStore
from shared.contracts.serving import NETWORK_DIGEST_TAG
from shared.kit.cache import Cache
from shared.kit.mlflow_api import MlflowApi
from tests.services.inference.registered import Registry


@pytest.fixture
def mlflow_url(mlflow_server):
    return mlflow_server


@pytest.fixture
def registry(mlflow_server, networks):
    with MlflowApi(mlflow_server) as mlflow:
        yield Registry(mlflow, networks)


@pytest.fixture
def make_store(jobs, viewer, tmp_path):
    def make(key=None, url=None):
        known = key or viewer["Authorization"].removeprefix("Bearer ")
        return ModelStore(Cache(tmp_path / "models"), ClientFactory(url or jobs.url, key=known, key_file=None))

    return make


@pytest.fixture
def store(make_store):
    return make_store()


def fetch(store, model):
    with store.fetched(model) as found:
        return {file.name: file.read_bytes() for file in found.folder.iterdir()}, found.stored


def test_a_version_is_fetched_once_and_then_needs_nobody(store, registry, jobs):
    model = registry.register()
    with ThreadPoolExecutor(3) as pool:
        (files, stored), *others = [fetched.result() for fetched in [pool.submit(fetch, store, model) for _ in range(3)]]
    assert all(other == (files, stored) for other in others)
    assert set(files) == {"model.onnx", "config.json", "serving.json", "version.json"}
    assert files["model.onnx"] == (registry.networks() / "model.onnx").read_bytes()
    assert stored.digest == stored.tags[NETWORK_DIGEST_TAG]
    jobs.stop()
    assert store.resolve(model) == model
    assert fetch(store, model) == (files, stored)


def test_an_alias_is_looked_up_each_time(store, registry):
    first, second = registry.register(0), registry.register(1)
    alias = registry.promote(first)
    assert store.resolve(alias) == first
    registry.promote(second)
    assert store.resolve(alias) == second
    with pytest.raises(ModelUnknown, match="no alias 'nobody'"):
        store.resolve(f"{registry.name}@nobody")


@pytest.mark.parametrize("reference", ["{}/99", "nothing-of-the-kind/1", "nothing-of-the-kind@champion"])
def test_what_the_registry_does_not_have_is_unknown(store, registry, reference):
    registry.register()
    with pytest.raises(ModelUnknown):
        store.resolve(reference.format(registry.name))


def test_a_package_is_no_network(store, registry):
    package = registry.register_files({"package.tar": b"x"}, tags={"picofleet.package": "sha256:" + "0" * 64})
    for ask in (store.resolve, lambda model: fetch(store, model)):
        with pytest.raises(NotServable, match="package"):
            ask(package)


def test_a_network_that_is_not_the_registered_one_is_not_kept(store, registry, tmp_path):
    model = registry.register(tags={NETWORK_DIGEST_TAG: "sha256:" + "0" * 64})
    with pytest.raises(WrongDigest):
        fetch(store, model)
    assert not list((tmp_path / "models" / "folders").glob("*/*"))


def test_a_jobs_service_that_is_away_or_refuses_the_key_is_a_registry_that_is_away(make_store, registry, free_port_number):
    model = registry.register()
    with pytest.raises(ModelsAway, match="does not answer"):
        make_store(url=f"http://127.0.0.1:{free_port_number}").resolve(model)
    with pytest.raises(ModelsAway) as refused:
        make_store(key="pf_" + "x" * 43).resolve(model)
    assert "API key" in refused.value.members["hint"]
