"""Facts about this worker that are stored with its jobs."""

import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

_LIBRARIES: Final = ("picofleet", "torch", "numpy", "onnx", "onnxruntime")
_REPOSITORY: Final = Path(__file__).resolve().parents[2]


def describe() -> dict[str, str]:
    """git_commit, host, device, python and the versions of the libraries that matter to a result."""
    facts = {"git_commit": git_commit(), "host": socket.gethostname(), "device": device(), "python": platform.python_version()}
    return facts | versions()


def versions() -> dict[str, str]:
    """Installed versions; a library that is absent is left out."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path = _REPOSITORY) -> str:
    """The checked-out commit, with ``+changes`` if tracked files differ from it; ``unknown`` outside a checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + "+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def device() -> str:
    """``cpu``, or the first accelerator's name. Asks the driver's files: importing torch would cost a second and 200 MB."""
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in information.read_text().splitlines():
            if line.startswith("Model:"):
                return line.split(":", 1)[1].strip()
    return "cpu"


def _git(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return ran.stdout.strip()
