"""Images for swupdate are made of packages when they are imported, where the settings ask for them."""

import threading

import pytest
from pydantic import ValidationError

from services.fleet.app import build_services, create_app
from services.fleet.packages.swu import SwuMaker
from shared.kit.packages.errors import KeyFileRefused
from shared.kit.rpk.cpio import read_archive
from tests.shared.kit.packages.swu_keys import a_pair


@pytest.fixture
def pair(tmp_path):
    return a_pair(tmp_path / "swu")


@pytest.fixture
def settings(settings, pair):
    changes = {"swu_target_dir": "/var/lib/picofleet", "swu_key_file": pair[0], "swu_certificate_file": pair[1]}
    return type(settings).model_validate(settings.model_dump() | changes)


def test_an_import_has_the_package_and_its_image(packages):
    packages.published()
    files = packages.import_().json()["files"]
    assert [(file["filename"], file["format"]) for file in files] == [("picosam2-3.swu", "swu"), ("picosam2-3.tar", "package")]
    image = packages.get("/picosam2/3/file", filename="picosam2-3.swu").content
    tar = packages.get("/picosam2/3/file", filename="picosam2-3.tar").content
    assert read_archive(image).content("picosam2-3.tar") == tar
    assert packages.blobs() == sorted(file["sha256"] for file in files)


def test_both_files_go_with_the_package(packages):
    packages.published()
    packages.import_().raise_for_status()
    assert packages.delete().is_success
    assert packages.blobs() == []


@pytest.mark.parametrize("missing", ["swu_target_dir", "swu_key_file", "swu_certificate_file"])
def test_half_the_settings_are_refused(settings, missing):
    with pytest.raises(ValidationError, match="give all three, or none"):
        type(settings).model_validate(settings.model_dump() | {missing: None})


def test_without_the_settings_no_images_are_made(settings):
    none = dict.fromkeys(["swu_target_dir", "swu_key_file", "swu_certificate_file"])
    assert SwuMaker.of(settings.model_copy(update=none)) is None


def test_a_key_that_others_can_read_stops_the_service_at_its_start(settings, pair):
    pair[0].chmod(0o644)
    app = create_app(settings)
    with pytest.raises(KeyFileRefused, match="can be read by others"):
        build_services(settings, app.state.registry, lambda _: None, threading.Event())
