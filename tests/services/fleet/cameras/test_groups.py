"""Groups: cameras by their labels."""

import threading
from concurrent.futures import ThreadPoolExecutor

NIGHT = {"selector": "site=berlin", "time_zone": "Europe/Berlin", "maintenance": [{"start": "22:30", "minutes": 240}]}


def test_a_group_counts_the_cameras_that_are_in_it_now(fleet):
    assert fleet.put("groups/berlin", NIGHT).json()["cameras"] == 0
    camera = fleet.register("a", labels={"site": "berlin"})
    fleet.register("b")
    assert fleet.get("groups/berlin").json()["cameras"] == 1
    assert fleet.found("groups/berlin/cameras") == ["a"]
    fleet.delete(f"cameras/{camera['id']}")
    assert fleet.get("groups/berlin").json()["cameras"] == 0


def test_new_is_201_and_the_same_again_changes_nothing(fleet):
    first, again = fleet.put("groups/berlin", NIGHT), fleet.put("groups/berlin", NIGHT)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["maintenance"][0]["start"] == "22:30:00"
    changed = fleet.put("groups/berlin", NIGHT | {"selector": ""}).json()
    assert (changed["selector"], changed["updated_at"] > first.json()["updated_at"]) == ("", True)
    assert [(event.type, event.actor) for event in fleet.events()] == [
        ("group.created", "a-operator"),
        ("group.changed", "a-operator"),
    ]


def test_cameras_of_the_old_and_the_new_selector_are_answered_anew(fleet):
    a, b = fleet.register("a", labels={"site": "berlin"}), fleet.register("b", labels={"site": "paris"})
    before = fleet.epoch(a), fleet.epoch(b)
    fleet.put("groups/g", NIGHT)
    assert (fleet.epoch(a), fleet.epoch(b)) == (before[0] + 1, before[1])
    fleet.put("groups/g", NIGHT | {"selector": "site=paris"})
    assert (fleet.epoch(a), fleet.epoch(b)) == (before[0] + 2, before[1] + 1)
    fleet.delete("groups/g")
    assert (fleet.epoch(a), fleet.epoch(b)) == (before[0] + 2, before[1] + 2)


def test_lists_come_by_name_and_in_pages(fleet):
    for name in ("c", "a", "b"):
        fleet.put(f"groups/{name}", {})
    first = fleet.get("groups", limit=2).json()
    rest = fleet.get("groups", limit=2, cursor=first["next_cursor"]).json()
    assert [item["name"] for item in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert fleet.get("groups", cursor="garbage").status_code == 422


def test_a_deleted_group_is_gone_and_its_cameras_stay(fleet):
    fleet.register("a", labels={"site": "berlin"})
    fleet.put("groups/berlin", NIGHT)
    assert fleet.delete("groups/berlin").status_code == 204
    assert fleet.found() == ["a"]
    for answer in (fleet.get("groups/berlin"), fleet.delete("groups/berlin"), fleet.get("groups/berlin/cameras")):
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/group-not-found")


def test_what_cannot_be_a_group_is_refused(fleet, viewer):
    for body, field in (
        ({"selector": "site=,,"}, "body.selector"),
        ({"selector": "x" * 1025}, "body.selector"),
        ({"time_zone": "Mars/Olympus"}, "body.time_zone"),
        ({"time_zone": "../../etc/passwd"}, "body.time_zone"),
        ({"maintenance": [{"start": "25:00", "minutes": 1}]}, "body.maintenance.0.start"),
        ({"maintenance": [{"start": "02:00+01:00", "minutes": 1}]}, "body.maintenance.0"),
        ({"maintenance": [{"start": "02:00", "minutes": 1441}]}, "body.maintenance.0.minutes"),
        ({"cameras": []}, "body.cameras"),
    ):
        answer = fleet.put("groups/g", body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), answer.text
    assert fleet.put("groups/Not A Name", {}).status_code == 422
    assert fleet.http.put("/v1/fleet/groups/g", json={}, headers=viewer).status_code == 403


def test_of_two_that_make_a_group_at_once_one_makes_it(fleet):
    barrier = threading.Barrier(4)

    def put(number):
        barrier.wait()
        return fleet.put("groups/g", {"description": str(number)}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(put, range(4))) == [200, 200, 200, 201]
