"""What a packaging job has in its hands before it writes the package."""

from dataclasses import dataclass

from shared.contracts.packages import MemoryFigures, NetworkIntrinsics
from shared.contracts.packaging import PackagingSpec
from shared.picosam.golden import Frames
from workers.packaging.converter import Conversion
from workers.packaging.history import History
from workers.packaging.inputs import SensorModel
from workers.packaging.memory_report import MemoryReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """All parts. Equal parts give equal packages."""

    spec: PackagingSpec
    model: SensorModel
    conversion: Conversion
    frames: Frames
    golden_data: str
    """Where the frames are from: dataset/split@digest."""
    intrinsics: NetworkIntrinsics
    history: History


def memory_figures(report: MemoryReport) -> MemoryFigures:
    """The converter's report as the manifest has it."""
    return MemoryFigures(
        runtime_bytes=report.runtime_bytes,
        model_bytes=report.model_bytes,
        reserved_bytes=report.reserved_bytes,
        used_bytes=report.used_bytes,
        available_bytes=report.available_bytes,
    )
