"""``python -m services.jobs``: migrate the database, then serve. ``python -m services.jobs migrate`` stops after the first."""

import sys

from services.jobs.app import create_app
from services.jobs.migrate import upgrade
from services.jobs.settings import JobsSettings
from shared.kit.process import main

if __name__ == "__main__":
    sys.exit(main(JobsSettings, create_app, upgrade, sys.argv[1:]))
