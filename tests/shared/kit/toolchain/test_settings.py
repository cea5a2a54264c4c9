import re
from pathlib import Path

import pytest

from shared.kit.toolchain import licence
from shared.kit.toolchain.pins import PINNED
from shared.kit.toolchain.place import Place
from shared.kit.toolchain.settings import ToolchainSettings


@pytest.mark.parametrize(
    ("variables", "root"),
    [
        ({"PICOFLEET_HOME": "/srv/picofleet"}, "/srv/picofleet/toolchain"),
        ({"PICOFLEET_HOME": "/srv/picofleet", "PICOFLEET_TOOLCHAIN": "/opt/sony"}, "/opt/sony"),
        ({"PICOFLEET_HOME": "", "PICOFLEET_TOOLCHAIN": ""}, str(Path.home() / ".picofleet" / "toolchain")),
    ],
)
def test_the_environment_says_where_the_toolchain_lies(monkeypatch, variables, root):
    for name in ("PICOFLEET_HOME", "PICOFLEET_TOOLCHAIN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(Place.of(ToolchainSettings()).folder) == f"{root}/imx500-{PINNED.version}"


def test_every_package_is_pinned_to_one_version():
    assert PINNED.version == "3.19.2"
    for file in (PINNED.converter, PINNED.java):
        pins = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins)


def test_the_notice_says_whose_it_is_and_where_the_terms_are():
    notice = licence.notice("3.19.2")
    assert "Sony Semiconductor Solutions" in notice
    assert "proprietary" in notice
    assert licence.DOCUMENTATION in notice
