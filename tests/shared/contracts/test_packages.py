import json

import pytest
from pydantic import ValidationError

from shared.contracts.base import digest_of
from shared.contracts.packages import (
    ALWAYS_THERE,
    GoldenFrames,
    MemoryFigures,
    NetworkIntrinsics,
    PackageManifest,
    ReleaseStatement,
    TrustedKeys,
)


def a_manifest(**changes):
    files = [{"path": path, "digest": digest_of(path.encode()), "size_bytes": len(path)} for path in sorted(ALWAYS_THERE)]
    memory = dict.fromkeys(("runtime_bytes", "model_bytes", "reserved_bytes"), 1000) | {"used_bytes": 3000}
    return {
        "model": {"name": "picosam2.imx500", "version": 3},
        "line": "picosam2",
        "release": 7,
        "minimum_agent": "0.1.0",
        "rpk": "pending",
        "memory": memory | {"available_bytes": 8 * 1024**2},
        "converter": {"name": "imx500-converter", "version": "3.19.2", "digest": digest_of(b"")},
        "lineage": {"job": "01a20397", "git_commit": "unknown", "parent": "picosam2.imx500/3"},
        "files": files,
    } | changes


def test_what_a_newer_writer_adds_is_ignored_but_our_own_mistakes_are_not():
    told = a_manifest(mood="fine", model={"name": "picosam2.imx500", "version": 3, "colour": "red"})
    read = PackageManifest.model_validate_json(json.dumps(told))
    assert read == PackageManifest.model_validate(a_manifest())
    with pytest.raises(ValidationError, match="PackageManifest has no field mood"):
        PackageManifest.model_validate(told)
    with pytest.raises(ValidationError, match="PackagedModel has no field colour"):
        PackageManifest.model_validate(a_manifest(model=told["model"]))


def test_another_format_version_is_refused():
    with pytest.raises(ValidationError, match="format_version"):
        PackageManifest.model_validate_json(json.dumps(a_manifest(format_version=2)))


def test_agents_are_compared_by_number():
    manifest = PackageManifest.model_validate(a_manifest(minimum_agent="0.9.1"))
    assert [manifest.installable_by(agent) for agent in ("0.9.0", "0.9.1", "0.10.0")] == [False, True, True]


def with_files(change):
    files = a_manifest()["files"]
    change(files)
    return {"files": files}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (with_files(lambda files: files.reverse()), "not sorted"),
        (with_files(lambda files: files.append(files[-1])), "one path twice"),
        (with_files(lambda files: files.insert(0, files[-1] | {"path": "Reference.onnx"})), "differ in case only"),
        (with_files(lambda files: files.insert(1, files[0] | {"path": "manifest.json"})), "cannot hold its own digest"),
        (with_files(lambda files: files.pop(0)), "files lacks golden/golden.json"),
        ({"rpk": "included"}, "network.rpk is not there"),
        ({"release": 0}, "release"),
        ({"line": "Pico SAM"}, "line"),
        ({"minimum_agent": "new"}, "minimum_agent"),
    ],
    ids=["order", "twice", "case", "own", "lacking", "rpk", "release", "line", "agent"],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        PackageManifest.model_validate(a_manifest(**changes))


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", ".hidden", "a//b", "a\\b", "a b", "a/b/c/d/e", "x" * 65, ""])
def test_a_path_stays_in_the_package(path):
    files = [a_manifest()["files"][0] | {"path": path}]
    with pytest.raises(ValidationError, match="path"):
        PackageManifest.model_validate(a_manifest(files=files))


def test_a_network_that_does_not_fit_makes_no_package():
    figures = {"runtime_bytes": 0, "model_bytes": 0, "reserved_bytes": 0, "used_bytes": 10, "available_bytes": 8}
    with pytest.raises(ValidationError, match="needs 10 bytes, the chip has 8"):
        MemoryFigures.model_validate(figures)
    assert MemoryFigures.model_validate(figures | {"used_bytes": 4}).utilization == 0.5


def test_intrinsics_are_written_as_picamera2_reads_them():
    told = NetworkIntrinsics().model_dump(mode="json")
    assert told["task"] in ("classification", "object detection", "pose estimation", "segmentation")
    assert told["input_aspect_ratio"] == {"width": 1, "height": 1}
    assert told["classes"] == {"labels": ["object"]}
    assert told["picofleet"]["input"] == {"width": 96, "height": 96, "color_order": "RGB", "scale": 1 / 256}


def golden(**changes):
    array = {"path": "golden/inputs.bin", "dtype": "uint8", "shape": [8, 96, 96, 3]}
    output = {"path": "golden/outputs.bin", "dtype": "int8", "shape": [8, 96, 96]}
    return {"input": array, "output": output, "output_scale": 0.25} | changes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"input": golden()["input"] | {"dtype": "int8"}}, "not uint8"),
        ({"input": golden()["input"] | {"shape": [8, 3, 96, 96]}}, "not uint8"),
        ({"output": golden()["output"] | {"shape": [7, 96, 96]}}, "8 frames, but 7 answers"),
        ({"output": golden()["output"] | {"shape": [8, 4096, 4096]}}, "more than"),
        ({"output_scale": 0}, "output_scale"),
    ],
    ids=["dtype", "planes", "count", "size", "scale"],
)
def test_golden_frames_that_do_not_belong_together_are_refused(changes, told):
    assert GoldenFrames.model_validate(golden()).input.size_bytes == 221_184
    with pytest.raises(ValidationError, match=told):
        GoldenFrames.model_validate(golden(**changes))


def test_a_release_statement_goes_back_only():
    told = {"line": "picosam2", "from_release": 7, "reason": "masks too small", "issued_at": "2026-11-25T12:00:00Z"}
    assert ReleaseStatement.model_validate(told | {"to_release": 6}).to_release == 6
    with pytest.raises(ValidationError, match="release 7 is not older than 7"):
        ReleaseStatement.model_validate(told | {"to_release": 7})


def test_a_key_list_names_each_key_once():
    key = {"id": "0" * 16, "public_key": "PEM"}
    with pytest.raises(ValidationError, match="one id twice"):
        TrustedKeys.model_validate({"keys": [key, key]})
