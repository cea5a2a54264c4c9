"""An agent in a process of its own, whose power is cut for good: `python child.py URL FOLDER KEYS FILE AT`.

Ends with 9 in place of change number AT of the disk; with 0 when there is nothing more to do.
"""

import os
import sys
from pathlib import Path
from random import Random

from services.camera.agent import Agent
from services.camera.disk import Disk
from tests.services.camera.conftest import some_settings
from tests.services.camera.doubles import FakeSensor


def main(url: str, folder: str, keys: str, at: int) -> None:
    seen = 0

    def cut(_step: str, _path: Path) -> None:
        nonlocal seen
        if seen == at:
            os._exit(9)
        seen += 1

    settings = some_settings(Path(folder), Path(keys), url=url)
    agent = Agent(settings, FakeSensor(), disk=Disk(cut), chance=Random(1))
    agent.begin()
    for _ in range(3):
        agent._poll_at = 0.0
        agent.turn()
    sys.stdout.write(agent.sensor.package or "nothing")
    agent.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
