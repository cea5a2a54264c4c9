"""Becomes one process of the plan: `python -m infra.embedded.launch NAME`. Run by the supervisor."""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Replace this process by the planned one; imports as little as possible, since every start pays for it."""
    plan = json.loads(Path(os.environ["PICOFLEET_SUPERVISOR_RUN"], "plan.json").read_text())
    program = plan["programs"][sys.argv[1]]
    os.chdir(program["directory"])
    os.execve(program["argv"][0], program["argv"], {**os.environ, **program["env"]})


if __name__ == "__main__":
    main()
