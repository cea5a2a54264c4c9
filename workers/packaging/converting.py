"""The conversion as a job sees it: progress that does not fall silent, log lines, and whether the output is as expected."""

import math
import re
import time
from dataclasses import dataclass, field
from typing import Final

from shared.contracts.jobs import Progress
from shared.contracts.packaging import PackagingSpec
from shared.kit.packages.converted import Tensor
from shared.kit.toolchain.place import Place
from shared.kit.toolchain.settings import ToolchainSettings
from shared.picosam.prompt import INPUT_SCALE
from shared.picosam.quantization.sensor_files import Quantizer
from workers.harness.context import JobContext
from workers.packaging.conversion_log import LogLine
from workers.packaging.converter import Conversion, Limits, Options, convert
from workers.packaging.errors import bad_output
from workers.packaging.inputs import SensorModel

_AGAIN_S: Final = 10.0
"""A stage takes up to minutes, and a job that is silent for long is taken for hung."""
_LEVELS: Final = {"warn": "warning", "error": "error"}


def convert_model(ctx: JobContext, spec: PackagingSpec, model: SensorModel) -> Conversion:
    """Run the converter. Stopped, JobFailed with the kinds of ``errors``."""
    told = _Told(ctx)
    limits = Limits(seconds=spec.converter.seconds, memory_bytes=spec.converter.memory_bytes)
    options = Options(
        input_persistency=spec.input_persistency,
        report_only=spec.dry_run,
        max_memory_utilization=spec.max_memory_utilization,
    )
    # Where the converter lies is a fact of the machine, as where its compilers do.
    return convert(
        Place.of(ToolchainSettings()),
        model.network,
        ctx.folder / f"converted-{ctx.attempt}",
        network=network_name(spec.line),
        layers=model.layers,
        options=options,
        limits=limits,
        stop_requested=told.stop_requested,
        report=told.report,
        say=told.say,
    )


def network_name(line: str) -> str:
    """What the sensor calls the network: the line in letters that the converter takes."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", line)
    return (plain if plain[0].isalpha() else f"n{plain}")[:63]


def check_tensors(conversion: Conversion, size: int, output: Quantizer) -> None:
    """That the sensor takes and gives what the reference model does. JobFailed if not: its golden frames would be worthless."""
    (network,) = conversion.networks
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise bad_output(f"{len(network.inputs)} inputs and {len(network.outputs)} outputs")
    _check(network.inputs[0], (3, size, size), INPUT_SCALE, signed=False)
    _check(network.outputs[0], (1, size, size), output.scale, signed=output.signed)


def _check(tensor: Tensor, shape: tuple[int, ...], step: float, *, signed: bool) -> None:
    as_expected = tensor.shape == shape and tensor.bits == 8 and tensor.signed == signed
    if not as_expected or not math.isclose(tensor.step, step):
        sort = "signed" if tensor.signed else "unsigned"
        raise bad_output(
            f"{tensor.name} has {tensor.bits} bits, {sort}, {tensor.step:g} per code, shape {tensor.shape}; the reference has "
            f"8 bits, {'signed' if signed else 'unsigned'}, {step:g} per code, shape {shape}"
        )


@dataclass(slots=True)
class _Told:
    """Hands on what the converter says."""

    ctx: JobContext
    _last: Progress | None = None
    _at: float = field(default_factory=time.monotonic)

    def report(self, progress: Progress) -> None:
        self._last, self._at = progress, time.monotonic()
        self.ctx.report(progress)

    def say(self, line: LogLine) -> None:
        level = _LEVELS.get(line.level)
        if level is not None:
            self.ctx.log(f"converter, {line.component}: {line.message}", level=level)

    def stop_requested(self) -> bool:
        if self._last is not None and time.monotonic() - self._at > _AGAIN_S:
            self.report(self._last)
        return self.ctx.stop_requested()
