"""What the installed packages consist of: whether all of it is there, and one digest over it."""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackagePath, distributions
from pathlib import Path


def digest(packages: Path, pins: Mapping[str, str]) -> str:
    """sha256 over name, version and every file of the pinned packages in the folder ``packages``. Reads all of it: seconds.

    Equal on two machines exactly if the packages' files are. Left out: compiled Python files, scripts (the folder's path is
    in them) and pip's notes about the installation.
    """
    total = hashlib.sha256()
    for name, distribution in sorted(_installed(packages).items()):
        if name in pins:
            total.update(f"{name}=={distribution.version}\n".encode())
            for path in sorted(_own_files(distribution), key=str):
                total.update(f"{path}\0{_file_sha256(Path(str(path.locate())))}\n".encode())
    return f"sha256:{total.hexdigest()}"


def trouble(packages: Path, pins: Mapping[str, str]) -> str | None:
    """The first thing that is wrong: a package or a file that is missing or of another version or size. None if all is well.

    Opens nothing but the packages' lists of files, so it takes a fraction of a second.
    """
    installed = _installed(packages)
    for name, version in pins.items():
        distribution = installed.get(name)
        if distribution is None:
            return f"the package {name} is missing"
        if distribution.version != version:
            return f"{name} is there in version {distribution.version}, not {version}"
        for path in distribution.files or []:
            if path.size is not None and _size(Path(str(path.locate()))) != path.size:
                return f"{path} is missing or has another size than it should"
    return None


def size_bytes(folder: Path) -> int:
    """Of all files below ``folder``, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def normalised(name: str) -> str:
    """A package's name as registries compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def _installed(packages: Path) -> dict[str, Distribution]:
    return {normalised(found.metadata["Name"]): found for found in distributions(path=[str(packages)])}


def _own_files(distribution: Distribution) -> Iterator[PackagePath]:
    for path in distribution.files or []:
        outside = path.parts[0] == ".."
        if path.hash is not None and not outside and not path.parts[0].endswith(".dist-info") and path.suffix != ".pyc":
            yield path


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
