"""`picofleet package` on packages that a real jobs service signed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.client.cli.packaging_view import show_packaging

Run = Callable[..., Any]


def test_packages_are_listed(run: Run, publish: Callable[[], int]) -> None:
    assert "No packages" in run("package", "list").err
    assert (publish(), publish()) == (1, 2)
    shown = run("package", "list", "picosam2").out
    assert "picosam2/2" in shown
    assert "picosam2.imx500/3" in shown
    assert [each["release"] for each in json.loads(run("package", "list", "--json").out)] == [2, 1]


def test_a_package_is_downloaded_and_verified_against_the_platform_s_keys(
    run: Run, publish: Callable[[], int], tmp_path: Path
) -> None:
    publish(), publish()
    older, newest = tmp_path / "older.tar", tmp_path / "newest.tar"
    ended = run("package", "download", "picosam2/1", "-o", str(older))
    assert (ended.code, ended.out.strip()) == (0, str(older)), ended.err
    assert "Verified: release 1 of picosam2" in ended.err
    assert run("package", "download", "picosam2", "-o", str(newest)).code == 0
    assert json.loads(run("package", "verify", str(newest), "--json").out)["release"] == 2
    refused = run("package", "verify", str(older), "--floor", "2")
    assert (refused.code, refused.out) == (1, "")
    assert "older than release 2" in refused.err


def test_the_platform_signs_returns(run: Run, publish: Callable[[], int], tmp_path: Path) -> None:
    publish(), publish()
    package, statement = tmp_path / "package.tar", tmp_path / "return.json"
    run("package", "download", "picosam2/1", "-o", str(package))
    ended = run("package", "allow-return", "picosam2", "--from", "2", "--to", "1", "--reason", "dim", "-o", str(statement))
    assert ended.code == 0, ended.err
    verified = run("package", "verify", str(package), "--floor", "2", "--statement", str(statement))
    assert verified.code == 0, verified.err
    assert "dim" in verified.out
    assert run("package", "allow-return", "picosam2", "--from", "9", "--to", "1", "--reason", "x", "-o", "y").code == 4


def test_what_was_changed_on_its_way_is_named(run: Run, publish: Callable[[], int], tmp_path: Path) -> None:
    publish()
    package = tmp_path / "package.tar"
    run("package", "download", "picosam2", "-o", str(package))
    content = bytearray(package.read_bytes())
    content[content.index(b"# PicoSAM2")] ^= 1
    package.write_bytes(content)
    ended = run("package", "verify", str(package))
    assert ended.code == 1
    assert "model_card.md" in ended.err


def test_what_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    assert run("package", "download", "picosam2/7", "-o", str(tmp_path / "x")).code == 4
    wrong = run("package", "download", "picosam2/newest")
    assert wrong.code == 2
    assert "LINE/RELEASE" in wrong.err
    assert not (tmp_path / "x").exists()


def test_a_packaging_needs_a_version_and_golden_frames(run_alone: Run) -> None:
    assert "picosam2.imx500/1" in run_alone("package", "create").err
    ended = run_alone("package", "create", "picosam2.imx500/1")
    assert ended.code == 2
    assert "--golden coco2017/val" in ended.err


def test_a_result_is_shown_with_memory_package_and_golden_frames(capfd: pytest.CaptureFixture[str]) -> None:
    memory = {"memory_used_bytes": 3.55 * 1024**2, "memory_available_bytes": 8 * 1024**2, "memory_utilization": 0.444}
    golden = {"golden_bgr": 0.54, "golden_contrast": 0.33, "golden_shift": 0.52}
    package = {"line": "picosam2", "release": 7, "package_bytes": 3_100_000, "signed_by": "4f0c"}
    show_packaging(memory | golden | package | {"model": "picosam2.imx500/3"})
    shown = capfd.readouterr().out
    for part in ("3.55 of 8.00 MB", "44.4%", "picosam2/7", "4f0c", "channels swapped 54.0%"):
        assert part in shown, part
    show_packaging(memory)
    assert "picosam2/7" not in capfd.readouterr().out
