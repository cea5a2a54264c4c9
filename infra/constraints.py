"""Resolves what pyproject.toml asks for and writes the exact versions to constraints.txt.

``python -m infra.constraints`` keeps the versions already pinned where they still fit; ``--upgrade`` looks for newer ones.
torch stays where pyproject.toml and this file's ``KEPT`` put it: a looser range can pull several gigabytes of CUDA packages.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints.txt"
EXTRAS = ".[services,serving,openvino,signing,workers,embedded,dev]"
KEPT = ("torch==",)
BUILT_WITH = ("setuptools", "torch")
HEADER = "# Exact versions found to work together on Python 3.11. Made by `make constraints`; see CONTRIBUTING.md.\n"


def main() -> int:
    """Rewrite constraints.txt; exit code 1 if no set of versions fits."""
    kept = [pin for pin in PINS.read_text().splitlines() if "--upgrade" not in sys.argv or pin.startswith(KEPT)]
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "kept.txt"), Path(folder, "report.json")
        constraints.write_text("\n".join(kept) + "\n")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
        # Resolving sam2, which comes as source, runs its set-up, and that imports torch; as in `make install`.
        resolve = [*install, "--dry-run", "--ignore-installed", "--no-build-isolation", "--report", str(report)]
        for command in ([*install, *BUILT_WITH], [*resolve, "--editable", EXTRAS]):
            if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
                return 1
        resolved = json.loads(report.read_text())["install"]
    PINS.write_text(HEADER + "".join(sorted(f"{pin}\n" for pin in map(_pin, resolved) if not pin.startswith("picofleet=="))))
    return 0


def _pin(entry: dict[str, dict[str, str]]) -> str:
    # The local part (+cpu) names a build, not a version: pip would refuse the same release from another index.
    name, version = entry["metadata"]["name"], entry["metadata"]["version"]
    return f"{name.lower().replace('_', '-')}=={version.split('+')[0]}"


if __name__ == "__main__":
    sys.exit(main())
