"""``python -m services.inference``: migrate the database, then serve; ``migrate`` as argument stops after the first."""

import sys

from services.inference.app import create_app
from services.inference.migrate import upgrade
from services.inference.settings import InferenceSettings
from shared.kit.process import main

if __name__ == "__main__":
    sys.exit(main(InferenceSettings, create_app, upgrade, sys.argv[1:]))
