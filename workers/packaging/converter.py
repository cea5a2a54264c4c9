"""Runs Sony's converter on a quantized network: progress, limits, and what came out or why nothing did."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.contracts.jobs import Progress
from shared.contracts.packages import CONVERTED
from shared.kit.packages.converted import PARAMETERS, Converted, Network, read_converted, read_parameters
from shared.kit.packages.errors import PackageUnreadable
from shared.kit.toolchain.errors import ToolchainError
from shared.kit.toolchain.place import Place, Ready, is_plain
from workers.harness.context import Stopped
from workers.harness.errors import JobFailed
from workers.packaging import errors
from workers.packaging.conversion_log import Listener, LogLine
from workers.packaging.guarded import End, Ended, run
from workers.packaging.memory_report import MemoryReport, parse_size, read_memory_report
from workers.packaging.network_file import NetworkFile, read_network, some

_NETWORK: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_HEAP_SHARE: Final = 0.5
"""Of the memory limit: the rest is for Java itself, a second Java that waits for the first, and Python."""
_JAVA_OPTIONS: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError")
"""The first two suit five Javas that live for seconds, on few cores: PicoSAM2 takes 68 instead of 112 s and 1.2 instead of
2.3 GB, with the same output. The third keeps them from leaving files in /tmp. The last one because the converter's back end
catches that error and then says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be chosen about a conversion."""

    input_persistency: bool = True
    """The camera can read the input beside the outputs; costs the input's size in the sensor's memory."""
    report_only: bool = False
    """Only the memory report and the description of the tensors, in a third of the time."""
    max_memory_utilization: float = 1.0
    """The largest share of the sensor's memory that the network may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the converter may use of this machine."""

    seconds: float = 900
    memory_bytes: int = 3 * 1024**3
    """Resident, of all its processes together. PicoSAM2 needs 1.2 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What came out. ``output`` is None if only a report was asked for."""

    memory: MemoryReport
    networks: tuple[Network, ...]
    output: Converted | None
    folder: Path
    """packerOut.zip, dnnParams.xml and the memory report, as the converter wrote them."""
    converter: str
    toolchain_digest: str
    java: str
    seconds: float
    peak_bytes: int


def convert(
    place: Place,
    model: Path,
    folder: Path,
    *,
    network: str,
    layers: Iterable[str] = (),
    options: Options = Options(),
    limits: Limits = Limits(),
    stop_requested: Callable[[], bool],
    report: Callable[[Progress], None],
    say: Callable[[LogLine], None],
) -> Conversion:
    """Converts ``model``, an ONNX file with the toolkit's quantizers, into a new ``folder``, which appears whole or not at all.

    ``network`` is the network's name on the sensor and part of the output; ``layers`` are the names of the float network's
    modules, for messages. ``Stopped`` within a second of a cancel; else JobFailed with the kinds of ``errors``. Call it from a
    thread that lives on: the converter ends with it.
    """
    if not _NETWORK.fullmatch(network):
        raise ValueError(f"a network's name is a letter, then letters, digits and underscores, not {network!r}")
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    found = read_network(model, layers)
    with _ready(place) as toolchain, _work_folder(folder) as work:
        listener = Listener(on_stage=report, on_message=say, report_only=options.report_only)
        ended = _run(toolchain, found, work, network, options, limits, stop_requested, listener)
        memory = _judged(ended, listener, work.out, found, options, limits)
        networks, output = _output(work.out, options)
        conversion = Conversion(
            memory=memory,
            networks=networks,
            output=output,
            folder=folder,
            converter=toolchain.mark.version,
            toolchain_digest=toolchain.mark.digest,
            java=toolchain.java.version,
            seconds=ended.seconds,
            peak_bytes=ended.peak_bytes,
        )
        listener.finished()
        work.out.rename(folder)
        return conversion


def _output(out: Path, options: Options) -> tuple[tuple[Network, ...], Converted | None]:
    """The tensors, and what was packed. JobFailed (``bad_converter_output``) names what is wrong with it."""
    try:
        networks = read_parameters((out / PARAMETERS).read_bytes())
        return networks, None if options.report_only else read_converted(out / CONVERTED)
    except (OSError, PackageUnreadable) as exc:
        raise errors.bad_output(str(exc)) from exc


@dataclass(frozen=True, slots=True)
class _Work:
    """Folders of one conversion, all gone after it but ``out``, which moves to its place.

    Their paths have no spaces or the like: the converter hands them to a shell unquoted.
    """

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"


@contextmanager
def _work_folder(target: Path) -> Iterator[_Work]:
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=".conversion-"))
    try:
        with _plain_path(folder) as plain:
            work = _Work(plain)
            work.temporary.mkdir()
            yield work
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _plain_path(folder: Path) -> Iterator[Path]:
    """The folder under a path that a shell takes for one word: its own, else by a link among the temporary files."""
    if is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="picofleet-") as temporary:
        if not is_plain(Path(temporary)):
            raise errors.odd_folder(Path(temporary).parent)
        link = Path(temporary) / "work"
        link.symlink_to(folder)
        yield link


