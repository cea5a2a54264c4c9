"""Where the embedded platform keeps what: one folder, readable by its owner alone."""

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.embedded.errors import PlatformError

SOCKET_PATH_LIMIT: Final = 92
"""Bytes. The kernels allow 104 (macOS) and 108 (Linux) with the closing zero; supervisor first binds ``path.<pid>``."""


def default_home() -> Path:
    """PICOFLEET_HOME, else ``~/.picofleet``."""
    return Path(os.environ.get("PICOFLEET_HOME") or Path.home() / ".picofleet")


@dataclass(frozen=True, slots=True)
class Home:
    """The paths below one PICOFLEET_HOME."""

    path: Path

    @classmethod
    def at(cls, path: Path | str | None = None) -> "Home":
        """The home at ``path`` (default: ``default_home()``), with symbolic links resolved, so that one folder has one name."""
        resolved = Path(path or default_home()).expanduser().resolve()
        if any(ord(char) < 32 for char in str(resolved)):
            raise PlatformError(f"{str(resolved)!r} holds control characters.", hint="Choose another PICOFLEET_HOME.")
        return cls(resolved)

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """What is only true while the platform runs."""
        return self.path / "run"

    @property
    def plan(self) -> Path:
        """What each process is started with; holds secrets."""
        return self.run / "plan.json"

    @property
    def platform(self) -> Path:
        """URLs of a platform that came up; read by the command line."""
        return self.path / "platform.json"

    @property
    def keys(self) -> Path:
        """Secrets, one file each."""
        return self.path / "keys"

    @property
    def admin_key(self) -> Path:
        """The admin's API key."""
        return self.keys / "admin.key"

    @property
    def worker_key(self) -> Path:
        """The worker's API key."""
        return self.keys / "worker.key"

    @property
    def service_key(self) -> Path:
        """The API key with which the inference service reads the registry."""
        return self.keys / "service.key"

    @property
    def fleet_key(self) -> Path:
        """The API key with which the fleet service fetches packages, and the inference service moves rollouts."""
        return self.keys / "fleet.key"

    @property
    def package_key(self) -> Path:
        """The private key that signs packages."""
        return self.keys / "packages.pem"

    @property
    def redis_password(self) -> Path:
        """Without it any user of the machine could give commands to our Redis."""
        return self.keys / "redis.key"

    @property
    def datasets(self) -> Path:
        """A dataset root that always exists; `picofleet datasets fetch` writes here."""
        return self.path / "datasets"

    @property
    def socket(self) -> Path:
        """The supervisor's control socket; outside the home where its path would be too long for the kernel."""
        inside = self.run / "supervisor.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_LIMIT:
            return inside
        return runtime_folder() / f"{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:24]}.sock"

    def create(self) -> None:
        """Make the folders, for the owner alone."""
        try:
            for folder in (self.path, self.keys, self.logs, self.run, self.datasets):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.chmod(0o700)
        except OSError as exc:
            raise PlatformError(
                f"{self.path} cannot be used as PICOFLEET_HOME: {exc.strerror}.", hint="Name a folder that you may write to."
            ) from exc

    def log(self, program: str) -> Path:
        """The log file of a process."""
        return self.logs / f"{program}.log"

    def log_tail(self, program: str, lines: int = 15) -> list[str]:
        """The last lines a process wrote; empty if it wrote none."""
        try:
            with self.log(program).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 16_384))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` at a time; a second one waits for the first."""
        self.create()
        with (self.path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def runtime_folder() -> Path:
    """A folder with a short path, owned by this user alone; PlatformError if somebody else made it."""
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > 40:
        base = Path("/tmp")
    folder = base / f"picofleet-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PlatformError(
            f"{folder} is not a folder of yours alone.", hint="Remove it, or set TMPDIR to a folder of your own."
        )
    return folder
