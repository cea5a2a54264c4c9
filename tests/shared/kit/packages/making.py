"""What a small package is made of: everything that a package must have."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from shared.contracts.base import digest_of
from shared.contracts.packages import GoldenFrames, NetworkIntrinsics, PackageFacts


def some_facts(**changes: Any) -> PackageFacts:
    sizes = {"runtime_bytes": 2_290_000, "model_bytes": 1_260_000, "reserved_bytes": 1024, "used_bytes": 3_551_024}
    return PackageFacts.model_validate(
        {
            "model": {"name": "picosam2.imx500", "version": 3},
            "line": "picosam2",
            "release": 7,
            "minimum_agent": "0.1.0",
            "memory": sizes | {"available_bytes": 8_388_480},
            "converter": {"name": "imx500-converter", "version": "3.19.2", "digest": digest_of(b"toolchain")},
            "lineage": {"job": "01a20397-16a2-725e-8ae8-f32d8327209b", "git_commit": "703da65", "parent": "picosam2.imx500/3"},
        }
        | changes
    )


PARAMETERS = (Path(__file__).parent / "golden" / "dnnParams.xml").read_bytes()
"""As the converter writes them of PicoSAM2."""
STAMP = "Wed Nov 25 04:36:29 UTC 2026"


def parameters(scale: str = "0.00390625", sign: str = "unsigned") -> bytes:
    """With another input."""
    return PARAMETERS.replace(b'scale="0.00390625" format="unsigned"', f'scale="{scale}" format="{sign}"'.encode())


def a_converted_zip(*, stamp: str = STAMP, changes: dict[str, bytes | None] | None = None, **files: bytes) -> bytes:
    """A packerOut.zip with a manifest that fits; ``changes``: files set anew, or left out, after that."""
    packed = {"l2staticData.bin": b"\1\2" * 500, "verTable.txt": b"3.19", "dnnParams.xml": PARAMETERS} | files
    entries: dict[str, Any] = {"Release Version": "3.19.1", "Date Info": stamp}
    for name, content in packed.items():
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest().upper()
        entries[name] = {"LoadAddr": "NA", "File": name, "md5": md5, "Version": "3.19.1", "Size": len(content)}
    present = {**packed, "manifest.json": json.dumps(entries).encode(), **(changes or {})}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in present.items():
            if content is not None:
                archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def some_contents() -> dict[str, bytes | Path]:
    frames = GoldenFrames.model_validate(
        {
            "input": {"path": "golden/inputs.bin", "dtype": "uint8", "shape": [2, 8, 8, 3]},
            "output": {"path": "golden/outputs.bin", "dtype": "int8", "shape": [2, 8, 8]},
            "output_scale": 0.25,
        }
    )
    return {
        "packerOut.zip": a_converted_zip(),
        "memory_report.json": b'{"Fit In Chip": true}',
        "network_intrinsics.json": NetworkIntrinsics().model_dump_json().encode(),
        "reference.onnx": bytes(range(256)) * 4,
        "golden/golden.json": frames.model_dump_json().encode(),
        "golden/inputs.bin": bytes(range(192)) * 2,
        "golden/outputs.bin": bytes(range(64)) * 2,
        "model_card.md": b"# PicoSAM2\n\n![figures](card/figures.png)\n",
        "card/figures.png": b"\x89PNG",
        "ml-bom.json": json.dumps({"bomFormat": "CycloneDX"}).encode(),
    }
