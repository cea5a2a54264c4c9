"""``python -m services.fleet``: migrate the database, then serve; ``migrate`` as argument stops after the first."""

import sys

from services.fleet.app import create_app
from services.fleet.migrate import upgrade
from services.fleet.settings import FleetSettings
from shared.kit.process import main

if __name__ == "__main__":
    sys.exit(main(FleetSettings, create_app, upgrade, sys.argv[1:]))
