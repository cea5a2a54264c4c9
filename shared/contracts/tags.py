"""Tags of model versions in MLflow that say what a version is."""

from typing import Final

QUANTIZATION_TAG: Final = "picofleet.quantization"
"""Of a version whose network is quantized: fake_quant (for the sensor) or int8 (for CPUs)."""

PARENT_VERSION_TAG: Final = "picofleet.parent_version"
"""Of a version that was made out of another one, not trained: that one, as picosam2/3."""

PACKAGE_TAG: Final = "picofleet.package"
"""Of a version that is a package: digest of the signed tar. It holds no weights that another job could begin with."""

RELEASE_TAG: Final = "picofleet.release"
"""Of such a version: line and release, as picosam2/7."""
