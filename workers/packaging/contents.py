"""From all parts to the package's folder: unsigned, and with a number that the jobs service replaces."""

import json
from pathlib import Path
from typing import Final

from shared.contracts.packages import (
    CONVERTED,
    GOLDEN,
    INTRINSICS,
    MEMORY_REPORT,
    ML_BOM,
    MODEL_CARD,
    REFERENCE_MODEL,
    RPK,
    ConverterRecord,
    GoldenFrames,
    PackagedModel,
    PackageFacts,
    PackageLineage,
    PackageManifest,
    RawArray,
)
from shared.kit.packages.folder import write_package
from shared.kit.toolchain.pins import CONVERTER
from shared.picosam.golden import Frames
from workers.packaging.bill import bill_of
from workers.packaging.history import digests
from workers.packaging.intrinsics import as_file
from workers.packaging.made import Made, memory_figures
from workers.packaging.model_card import render
from workers.packaging.plots import memory_bar

STAMPS: Final = [f"{CONVERTED}: Date Info in its manifest.json", f"{CONVERTED}: the times of its entries"]
"""What differs when the same network is converted again."""
_UNNUMBERED: Final = 1
INPUTS: Final = "golden/inputs.bin"
OUTPUTS: Final = "golden/outputs.bin"


def write(made: Made, folder: Path, *, job: str, git_commit: str, rpk: bytes | None = None) -> PackageManifest:
    """Write the package into ``folder``, which must not be there yet. Equal arguments give equal bytes."""
    pictures = _pictures(made, folder.with_name(f"{folder.name}-pictures"))
    contents: dict[str, bytes | Path] = {
        CONVERTED: made.conversion.folder / CONVERTED,
        MEMORY_REPORT: next(made.conversion.folder.glob("*_MemoryReport.json")),
        INTRINSICS: as_file(made.intrinsics),
        REFERENCE_MODEL: made.model.reference,
        **golden_files(made.frames),
        MODEL_CARD: render(made, list(pictures)).encode(),
        ML_BOM: bill_of(made),
        **{f"pictures/{name}.png": path for name, path in pictures.items()},
    }
    if rpk is not None:
        contents[RPK] = rpk
    return write_package(folder, _facts(made, job, git_commit), contents)


def golden_files(frames: Frames) -> dict[str, bytes | Path]:
    """golden.json and the arrays that it names."""
    count, size = frames.windows.shape[:2]
    described = GoldenFrames(
        input=RawArray(path=INPUTS, dtype="uint8", shape=[count, size, size, 3]),
        output=RawArray(path=OUTPUTS, dtype="int8" if frames.codes.dtype == "int8" else "uint8", shape=[count, size, size]),
        output_scale=frames.step,
    )
    document = json.dumps(described.model_dump(mode="json"), indent=2) + "\n"
    return {GOLDEN: document.encode(), INPUTS: frames.windows.tobytes(), OUTPUTS: frames.codes.tobytes()}


def _pictures(made: Made, folder: Path) -> dict[str, Path]:
    memory = folder / "memory.png"
    memory_bar(memory_figures(made.conversion.memory), memory)
    return {"memory": memory, **made.history.pictures}


def _facts(made: Made, job: str, git_commit: str) -> PackageFacts:
    name, _, version = made.model.name.partition("/")
    conversion = made.conversion
    return PackageFacts(
        model=PackagedModel(name=name, version=int(version)),
        line=made.spec.line,
        release=_UNNUMBERED,
        minimum_agent=made.spec.minimum_agent,
        memory=memory_figures(conversion.memory),
        converter=ConverterRecord(
            name=CONVERTER, version=conversion.converter, digest=conversion.toolchain_digest, stamps=STAMPS
        ),
        lineage=PackageLineage(
            job=job,
            git_commit=git_commit,
            parent=made.model.name,
            datasets=digests(made.history.data, "train", "calibration")[:64],
        ),
    )
