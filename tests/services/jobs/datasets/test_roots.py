"""Paths are only accepted below the configured roots, whatever links and dots they go through."""

import pytest

from services.jobs.datasets import roots
from services.jobs.datasets.errors import PathRefused
from shared.contracts.datasets import SplitSource


@pytest.fixture
def allowed(tmp_path):
    (tmp_path / "allowed" / "coco").mkdir(parents=True)
    (tmp_path / "allowed" / "coco" / "train.json").write_text("{}")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.json").write_text("{}")
    return tmp_path / "allowed"


def refused(call, *arguments):
    with pytest.raises(PathRefused) as caught:
        call(*arguments)
    return caught.value.members["errors"][0]


def a_split(images=".", annotations="train.json"):
    return [SplitSource(split="train", images=images, annotations=annotations)]


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}", "{}/", "{}/../coco", "{}/."])
def test_a_folder_below_a_root_is_accepted_by_its_real_path(allowed, form):
    assert roots.folder_of(form.format(allowed / "coco"), [str(allowed)]) == allowed / "coco"


def test_the_root_itself_and_roots_given_as_urls_are_accepted(allowed):
    assert roots.folder_of(str(allowed), [allowed.as_uri()]) == allowed


def test_spaces_in_urls_are_unquoted(allowed):
    (allowed / "my data").mkdir()
    assert roots.folder_of((allowed / "my data").as_uri(), [str(allowed)]) == allowed / "my data"


@pytest.mark.parametrize(
    "form",
    [
        "{}/../outside",
        "/etc",
        "/",
        "{}/coco/../../outside",
        "file://{}/../outside",
        "file://{}/%2e%2e/outside",
        "{}x",
    ],
)
def test_folders_elsewhere_are_refused(allowed, form):
    assert "not below" in refused(roots.folder_of, form.format(allowed), [str(allowed)])["message"]


@pytest.mark.parametrize(
    "root",
    [
        "coco",
        "./coco",
        "~/coco",
        "s3://bucket/x",
        "http://host/x",
        "file://host/data",
        "file:/data",
        "/da\0ta",
        "file:///a%00b",
        "",
    ],
)
def test_what_is_no_absolute_local_path_is_refused(allowed, root):
    assert "neither an absolute path" in refused(roots.folder_of, root, [str(allowed)])["message"]


def test_a_link_that_leads_out_is_refused(allowed, tmp_path):
    (allowed / "link").symlink_to(tmp_path / "outside")
    (allowed / "deep").symlink_to(allowed / "link")
    for name in ("link", "deep"):
        assert "not below" in refused(roots.folder_of, str(allowed / name), [str(allowed)])["message"]


def test_a_link_that_stays_inside_and_a_root_that_is_a_link_are_fine(allowed, tmp_path):
    (allowed / "alias").symlink_to(allowed / "coco")
    (tmp_path / "mount").symlink_to(allowed)
    assert roots.folder_of(str(allowed / "alias"), [str(tmp_path / "mount")]) == allowed / "coco"


def test_a_loop_of_links_is_refused(allowed):
    (allowed / "a").symlink_to(allowed / "b")
    (allowed / "b").symlink_to(allowed / "a")
    refused(roots.folder_of, str(allowed / "a"), [str(allowed)])


def test_outside_nothing_is_told_of_what_exists(allowed, tmp_path):
    there = refused(roots.folder_of, str(tmp_path / "outside"), [str(allowed)])
    missing = refused(roots.folder_of, str(tmp_path / "missing"), [str(allowed)])
    assert there["message"].replace(f"{tmp_path}/outside", f"{tmp_path}/missing") == missing["message"]


def test_inside_a_missing_folder_and_a_file_are_told_apart_from_refusals(allowed):
    for name in ("missing", "coco/train.json"):
        assert "not a folder" in refused(roots.folder_of, str(allowed / name), [str(allowed)])["message"]


def test_without_roots_every_folder_is_refused_with_what_to_do(allowed):
    assert "PICOFLEET_JOBS_DATASET_ROOTS" in refused(roots.folder_of, str(allowed), [])["hint"]


def test_splits_inside_are_accepted(allowed):
    roots.check_splits(allowed / "coco", a_split(), [str(allowed)])


@pytest.mark.parametrize("path", ["../outside/secret.json", "/etc/passwd", "a/../../x", "..", "a\\..\\b"])
def test_split_paths_with_dots_or_roots_are_refused(allowed, path):
    for split, field in ((a_split(images=path), "images"), (a_split(annotations=path), "annotations")):
        error = refused(roots.check_splits, allowed / "coco", split, [str(allowed)])
        assert error["field"] == f"body.source.splits.0.{field}"


def test_split_links_may_lead_to_other_allowed_folders_only(allowed, tmp_path):
    (allowed / "shared.json").write_text("{}")
    (allowed / "coco" / "in.json").symlink_to(allowed / "shared.json")
    (allowed / "coco" / "out.json").symlink_to(tmp_path / "outside" / "secret.json")
    roots.check_splits(allowed / "coco", a_split(annotations="in.json"), [str(allowed)])
    refused(roots.check_splits, allowed / "coco", a_split(annotations="out.json"), [str(allowed)])


def test_a_missing_split_file_is_named(allowed):
    assert "does not exist" in refused(roots.check_splits, allowed / "coco", a_split(images="nope"), [str(allowed)])["message"]


def test_a_name_that_is_too_long_is_refused(allowed):
    refused(roots.folder_of, str(allowed / ("x" * 5000)), [str(allowed)])
    refused(roots.check_splits, allowed / "coco", a_split(images="x" * 1000), [str(allowed)])


def test_a_folder_that_cannot_be_read_is_not_a_crash(allowed):
    (allowed / "locked").mkdir(mode=0)
    assert roots.folder_of(str(allowed / "locked"), [str(allowed)]) == allowed / "locked"