@contextmanager
def _ready(place: Place) -> Iterator[Ready]:
    try:
        with place.in_use():
            yield place.ready()
    except ToolchainError as exc:
        raise errors.toolchain_failed(exc) from exc


def _run(
    toolchain: Ready,
    found: NetworkFile,
    work: _Work,
    network: str,
    options: Options,
    limits: Limits,
    stop_requested: Callable[[], bool],
    listener: Listener,
) -> Ended:
    # The file's name becomes the network's, so it is not what the file happens to be called.
    source = work.folder / f"{network}.onnx"
    found.write_for_converter(source)
    command: list[str | Path] = [toolchain.place.python, "-I", toolchain.place.converter, "-i", source, "-o", work.out]
    command += ["--overwrite-output", "--logger-format", "json", "--report-size-unit", "B"]
    command += ["--input-persistency" if options.input_persistency else "--no-input-persistency"]
    command += ["--memory-report"] if options.report_only else []
    return run(
        command,
        env=_environment(toolchain, work, limits),
        folder=work.folder,
        seconds=limits.seconds,
        memory_bytes=limits.memory_bytes,
        stop_requested=stop_requested,
        on_line=listener.hear,
    )


def _environment(toolchain: Ready, work: _Work, limits: Limits) -> dict[str, str]:
    """All that the converter gets to see. Of ours it would inherit PYTHONPATH, and import our packages into its old ones."""
    heap = int(limits.memory_bytes * _HEAP_SHARE) >> 20
    java_options = [f"-Xmx{heap}m", *_JAVA_OPTIONS, f'-Djava.io.tmpdir="{work.temporary}"']
    return {
        "PATH": os.pathsep.join([str(toolchain.place.python.parent), str(toolchain.java.path.parent), "/usr/bin", "/bin"]),
        "JAVA_HOME": str(toolchain.java.home),
        "JAVA_TOOL_OPTIONS": " ".join(java_options),
        "HOME": str(work.temporary),
        "TMPDIR": str(work.temporary),
        "LANG": "C.UTF-8",
        "PYTHONNOUSERSITE": "1",
    }


def _judged(ended: Ended, listener: Listener, out: Path, found: NetworkFile, options: Options, limits: Limits) -> MemoryReport:
    """The memory report of a conversion that went well; ``Stopped`` or JobFailed for any other."""
    match ended.end:
        case End.CANCELLED:
            raise Stopped
        case End.TIME:
            raise errors.converter_timeout(ended.seconds, listener.stage)
        case End.MEMORY:
            raise errors.converter_out_of_memory(limits.memory_bytes, ended.peak_bytes)
    if (unsupported := listener.error("USOP")) is not None:
        operators = sorted(set(re.findall(r"\w+", unsupported.message.rpartition(":")[2])))
        raise errors.unsupported_operator(operators, some(found.places(operators)))
    if (restricted := listener.error("INVOP")) is not None:
        raise errors.restricted_operator(some(found.described(errors.faults_in(restricted.message))) or restricted.message)
    if (large := listener.error("ISM")) is not None:
        raise too_large(large.message, out, found.input_shape)
    if bits := errors.bits_in(line.message for line in listener.errors):
        raise errors.unsupported_bits(some(found.described(bits)))
    if listener.mentions("OutOfMemoryError"):
        raise errors.converter_out_of_memory(limits.memory_bytes, ended.peak_bytes)
    if ended.status != 0:
        raise errors.converter_crashed(ended.status, listener.reason)
    memory = read_memory_report(out)
    check_memory(memory, options.max_memory_utilization, found.input_shape)
    return memory


def check_memory(memory: MemoryReport, max_utilization: float, input_shape: Sequence[int]) -> None:
    """JobFailed: ``does_not_fit`` if the sensor lacks the memory, ``memory_limit_exceeded`` above the largest share."""
    if not memory.fits:
        raise errors.does_not_fit(memory.available_bytes, memory.used_bytes, input_shape)
    if memory.utilization > max_utilization:
        raise errors.above_limit(memory.utilization, max_utilization, memory.used_bytes)


def too_large(said: str, out: Path, input_shape: Sequence[int]) -> JobFailed:
    """``does_not_fit`` with the figures of the report in ``out``, which are exact, else those of the converter's message."""
    try:
        memory = read_memory_report(out)
    except JobFailed:
        memory = None
    if memory is not None and not memory.fits:
        return errors.does_not_fit(memory.available_bytes, memory.used_bytes, input_shape)
    sizes = errors.sizes_in(said)
    if sizes is None:
        return errors.converter_crashed(1, said)
    available, required = map(parse_size, sizes)
    return errors.does_not_fit(available, required, input_shape)
