"""The agent that runs on a camera: fetches packages, proves them, runs them, and tells how they fare.

Small on purpose: no torch, no server framework, no database. ONNX Runtime is imported by the simulated driver alone.
"""

from typing import Final

VERSION: Final = "0.1.0"
"""What a package's ``minimum_agent`` is compared with."""
