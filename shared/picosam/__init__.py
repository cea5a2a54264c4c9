"""The ML core. Imports nothing of the platform but its contracts."""

import os

# Read by OpenMP when torch is loaded, so it has to be here. By default a thread that waits for the others spins: with other
# processes on the same two cores (services, a second trainer) it burns the time that the thread waited for would need.
# Measured there at a load of 10: 1.2 images/s spinning, 4.5 sleeping.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
