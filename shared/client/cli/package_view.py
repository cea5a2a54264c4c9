"""What `picofleet package inspect` shows."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.client.cli.cache import size
from shared.client.cli.common import err, escaped, out, plain, show_fields, table

if TYPE_CHECKING:
    from shared.contracts.packages import PackageManifest
    from shared.kit.packages.converted import Converted
    from shared.kit.packages.verifying import Verified
    from shared.kit.rpk.reader import Rpk


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found in a file; parts that it does not have are None."""

    kind: str
    manifest: "PackageManifest | None" = None
    signed: bool = False
    converted: "Converted | None" = None
    rpk: "Rpk | None" = None
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        found: dict[str, Any] = {"kind": self.kind, "warnings": self.warnings}
        if self.manifest is not None:
            found |= {"manifest": plain(self.manifest), "signed": self.signed}
        if self.converted is not None:
            found["converted"] = asdict(self.converted)
        if self.rpk is not None:
            found["rpk"] = asdict(self.rpk)
        return found


def looked_into(path: Path) -> Looked:
    """What is in a package, an rpk or a packerOut.zip. PackageError or RpkError."""
    from shared.kit.packages.converted import read_converted
    from shared.kit.packages.converted import warnings as converted_warnings
    from shared.kit.rpk.reader import read
    from shared.kit.rpk.reader import warnings as rpk_warnings

    start = b"" if path.is_dir() else _start(path)
    if start == b"PK\3\4":
        converted = read_converted(path)
        return Looked(kind="packerOut.zip", converted=converted, warnings=converted_warnings(converted))
    if path.is_dir() or (start != b"9464" and path.suffix != ".rpk"):
        return _package(path)
    rpk = read(path)
    return Looked(kind="network.rpk", rpk=rpk, warnings=rpk_warnings(rpk))


def _package(path: Path) -> Looked:
    from shared.contracts.packages import CONVERTED, RPK, SIGNATURE
    from shared.kit.packages.converted import read_converted
    from shared.kit.packages.converted import warnings as converted_warnings
    from shared.kit.packages.folder import check_files, listed, read_manifest
    from shared.kit.packages.tars import opened
    from shared.kit.rpk.reader import read
    from shared.kit.rpk.reader import warnings as rpk_warnings

    with opened(path) as folder:
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        files = listed(folder)
        converted = read_converted(files[CONVERTED])
        rpk = read(files[RPK]) if RPK in files else None
    found = converted_warnings(converted) + (rpk_warnings(rpk) if rpk else [])
    signed = SIGNATURE in files
    return Looked(kind="package", manifest=manifest, signed=signed, converted=converted, rpk=rpk, warnings=found)


def verified_fields(found: "Verified") -> dict[str, Any]:
    """What was verified, by name."""
    manifest = found.manifest
    return {
        "model": f"{manifest.model.name}/{manifest.model.version}",
        "line": manifest.line,
        "release": manifest.release,
        "digest": found.digest,
        "key": found.key_id,
        "returned_because": found.returned_by.reason if found.returned_by else None,
    }


def show(found: Looked) -> None:
    """For people."""
    if found.manifest is not None:
        _show_manifest(found.manifest, found.signed)
    if found.converted is not None:
        _show_converted(found.converted, files=found.manifest is None)
    if found.rpk is not None:
        _show_rpk(found.rpk)
    for text in found.warnings:
        err().print(f"[bold yellow]Warning:[/bold yellow] {escaped(text)}.")


def _show_manifest(manifest: "PackageManifest", signed: bool) -> None:
    memory = manifest.memory
    show_fields(
        [
            ("model", f"{manifest.model.name}/{manifest.model.version}"),
            ("line", f"{manifest.line}, release {manifest.release}"),
            ("agent", f"{manifest.minimum_agent} or newer"),
            ("rpk", manifest.rpk.value),
            ("memory", f"{size(memory.used_bytes)} of {size(memory.available_bytes)}, {memory.utilization:.0%}"),
            ("converter", f"{manifest.converter.name} {manifest.converter.version}, {manifest.converter.digest}"),
            ("made from", f"{manifest.lineage.parent}, by job {manifest.lineage.job}"),
            ("signature", "there; `picofleet package verify` says whose" if signed else "none"),
        ]
    )
    rows = [[escaped(file.path), size(file.size_bytes), file.digest] for file in manifest.files]
    out().print()
    out().print(table(["file", "size", "digest"], rows))


def _show_converted(converted: "Converted", *, files: bool) -> None:
    if files:
        show_fields([("converter", f"{converted.release}, {converted.stamp}"), ("contents", converted.content_digest)])
        rows = [[escaped(each.name), size(each.size_bytes)] for each in converted.files]
        out().print(table(["file", "size"], rows))
    for network in converted.networks:
        rows = [
            [
                escaped(tensor.name),
                direction,
                "x".join(map(str, tensor.shape)),
                f"{'int' if tensor.signed else 'uint'}{tensor.bits}",
                f"{tensor.step:.10g}",
            ]
            for direction, tensors in (("input", network.inputs), ("output", network.outputs))
            for tensor in tensors
        ]
        out().print(f"\nnetwork {escaped(network.name)}")
        out().print(table(["tensor", "", "shape", "codes", "scale"], rows))


def _show_rpk(rpk: "Rpk") -> None:
    blocks = rpk.blocks
    code = ", with authentication codes" if blocks.authenticated else ""
    show_fields(
        [
            ("version", blocks.version),
            ("blocks", f"{blocks.count}, {size(blocks.size_bytes)}{code}"),
            ("network id", rpk.info.network_id),
            ("registers", rpk.registers),
            ("files", ", ".join(rpk.files)),
            ("intrinsics", ", ".join(f"{key}: {value}" for key, value in (rpk.intrinsics or {}).items())),
        ]
    )
    for network in rpk.info.networks:
        out().print(f"\nnetwork {network.ordinal}: {network.width}x{network.height} {escaped(network.format)}")
        channels = [[each.name, f"{each.gain:g}", f"{each.offset:g}"] for each in network.channels]
        out().print(table(["channel", "times", "plus"], channels))
        outputs = [
            [str(number), str(each.elements), str(each.bytes_per_element), str(each.padding)]
            for number, each in enumerate(network.outputs)
        ]
        out().print(table(["output", "elements", "bytes each", "padding"], outputs))


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)
