"""`picofleet toolchain` as a user meets it, with small wheels in the place of Sony's."""

import json
from pathlib import Path

import pytest

from shared.client.cli.main import main
from shared.kit.toolchain.place import Place
from tests.shared.kit.toolchain.wheels import fake_java, write_index


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine with Java, on which nothing is installed and pip finds the small wheels."""
    pins = write_index(tmp_path / "index")
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(fake_java("17.0.15"))
    java.chmod(0o755)
    place = Place(tmp_path / "toolchain" / "imx500-3.19.2", tmp_path / "java", pins)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr("shared.client.cli.toolchain._place", lambda _: place)
    return place


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["toolchain", *arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def test_without_an_agreement_nothing_is_installed(machine, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    code, _, err = run(capsys, "install")
    assert code == 2
    assert "Sony Semiconductor Solutions" in err
    assert "--accept-licence" in err
    assert not machine.folder.exists()


def test_installed_looked_at_and_removed(machine, capsys):
    code, out, err = run(capsys, "install", "--accept-licence")
    assert code == 0
    assert "proprietary" in err  # shown to whoever has agreed, too
    assert out.strip() == str(machine.folder)

    code, out, _ = run(capsys, "status", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["state"], found["runs"], found["version"]) == ("ready", True, "3.19.2")
    assert found["digest"] == machine.ready().mark.digest
    assert found["java"]["version"] == "17.0.15"

    assert "already" in run(capsys, "install")[2]
    assert run(capsys, "remove", "--yes")[0] == 0
    assert not machine.folder.exists()


def test_status_says_what_is_missing_and_how_to_get_it(machine, capsys):
    code, out, err = run(capsys, "status")
    assert code == 3
    assert "missing" in out
    assert "picofleet toolchain install" in err


def test_a_damaged_toolchain_is_called_broken(machine, capsys):
    run(capsys, "install", "--accept-licence")
    (machine.packages / "uni_model" / "empty.py").unlink()
    code, out, _ = run(capsys, "status")
    assert code == 3
    assert "broken: uni_model/empty.py is missing" in out
