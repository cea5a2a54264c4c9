"""Why a network cannot be quantized. Each has a ``hint`` that says what to change."""

from typing import ClassVar


class QuantizationError(Exception):
    """Base of all of them; a job that ends with one is named after its class."""

    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or self.default_hint


class BadCalibration(QuantizationError):
    """The calibration windows are too few, or not what the network will see."""


class UnsupportedOperators(QuantizationError):
    """The network computes something that the toolkit cannot quantize for the sensor."""


class SizeOutOfReach(QuantizationError):
    """No choice of bit widths is small enough."""


class WrongInputFormat(QuantizationError):
    """The first quantizer is not the sensor's own format, so the sensor would feed the network another contrast."""


class UnfaithfulReference(QuantizationError):
    """The exported reference computes something else than the toolkit's network: a defect, never to be shipped."""

    default_hint = "This is a fault of the program or of a library's version, not of your settings: please report it."
