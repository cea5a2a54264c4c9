"""Where something was computed: what one needs to compute it again."""

import os
import platform
from importlib import metadata
from typing import Any


def environment_report() -> dict[str, Any]:
    """Python, platform, cores and every installed package with its version. Takes some tens of milliseconds."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "packages": installed_packages(),
    }


def installed_packages() -> dict[str, str]:
    """Version by name, sorted; the first on the path counts, as it does for imports."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        found.setdefault(distribution.metadata["Name"].lower(), distribution.version)
    return dict(sorted(found.items()))
