"""The ML core. Imports nothing of the platform but its contracts."""

import os

# Read by OpenMP when torch is loaded, so it has to be here. By default a thread that waits for the others spins for
# milliseconds: with other processes on the same two cores (services, a second trainer) it burns the time that the thread it
# waits for would need. Measured in images/s at a load of 10: 1.2 by default, 4.5 without spinning; on a quiet machine 124 by
# default, 100 without spinning, and all but as fast with this little of it.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
