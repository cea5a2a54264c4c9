"""What is fuzzed: each takes any bytes, and lets nothing out but the errors that its module promises."""

import io
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.contracts.packages import TrustedKeys
from shared.kit.packages import converted, tars
from shared.kit.packages.errors import PackageError
from shared.kit.packages.folder import check_files, read_manifest
from shared.kit.packages.golden import read_golden
from shared.kit.packages.verifying import verify
from shared.kit.rpk import reader
from shared.kit.rpk.errors import RpkError
from tests.fuzz.seeds import package_seeds, rpk_seeds, zip_seeds

MEMORY_FOLDER = Path("/dev/shm")


@dataclass(frozen=True)
class Target:
    name: str
    seeds: list[bytes]
    run: Callable[[bytes], None]


def targets() -> list[Target]:
    packages, key = package_seeds()
    keys = TrustedKeys(keys=[key])
    good = set(packages)
    return [
        Target("rpk", rpk_seeds(), read_rpk),
        Target("package", packages, lambda content: read_package(content, keys, good)),
        Target("converted", zip_seeds(), read_zip),
    ]


def read_rpk(content: bytes) -> None:
    with suppress(RpkError):
        found = reader.parse(content)
        reader.warnings(found)
        edited = reader.with_intrinsics(content, {"task": "segmentation"})
        assert reader.parse(edited).intrinsics == {"task": "segmentation"}
        assert reader.parse(edited).info == found.info


def read_package(content: bytes, keys: TrustedKeys, good: set[bytes]) -> None:
    """Reads what whoever made says, too: `inspect` shows it."""
    with _file(content) as path, suppress(PackageError), tars.opened(path) as folder:
        with suppress(PackageError):
            check_files(folder, read_manifest(folder))
        with suppress(PackageError):
            read_golden(folder)
        verified = verify(folder, keys)
        # Padding of the tar may change, and what gzip says of itself; no file of the package may.
        assert content in good or verified.digest == verify_first(good, keys)


def verify_first(good: set[bytes], keys: TrustedKeys) -> str:
    with _file(next(iter(good))) as path:
        return verify(path, keys).digest


def read_zip(content: bytes) -> None:
    with _file(content) as path, suppress(PackageError):
        converted.warnings(converted.read_converted(path))


class _file:
    """A file in memory that holds ``content``."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def __enter__(self) -> Path:
        handle, name = tempfile.mkstemp(dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None, prefix="picofleet-fuzz-")
        with os.fdopen(handle, "wb") as file:
            file.write(self._content.getbuffer())
        self._path = Path(name)
        return self._path

    def __exit__(self, *_: object) -> None:
        self._path.unlink()
