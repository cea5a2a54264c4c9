"""One version of the toolchain on this machine: its paths, its lock, and how it is doing."""

import fcntl
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from shared.kit.toolchain import contents
from shared.kit.toolchain.errors import INSTALL_HINT, JavaMissing, ToolchainBusy, ToolchainMissing
from shared.kit.toolchain.java import LEAST_MAJOR, Java, find_java
from shared.kit.toolchain.pins import CONVERTER, PINNED, Pins
from shared.kit.toolchain.settings import ToolchainSettings

_ASK_S: Final = 60
_PLAIN: Final = re.compile(r"[A-Za-z0-9._/+=@,-]+")


def is_plain(folder: Path) -> bool:
    """True for a path that the converter can cope with: it hands paths to a shell unquoted."""
    return _PLAIN.fullmatch(str(folder)) is not None


class State(StrEnum):
    """How an installation is doing."""

    MISSING = "missing"
    BROKEN = "broken"
    """Begun and not finished, or damaged since."""
    READY = "ready"


class Mark(BaseModel):
    """``toolchain.json``: written last, so that an installation without it is half-made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str
    digest: str
    """Over the installed packages: see ``contents.digest``."""
    packages: dict[str, str]
    size_bytes: int
    installed_at: AwareDatetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An installation as it was found. ``mark`` is None unless it was finished once."""

    state: State
    trouble: str | None
    packages_fit: bool
    """All files of all pinned packages are there; only Java may be missing."""
    mark: Mark | None
    java: Java | None


@dataclass(frozen=True, slots=True)
class Ready:
    """A toolchain that can convert, with the Java it will use."""

    place: "Place"
    mark: Mark
    java: Java


@dataclass(frozen=True, slots=True)
class Place:
    """The folder in which one version of the toolchain lies, or would."""

    folder: Path
    java_home: Path | None = None
    """A Java that the machine's environment names, which comes first."""
    pins: Pins = PINNED

    @classmethod
    def of(cls, settings: ToolchainSettings) -> Self:
        """The pinned version's place below the settings' root."""
        return cls(settings.root() / f"imx500-{PINNED.version}", settings.java_home)

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.folder / "bin" / "python"

    @property
    def converter(self) -> Path:
        """The program ``imxconv-pt``."""
        return self.folder / "bin" / "imxconv-pt"

    @property
    def packages(self) -> Path:
        """The environment's site-packages."""
        base = {"base": str(self.folder), "platbase": str(self.folder)}
        return Path(sysconfig.get_path("purelib", "venv", vars=base))

    @property
    def mark(self) -> Path:
        """Facts about a finished installation."""
        return self.folder / "toolchain.json"

    @property
    def lock(self) -> Path:
        """Beside the folder, since the folder comes and goes."""
        return self.folder.with_name(f".{self.folder.name}.lock")

    def java(self) -> Java | None:
        """The Java that a conversion would use."""
        return find_java(self.packages, self.java_home)

    def status(self) -> Status:
        """How the installation is doing. Starts ``java``, not the converter: about half a second."""
        mark, java = self._mark(), self.java()
        missing = mark is None and not self.folder.exists()
        damage = None if missing else self._damage(mark)
        fits = not missing and damage is None
        trouble = damage or (f"there is no Java {LEAST_MAJOR} or newer" if fits and java is None else None)
        state = State.MISSING if missing else State.BROKEN if trouble else State.READY
        return Status(state=state, trouble=trouble, packages_fit=fits, mark=mark, java=java)

    def ready(self) -> Ready:
        """What a conversion needs, after a quick look; ToolchainMissing or JavaMissing if it is not there."""
        mark = self._mark()
        damage = "it is not installed" if not self.folder.exists() else self._damage(mark)
        if mark is None or damage is not None:
            raise ToolchainMissing(
                f"{CONVERTER} {self.pins.version} cannot be used in {self.folder}: {damage}.", hint=INSTALL_HINT
            )
        java = self.java()
        if java is None:
            raise JavaMissing(
                f"There is no Java {LEAST_MAJOR} or newer, in which the converter runs.",
                hint=f"{INSTALL_HINT} It adds a Java of its own to the toolchain. Or install the machine's: on Debian, "
                "openjdk-17-jre-headless.",
            )
        return Ready(self, mark, java)

    def told_version(self) -> str | None:
        """What the converter says when it is asked for its version; None if it does not run. Takes one to three seconds."""
        try:
            command: list[str | Path] = [self.python, "-I", self.converter, "--version"]
            told = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        words = told.stdout.split()
        return words[-1] if told.returncode == 0 and words else None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it from being removed or repaired while the block runs. Any number of conversions may run side by side."""
        try:
            lock = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise ToolchainMissing(f"There is no toolchain in {self.folder}.", hint=INSTALL_HINT) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def alone(self, *, wait: bool) -> Iterator[None]:
        """Nobody converts, installs or removes while the block runs. ToolchainBusy if somebody does and ``wait`` is False."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        except BlockingIOError as exc:
            raise ToolchainBusy(
                f"The toolchain in {self.folder} is in use: somebody converts with it, or installs it.", hint="Wait for it."
            ) from exc
        finally:
            os.close(lock)

    def _mark(self) -> Mark | None:
        try:
            return Mark.model_validate_json(self.mark.read_bytes())
        except (OSError, ValidationError):
            return None

    def _damage(self, mark: Mark | None) -> str | None:
        if mark is None:
            return "its installation was not finished"
        if mark.packages != self.pins.packages:
            return f"it was made from other pins (converter {mark.version})"
        if not self.python.exists():  # a link to the Python that made the environment
            return f"its Python is gone: {self.python.resolve()}"
        return contents.trouble(self.packages, self.pins.packages)
