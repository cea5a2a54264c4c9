"""Actions as users meet them."""

import pytest

from tests.services.fleet.rollouts.conftest import World


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"tick_s": 0.001})


@pytest.fixture
def world(services):
    return World(services)


@pytest.fixture
def read(client, viewer):
    return lambda path, **params: client.get(f"/v1/fleet{path}", headers=viewer, params=params)


def test_an_action_is_shown_with_all_that_happened(world, read):
    (camera,) = world.cameras(1)
    rollout = world.rollout(world.package())
    world.tick()
    world.answer("offered", "downloading", "running", message="as told")
    (action,) = world.actions(rollout)
    shown = read(f"/actions/{action.id}").json()
    assert (shown["camera"], shown["controller_id"], shown["rollout"], shown["package"]) == (
        camera,
        f"cam-{camera}",
        rollout,
        "picosam2/1",
    )
    assert [(step["state"], step["message"]) for step in shown["history"]] == [
        ("offered", "as told"),
        ("downloading", "as told"),
        ("running", "as told"),
    ]


@pytest.mark.parametrize("action_id", ["1", "9223372036854775807"])
def test_an_action_that_is_not_there_is_not_found(read, action_id):
    answer = read(f"/actions/{action_id}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/action-not-found")


@pytest.mark.parametrize("action_id", ["0", "-1", "9223372036854775808", "one", "1.5"])
def test_what_is_no_id_is_refused(read, action_id):
    assert read(f"/actions/{action_id}").status_code == 422


def test_a_camera_shows_what_it_had_to_do(world, read):
    (camera,) = world.cameras(1)
    for number in (1, 2, 3):
        world.run(world.rollout(world.package(f"a/{number}")))
    page = read(f"/cameras/{camera}/actions", limit=2).json()
    assert [each["package"] for each in page["items"]] == ["a/3", "a/2"]
    following = read(f"/cameras/{camera}/actions", limit=2, cursor=page["next_cursor"]).json()
    assert [each["package"] for each in following["items"]] == ["a/1"]
    assert following["next_cursor"] is None


def test_a_camera_that_is_not_there_and_a_cursor_that_is_none(world, read):
    assert read("/cameras/nobody/actions").status_code == 404
    (camera,) = world.cameras(1)
    assert read(f"/cameras/{camera}/actions", cursor="nonsense").status_code == 422
