"""What a packaging leaves behind: figures in MLflow, the job's result, and a line for the log."""

from pathlib import Path
from typing import Any, Final

from shared.contracts.packages import CONVERTED, MemoryFigures, PackageManifest
from shared.picosam.golden import Frames
from workers.packaging.converter import Conversion
from workers.packaging.made import memory_figures

FOLDER: Final = "package"
"""Of the run's artifacts: all of the package but the network itself, which the platform keeps as one signed file."""
LEFT_OUT: Final = frozenset({"packerOut.zip", "network.rpk", "reference.onnx"})


def memory_metrics(conversion: Conversion) -> dict[str, float]:
    """Of the sensor's memory and of the conversion, under the names that MLflow gets."""
    memory = memory_figures(conversion.memory)
    return {
        **{f"memory_{name}": float(size) for name, size in memory.model_dump().items()},
        "memory_utilization": memory.utilization,
        "converter_seconds": conversion.seconds,
        "converter_peak_bytes": float(conversion.peak_bytes),
    }


def package_metrics(manifest: PackageManifest, frames: Frames, tar: Path) -> dict[str, float]:
    """Of the package."""
    sizes = {file.path: float(file.size_bytes) for file in manifest.files}
    mistakes = {f"golden_{name}": share for name, share in frames.mistakes.items()}
    return {"package_bytes": float(tar.stat().st_size), "converted_bytes": sizes[CONVERTED], **mistakes}


def result(conversion: Conversion, model: str, metrics: dict[str, float]) -> dict[str, Any]:
    """The job's result."""
    memory = conversion.memory
    return {
        **metrics,
        "model": model,
        "fits": memory.fits,
        "input_persistent": memory.input_persistent,
        "converter": conversion.converter,
        "toolchain": conversion.toolchain_digest,
        "java": conversion.java,
    }


def told(memory: MemoryFigures) -> str:
    """The memory in a line."""
    used, available = (size / 1024**2 for size in (memory.used_bytes, memory.available_bytes))
    return f"{used:.2f} of {available:.2f} MB of the sensor's memory, {memory.utilization:.1%}"
