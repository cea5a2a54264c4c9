"""Deployments go where their aliases go, when asked to."""

from concurrent.futures import ThreadPoolExecutor

from services.inference.deployments import follow


def test_a_moved_alias_makes_one_generation_however_many_replicas_look(deployments, registry):
    first, second = registry.register(0), registry.register(1)
    alias = registry.promote(first)
    deployments.serve("default", alias, follow_aliases=True)
    follow.tick(deployments.services)
    assert deployments.read("default")["generation"] == 1
    registry.promote(second)
    with ThreadPoolExecutor(4) as pool:
        for looked in [pool.submit(follow.tick, deployments.services) for _ in range(4)]:
            looked.result()
    shown = deployments.read("default")
    assert (shown["generation"], shown["updated_by"]) == (2, "picofleet")
    assert shown["reason"] == f"alias {alias} moved to {second.rpartition('/')[2]}"
    deployments.converge()
    assert deployments.services.table.get("default").choose(None).model == second


def test_the_shadow_follows_too(deployments, registry):
    first, second = registry.register(0), registry.register(1)
    alias = registry.promote(first, "candidate")
    deployments.serve("default", first, shadow={"model": alias}, follow_aliases=True)
    registry.promote(second, "candidate")
    follow.tick(deployments.services)
    deployments.converge()
    assert deployments.services.table.get("default").shadow.model == second


def test_nothing_follows_unasked(deployments, registry):
    first, second = registry.register(0), registry.register(1)
    deployments.serve("default", registry.promote(first))
    registry.promote(second)
    follow.tick(deployments.services)
    assert deployments.read("default")["generation"] == 1


def test_an_alias_that_is_gone_or_names_a_package_changes_nothing(deployments, registry):
    model = registry.register(0)
    deployments.serve("default", registry.promote(model), follow_aliases=True)
    registry.promote(registry.register_files({"package.tar": b"x"}, tags={"picofleet.package": "sha256:" + "0" * 64}))
    follow.tick(deployments.services)
    registry.mlflow.delete_alias(registry.name, "champion")
    follow.tick(deployments.services)
    assert deployments.read("default")["generation"] == 1


def test_a_registry_that_is_away_changes_nothing(deployments, registry, jobs):
    deployments.serve("default", registry.promote(registry.register(0)), follow_aliases=True)
    jobs.stop()
    follow.tick(deployments.services)
    assert deployments.read("default")["generation"] == 1
