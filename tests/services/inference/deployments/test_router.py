"""Deployments as their users meet them."""

from concurrent.futures import ThreadPoolExecutor

import pytest


def test_a_deployment_is_served_once_its_versions_are_loaded(deployments, registry):
    model = registry.register()
    answer = deployments.put("default", model)
    assert answer.status_code == 201
    assert answer.headers["ETag"] == '"1"'
    made = answer.json()
    assert (made["generation"], made["reason"], made["updated_by"], made["ready"]) == (1, "put", "a-operator", False)
    assert made["versions"] == [{"model": model, "asked": model, "percent": 100, "engine": "onnxruntime"}]
    deployments.converge()
    shown = deployments.read("default")
    (replica,) = shown["replicas"]
    assert (shown["ready"], replica["state"], replica["generation"]) == (True, "ready", 1)
    assert deployments.services.table.get("default").choose(None).golden_iou == pytest.approx(1, abs=0.01)


def test_the_same_again_makes_no_new_generation_and_a_change_does(deployments, registry):
    model = registry.register()
    deployments.put("default", model)
    again = deployments.put("default", model)
    assert (again.status_code, again.json()["generation"]) == (200, 1)
    changed = deployments.put("default", model, max_queue=7)
    assert (changed.status_code, changed.json()["generation"]) == (200, 2)


def test_an_alias_names_the_version_that_it_names_now(deployments, registry):
    first, second = registry.register(0), registry.register(1)
    alias = registry.promote(first)
    assert deployments.put("default", alias).json()["versions"][0] | {"percent": 0} == {
        "model": first,
        "asked": alias,
        "percent": 0,
        "engine": "onnxruntime",
    }
    registry.promote(second)
    moved = deployments.put("default", alias).json()
    assert (moved["generation"], moved["versions"][0]["model"]) == (2, second)


def test_every_reference_that_names_nothing_is_named(deployments, registry):
    model = registry.register()
    answer = deployments.put(
        "default", {"model": f"{model}9", "percent": 100}, {"model": model, "percent": 0}, shadow={"model": "nothing@champion"}
    )
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["body.versions.0.model", "body.shadow.model"]
    assert deployments.http.get("/v1/deployments/default", headers=deployments.headers).status_code == 404


def test_a_package_is_refused_with_the_version_to_take_instead(deployments, registry):
    tags = {"picofleet.package": "sha256:" + "0" * 64, "picofleet.parent_version": f"{registry.name}/7"}
    package = registry.register_files({"package.tar": b"x"}, tags=tags)
    answer = deployments.put("default", package)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "body.versions.0.model"
    assert f"{registry.name}/7" in error["hint"]


@pytest.mark.parametrize(
    "spec",
    [
        {"versions": []},
        {"versions": [{"model": "a/1", "percent": 99}]},
        {"versions": [{"model": "../a/1"}]},
        {"versions": [{"model": "a/1", "percent": 50}, {"model": "a/1", "percent": 50}]},
        {"versions": [{"model": "a/1"}], "unknown": 1},
        {"versions": [{"model": "a/1"}], "target": "moon"},
    ],
)
def test_specifications_that_make_no_sense_are_refused(deployments, spec):
    answer = deployments.http.put("/v1/deployments/default", json=spec, headers=deployments.headers)
    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize("name", ["Default", "a" * 64, "-a"])
def test_strange_names_are_refused(deployments, name):
    assert deployments.put(name, "a/1").status_code == 422


def test_a_change_of_another_generation_than_the_one_that_was_read_is_refused(deployments, registry):
    model = registry.register()
    absent = deployments.put("default", model, headers={"If-Match": "*"})
    assert absent.status_code == 412
    deployments.put("default", model)
    assert deployments.put("default", model, max_queue=5, headers={"If-Match": '"1"'}).json()["generation"] == 2
    late = deployments.put("default", model, max_queue=6, headers={"If-Match": '"1"'})
    assert late.status_code == 412
    assert late.json()["etag"] == '"2"'
    assert deployments.read("default")["spec"]["max_queue"] == 5


def test_of_changes_at_the_same_moment_none_is_lost(deployments, registry):
    model = registry.register()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda queue: deployments.put("default", model, max_queue=queue), range(1, 9)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    revisions = deployments.http.get("/v1/deployments/default/revisions", headers=deployments.headers).json()["items"]
    assert [revision["generation"] for revision in revisions] == list(range(8, 0, -1))
    assert sorted(revision["spec"]["max_queue"] for revision in revisions) == list(range(1, 9))


