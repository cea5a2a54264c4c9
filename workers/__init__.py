"""The work: one folder per kind of job, and the harness that runs them."""

# Before anything imports torch: it sets how OpenMP's threads wait for each other, which torch reads when it is loaded.
import shared.picosam  # noqa: F401
