"""How many processors this process may use: a container's quota is not what the machine has."""

import math
import os
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")


def usable_processors(root: Path = _ROOT) -> int:
    """The least of the processors that the process is bound to and its cgroup's quota, rounded up; at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quotas = [quota for quota in (_quota_v2(root), _quota_v1(root)) if quota is not None]
    return max(1, min([bound, *(math.ceil(quota) for quota in quotas)]))


def _quota_v2(root: Path) -> float | None:
    words = _read(root / "cpu.max").split()
    return _share(words[0], words[1]) if len(words) == 2 else None


def _quota_v1(root: Path) -> float | None:
    return _share(_read(root / "cpu" / "cpu.cfs_quota_us"), _read(root / "cpu" / "cpu.cfs_period_us"))


def _share(quota: str, period: str) -> float | None:
    """Processors; None without a limit (written as max or -1)."""
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
