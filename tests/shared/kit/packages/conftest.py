"""Signed packages and the keys they are signed with."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.packages import TrustedKeys
from shared.kit.packages.folder import write_package
from shared.kit.packages.keys import generate, read_trusted
from shared.kit.packages.signing import sign_package
from tests.shared.kit.packages.making import some_contents, some_facts


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key; the public one beside it."""
    path = tmp_path_factory.mktemp("keys") / "packages.pem"
    generate(path)
    return path


@pytest.fixture(scope="session")
def keys(key_file: Path) -> TrustedKeys:
    """A key list with that key."""
    return read_trusted(key_file.with_name("packages.pem.pub"))


@pytest.fixture(scope="session")
def signed_package(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Path:
    """A signed package. Read only: take `package` to change it."""
    folder = tmp_path_factory.mktemp("signed") / "package"
    write_package(folder, some_facts(), some_contents())
    sign_package(folder, key_file)
    return folder


@pytest.fixture
def package(signed_package: Path, tmp_path: Path) -> Path:
    """A signed package of the test's own."""
    return Path(shutil.copytree(signed_package, tmp_path / "package"))


@pytest.fixture
def signed(tmp_path: Path, key_file: Path) -> Callable[..., Path]:
    """Makes signed packages with other facts."""

    def make(**changes: Any) -> Path:
        folder = tmp_path / f"package-{len(list(tmp_path.iterdir()))}"
        write_package(folder, some_facts(**changes), some_contents())
        sign_package(folder, key_file)
        return folder

    return make