def test_generations_are_listed_newest_first_in_pages(deployments, registry):
    model = registry.register()
    for queue in (1, 2, 3):
        deployments.put("default", model, max_queue=queue)
    first = deployments.http.get("/v1/deployments/default/revisions?limit=2", headers=deployments.headers).json()
    assert [each["generation"] for each in first["items"]] == [3, 2]
    params = {"limit": 2, "cursor": first["next_cursor"]}
    second = deployments.http.get("/v1/deployments/default/revisions", params=params, headers=deployments.headers).json()
    assert [each["generation"] for each in second["items"]] == [1]
    assert second["next_cursor"] is None
    wrong = deployments.http.get("/v1/deployments/default/revisions?cursor=WyJ4Il0", headers=deployments.headers)
    assert wrong.status_code == 422


def test_deployments_are_listed_newest_first_in_pages(deployments, registry):
    model = registry.register()
    for name in ("a", "b", "c"):
        deployments.put(name, model)
    first = deployments.http.get("/v1/deployments?limit=2", headers=deployments.headers).json()
    assert [each["name"] for each in first["items"]] == ["c", "b"]
    params = {"cursor": first["next_cursor"]}
    second = deployments.http.get("/v1/deployments", params=params, headers=deployments.headers).json()
    assert [each["name"] for each in second["items"]] == ["a"]


def test_a_rollback_serves_the_very_version_that_an_alias_named_then_and_stops_following(deployments, registry):
    first, second = registry.register(0), registry.register(1)
    alias = registry.promote(first)
    deployments.put("default", alias, follow_aliases=True)
    registry.promote(second)
    deployments.put("default", alias, follow_aliases=True)
    back = deployments.rollback("default").json()
    assert (back["generation"], back["reason"]) == (3, "rollback to 1")
    assert (back["versions"][0]["model"], back["spec"]["follow_aliases"]) == (first, False)
    deployments.converge()
    assert deployments.services.table.get("default").choose(None).model == first


def test_a_repeated_rollback_is_answered_as_the_first(deployments, registry):
    model = registry.register()
    for queue in (1, 2, 3):
        deployments.put("default", model, max_queue=queue)
    first = deployments.rollback("default", 1, key="k")
    again = deployments.rollback("default", 1, key="k")
    assert first.content == again.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert deployments.read("default")["generation"] == 4
    assert deployments.rollback("default", 2, key="k").status_code == 409


@pytest.mark.parametrize("generation", [None, 2, 2**31])
def test_a_rollback_to_a_generation_that_never_was_is_refused(deployments, registry, generation):
    deployments.put("default", registry.register())
    answer = deployments.rollback("default", generation)
    assert answer.status_code == (422 if generation == 2**31 else 404)
    assert deployments.rollback("nothing").status_code == 404


def test_a_deleted_deployment_is_served_no_more_and_its_name_is_free(deployments, registry):
    deployments.serve("default", registry.register(0))
    path = "/v1/deployments/default"
    assert deployments.http.delete(path, headers=deployments.headers | {"If-Match": '"2"'}).status_code == 412
    assert deployments.http.delete(path, headers=deployments.headers).status_code == 204
    assert deployments.http.delete(path, headers=deployments.headers).status_code == 404
    deployments.converge()
    assert deployments.services.table.all() == []
    other = registry.register(1)
    assert deployments.put("default", other).status_code == 201
    deployments.converge()
    assert deployments.services.table.get("default").choose(None).model == other


def test_viewers_read_and_change_nothing(deployments, registry, viewer):
    deployments.put("default", registry.register())
    assert deployments.http.get("/v1/deployments/default", headers=viewer).status_code == 200
    assert deployments.http.put("/v1/deployments/default", json={}, headers=viewer).status_code == 403
    assert deployments.http.post("/v1/deployments/default/rollback", json={}, headers=viewer).status_code == 403
    assert deployments.http.delete("/v1/deployments/default", headers=viewer).status_code == 403
    assert deployments.http.get("/v1/deployments").status_code == 401


def test_whoever_waits_is_answered_when_it_is_served_or_has_failed(deployments, registry):
    model = registry.register()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            deployments.http.put,
            "/v1/deployments/default?wait_s=30",
            json={"versions": [{"model": model}]},
            headers=deployments.headers,
        )
        while not deployments.http.get("/v1/deployments", headers=deployments.headers).json()["items"]:
            pass
        deployments.converge()
        assert waiting.result().json()["ready"] is True


def test_a_registry_that_is_away_is_no_reason_to_refuse_what_is_here(deployments, registry, jobs):
    model = registry.register()
    deployments.serve("default", model)
    jobs.stop()
    assert deployments.put("other", model).status_code == 201
    away = deployments.put("third", f"{registry.name}@champion")
    assert away.status_code == 503
    assert "Retry-After" in away.headers
