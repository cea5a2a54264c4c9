"""`picofleet package` on real packages, rpk files and keys."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.kit.packages.folder import write_package
from shared.kit.packages.keys import generate
from shared.kit.packages.signing import sign_package
from shared.kit.packages.tars import pack
from shared.kit.rpk.reader import read
from tests.shared.kit.packages.making import a_converted_zip, parameters, some_contents, some_facts
from tests.shared.kit.rpk.making import an_info, an_rpk

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``package``, ``package.tar.gz`` and ``packages.pem``. Read only."""
    folder = tmp_path_factory.mktemp("signed")
    generate(folder / "packages.pem")
    write_package(folder / "package", some_facts(), some_contents() | {"network.rpk": an_rpk()})
    sign_package(folder / "package", folder / "packages.pem")
    pack(folder / "package", folder / "package.tar.gz", gzipped=True)
    return folder


@pytest.mark.parametrize("name", ["package", "package.tar.gz"])
def test_a_package_that_is_as_signed_is_verified(run_alone: Run, signed: Path, name: str) -> None:
    keys = str(signed / "packages.pem.pub")
    ended = run_alone("package", "verify", str(signed / name), "--keys", keys)
    assert ended.code == 0, ended.err
    assert "picosam2.imx500/3" in ended.out
    assert "each as it was signed" in ended.err
    told = json.loads(run_alone("package", "verify", str(signed / name), "--keys", keys, "--json").out)
    assert (told["line"], told["release"], told["returned_because"]) == ("picosam2", 7, None)


