"""Which packages make up the toolchain: exact versions, written by ``make toolchain-pins``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONVERTER: Final = "imx500-converter"
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Pins:
    """Two lists for pip: the converter with all that it needs, and a Java for machines without one."""

    converter: Path
    java: Path

    @property
    def packages(self) -> dict[str, str]:
        """Version by normalised name, of the converter and what it needs."""
        return dict(line.split("==") for line in self.converter.read_text().splitlines() if not line.startswith("#"))

    @property
    def version(self) -> str:
        """Of the converter, as 3.19.2."""
        return self.packages[CONVERTER]


PINNED: Final = Pins(_HERE / "imx500.txt", _HERE / "java.txt")
"""What is installed outside of tests."""
