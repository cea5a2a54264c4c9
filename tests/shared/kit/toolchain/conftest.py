"""A machine with or without Java, and an index of small wheels in the place of the registry."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.kit.toolchain.install import install
from shared.kit.toolchain.pins import Pins
from shared.kit.toolchain.place import Place
from tests.shared.kit.toolchain.wheels import fake_java, write_index


@pytest.fixture(scope="module")
def machine_java(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a JAVA_HOME of the given version."""

    def make(version: str) -> Path:
        home = tmp_path_factory.mktemp("java")
        (home / "bin").mkdir()
        (home / "bin" / "java").write_text(fake_java(version))
        (home / "bin" / "java").chmod(0o755)
        return home

    return make


@pytest.fixture
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose PATH has no Java."""
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pins]:
    """pip finds the small wheels and nothing else."""
    folder = tmp_path_factory.mktemp("registry") / "index"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")
        environment.setenv("PIP_FIND_LINKS", str(folder))
        yield write_index(folder)


@pytest.fixture
def place(tmp_path: Path, pins: Pins, machine_java: Callable[[str], Path]) -> Place:
    """Nothing is installed yet; the machine has a Java."""
    return Place(tmp_path / "toolchain" / "imx500-3.19.2", machine_java("17.0.15"), pins)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, pins: Pins, machine_java: Callable[[str], Path]) -> Place:
    """An installation, for tests that leave it whole."""
    made = Place(tmp_path_factory.mktemp("toolchain") / "imx500-3.19.2", machine_java("17.0.15"), pins)
    install(made, licence_accepted=True)
    return made