def test_keys_may_come_from_the_environment(run_alone: Run, signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICOFLEET_PACKAGE_KEYS", str(signed / "packages.pem.pub"))
    assert run_alone("package", "verify", str(signed / "package")).code == 0


@pytest.mark.parametrize("place", ["reference.onnx", "manifest.json", "model.sig", "golden/inputs.bin"])
def test_a_changed_file_is_named_and_is_exit_code_1(run_alone: Run, signed: Path, tmp_path: Path, place: str) -> None:
    package = shutil.copytree(signed / "package", tmp_path / "package")
    content = bytearray((package / place).read_bytes())
    content[len(content) // 2] ^= 1
    (package / place).write_bytes(content)
    ended = run_alone("package", "verify", str(package), "--keys", str(signed / "packages.pem.pub"), "--json")
    assert (ended.code, ended.out) == (1, "")
    told = json.loads(ended.err)
    assert place in told["error"]
    assert told["hint"]


def test_an_older_release_needs_a_signed_return(run_alone: Run, signed: Path, tmp_path: Path) -> None:
    verify = ["package", "verify", str(signed / "package"), "--keys", str(signed / "packages.pem.pub"), "--floor", "9"]
    refused = run_alone(*verify)
    assert refused.code == 1
    assert "allow-return" in refused.err
    statement = str(tmp_path / "return.json")
    reason = ["--reason", "masks too small", "--key", str(signed / "packages.pem"), "-o", statement]
    assert run_alone("package", "allow-return", "picosam2", "--from", "9", "--to", "7", *reason).code == 0
    ended = run_alone(*verify, "--statement", statement)
    assert ended.code == 0, ended.err
    assert "masks too small" in ended.out
    assert run_alone("package", "allow-return", "picosam2", "--from", "7", "--to", "9", *reason).code == 2


def test_what_is_in_a_package_is_shown(run_alone: Run, signed: Path) -> None:
    for name in ("package", "package.tar.gz"):
        ended = run_alone("package", "inspect", str(signed / name))
        assert ended.code == 0, ended.err
        for part in (
            "picosam2.imx500/3",
            "release 7",
            "42%",
            "golden/inputs.bin",
            "3x96x96",
            "uint8",
            "0.00390625",
            "96x96 RGB",
        ):
            assert part in ended.out, part
    told = json.loads(run_alone("package", "inspect", str(signed / "package"), "--json").out)
    assert told["signed"] is True
    assert told["manifest"]["release"] == 7
    assert told["converted"]["networks"][0]["inputs"][0]["scale"] == 1 / 256
    assert told["rpk"]["blocks"]["count"] == 2


def test_the_sensor_s_own_files_are_shown_with_warnings(run_alone: Run, tmp_path: Path) -> None:
    signed_input = {f"inputTensorNorm_K{row}3": "0x1800" for row in range(3)}
    (tmp_path / "network.rpk").write_bytes(an_rpk(**{"network_info.txt": an_info(**signed_input)}))
    ended = run_alone("package", "inspect", str(tmp_path / "network.rpk"))
    assert ended.code == 0
    assert "0314150000000000" in ended.out
    assert "-128" in ended.out
    assert "no mean and no std" in ended.err
    zipped = a_converted_zip(**{"dnnParams.xml": parameters("0.03125", "signed")})
    (tmp_path / "packerOut.zip").write_bytes(zipped)
    ended = run_alone("package", "inspect", str(tmp_path / "packerOut.zip"))
    assert "l2staticData.bin" in ended.out
    assert "1.8 times the contrast" in ended.err


@pytest.mark.parametrize("name", ["nothing.rpk", "nothing.tar", "nothing"])
def test_a_foreign_file_is_exit_code_2_and_no_trace(run_alone: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x7fELF" * 400)
    ended = run_alone("package", "inspect", str(tmp_path / name))
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    assert "Hint:" in ended.err


def test_keys_are_made_once_and_rotated(run_alone: Run, tmp_path: Path) -> None:
    keys, old, new = (str(tmp_path / name) for name in ("keys.json", "old.pem", "new.pem"))
    first = run_alone("package", "keygen", old, "--trust", keys, "--comment", "the first")
    assert first.code == 0
    assert (tmp_path / "old.pem").stat().st_mode & 0o777 == 0o600
    again = run_alone("package", "keygen", old)
    assert again.code == 2
    assert "never overwritten" in again.err
    second = run_alone("package", "keygen", new, "--trust", keys, "--retire-others-at", "2030-01-01", "--json")
    told = json.loads((tmp_path / "keys.json").read_text())["keys"]
    assert [key["id"] for key in told] == [first.out.strip(), json.loads(second.out)["id"]]
    assert [key["retired_at"] for key in told] == ["2030-01-01T00:00:00Z", None]
    assert told[0]["comment"] == "the first"
    assert run_alone("package", "keygen", str(tmp_path / "x.pem"), "--retire-others-at", "2030-01-01").code == 2
    assert not (tmp_path / "x.pem").exists()


def test_a_folder_is_signed_anew(run_alone: Run, signed: Path, tmp_path: Path) -> None:
    package = shutil.copytree(signed / "package", tmp_path / "package")
    keys, key = str(tmp_path / "keys.json"), str(tmp_path / "key.pem")
    run_alone("package", "keygen", key, "--trust", keys)
    assert run_alone("package", "verify", str(package), "--keys", keys).code == 1
    assert run_alone("package", "sign", str(package), "--key", key).code == 0
    assert run_alone("package", "verify", str(package), "--keys", keys).code == 0
    (tmp_path / "key.pem").chmod(0o644)
    ended = run_alone("package", "sign", str(package), "--key", key)
    assert ended.code == 2
    assert "chmod 600" in ended.err


def test_intrinsics_are_shown_and_changed(run_alone: Run, tmp_path: Path) -> None:
    rpk, changed = tmp_path / "network.rpk", tmp_path / "changed.rpk"
    rpk.write_bytes(an_rpk())
    assert json.loads(run_alone("package", "intrinsics", str(rpk)).out)["task"] == "segmentation"
    sets = ["--set", 'classes.labels=["cup"]', "--set", "inference_rate=15", "--set", "picofleet.mood=fine"]
    ended = run_alone("package", "intrinsics", str(rpk), *sets, "-o", str(changed))
    assert ended.code == 0, ended.err
    found = read(changed).intrinsics
    assert found == {
        "task": "segmentation",
        "classes": {"labels": ["cup"]},
        "inference_rate": 15,
        "picofleet": {"mood": "fine"},
    }
    (tmp_path / "all.json").write_text('{"task": "classification"}')
    assert run_alone("package", "intrinsics", str(rpk), "--from", str(tmp_path / "all.json"), "-o", str(changed)).code == 0
    assert read(changed).intrinsics == {"task": "classification"}
    assert run_alone("package", "intrinsics", str(rpk), "--remove", "-o", str(changed)).code == 0
    assert read(changed).intrinsics is None
    assert rpk.read_bytes() == an_rpk()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "task=mind reading", "-o", "out.rpk"],
        ["--set", "task.mood=fine", "-o", "out.rpk"],
        ["--set", "nosign", "-o", "out.rpk"],
        ["--set", "task=classification"],
        ["-o", "out.rpk"],
        ["--set", "task=classification", "--remove", "-o", "out.rpk"],
        ["--from", "broken.json", "-o", "out.rpk"],
        ["--from", "list.json", "-o", "out.rpk"],
    ],
    ids=" ".join,
)
def test_a_change_that_cannot_be_writes_nothing(
    run_alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("network.rpk").write_bytes(an_rpk())
    Path("broken.json").write_text("{")
    Path("list.json").write_text("[]")
    ended = run_alone("package", "intrinsics", "network.rpk", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.strip()
    assert not Path("out.rpk").exists()


def test_without_what_signs_it_is_said_what_to_install(
    run_alone: Run, signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = shutil.copytree(signed / "package", tmp_path / "package")
    monkeypatch.setitem(__import__("sys").modules, "model_signing", None)
    ended = run_alone("package", "sign", str(package), "--key", str(signed / "packages.pem"))
    assert ended.code == 1
    assert "picofleet[signing]" in ended.err
