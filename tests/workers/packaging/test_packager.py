"""Where there is a packager. Sony's runs on aarch64 only: a script takes its place, and hands over a file like its."""

import pytest

from shared.contracts.packages import Classes, NetworkIntrinsics
from shared.kit.rpk import reader
from tests.shared.kit.rpk.making import an_rpk
from workers.harness.context import Stopped
from workers.harness.errors import JobFailed
from workers.packaging.packager import make_rpk

INTRINSICS = NetworkIntrinsics(classes=Classes(labels=["door"]))


@pytest.fixture
def packager(tmp_path, monkeypatch):
    """Puts a script on the PATH: ``packager('cp ... "$4/network.rpk"')``; the output folder is its fourth argument."""
    (tmp_path / "made.rpk").write_bytes(an_rpk())
    (tmp_path / "packerOut.zip").write_bytes(b"PK")

    def install(does):
        program = tmp_path / "bin" / "imx500-package"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nset -e\nmkdir -p "$4"\n{does}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))
        return tmp_path / "packerOut.zip"

    return install


def test_without_a_packager_the_camera_makes_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert make_rpk(tmp_path / "packerOut.zip", INTRINSICS, stop_requested=lambda: False) is None


def test_the_sensor_s_file_carries_our_intrinsics(packager, tmp_path):
    source = packager(f'[ "$1 $3" = "-i -o" ] && [ -f "$2" ] && cp {tmp_path}/made.rpk "$4/network.rpk"')
    made = make_rpk(source, INTRINSICS, stop_requested=lambda: False)
    told = reader.parse(made).intrinsics
    assert told["classes"] == {"labels": ["door"]}
    assert told["picofleet"]["input"]["scale"] == 1 / 256
    assert reader.parse(made).info == reader.read(tmp_path / "made.rpk").info


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("echo no licence; exit 3", "exit status 3 (itself) and said: no licence"),
        ("echo done", "network.rpk"),
        ('echo foreign > "$4/network.rpk"', "it said: nothing"),
    ],
)
def test_a_packager_that_makes_no_rpk_fails_the_job_in_its_own_words(packager, does, told):
    with pytest.raises(JobFailed) as failed:
        make_rpk(packager(does), INTRINSICS, stop_requested=lambda: False)
    assert failed.value.error.type == "packager_failed"
    assert told in failed.value.error.message
    assert "rpk: pending" in failed.value.error.hint


def test_a_cancel_ends_it(packager):
    with pytest.raises(Stopped):
        make_rpk(packager("/bin/sleep 60"), INTRINSICS, stop_requested=lambda: True)
