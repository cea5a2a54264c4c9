"""Whether the network on the sensor is the right one, and answers as the package says it should."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.camera.driver import Driver, Frame, NotSupported
from services.camera.errors import SensorFailed
from shared.contracts.cameras import GoldenCheck
from shared.contracts.packages import CONVERTED, GoldenFrames, GoldenTolerance
from shared.kit.packages.converted import read_converted
from shared.kit.packages.folder import read_manifest
from shared.kit.packages.golden import Golden, agreement, passes, read_golden

_RANGES: Final = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a verified package says of its network."""

    network: str
    golden: Golden
    tolerance: GoldenTolerance

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an answer, without axes of length 1."""
        return tuple(size for size in self.golden.described.output.shape[1:] if size > 1)


def expected_of(package: Path) -> Expected:
    """PackageError where the package says it nowhere."""
    name = read_converted(package / CONVERTED).networks[0].name
    return Expected(network=name, golden=read_golden(package), tolerance=read_manifest(package).golden_tolerance)


def check_frames(frames: Iterable[Frame], expected: Expected, *, max_dnn_ms: float) -> None:
    """That the first frames after a load are answered by that network, in that shape, in time. SensorFailed."""
    times = []
    for frame in frames:
        if frame.output is None:
            continue
        if frame.network is not None and frame.network != expected.network:
            raise SensorFailed(f"the network on the sensor is {frame.network[:64]!r}, not {expected.network!r}")
        if frame.output.shape != expected.shape:
            raise SensorFailed(f"the output tensor has the shape {frame.output.shape}, not {expected.shape}")
        if not np.isfinite(frame.output).all():
            raise SensorFailed("the output tensor has values that are no numbers")
        times += [frame.dnn_ms] if frame.dnn_ms is not None else []
    if times and median(times) > max_dnn_ms:
        raise SensorFailed(f"the network takes {median(times):.1f} ms; more than {max_dnn_ms:g} ms is out of range")


def check_golden(driver: Driver, expected: Expected) -> GoldenCheck:
    """PASSED, or UNVERIFIED where the device takes no frames. SensorFailed where the answers differ."""
    golden = expected.golden
    inputs = np.frombuffer(golden.inputs, np.uint8).reshape(golden.described.input.shape)
    try:
        answers = driver.inject(inputs)
    except NotSupported:
        return GoldenCheck.UNVERIFIED
    found = codes_of(answers, golden.described)
    if len(found) != len(golden.outputs):
        raise SensorFailed(f"the answers to the golden frames have the shape {answers.shape}")
    if not passes(golden, found, expected.tolerance):
        tolerance = expected.tolerance
        share = agreement(golden.outputs, found, golden.described.output.dtype, tolerance.max_lsb)
        raise SensorFailed(
            f"the golden frames do not match: {share:.1%} of the codes are within {tolerance.max_lsb} of the reference "
            f"model's, {tolerance.min_share:.0%} must be"
        )
    return GoldenCheck.PASSED


def codes_of(answers: NDArray[Any], described: GoldenFrames) -> bytes:
    """Logits as the codes that they stand for."""
    low, high = _RANGES[described.output.dtype]
    codes = np.round(np.nan_to_num(answers) / described.output_scale) + described.output_zero_point
    clipped: NDArray[Any] = np.clip(codes, low, high).astype(described.output.dtype)
    return clipped.tobytes()
