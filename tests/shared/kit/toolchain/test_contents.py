"""The digest and the look at what is installed, on packages that pip installed."""

import shutil
import subprocess
import sys

import pytest

from shared.kit.toolchain import contents


@pytest.fixture
def packages(tmp_path, pins):
    """A folder into which pip installed the small wheels."""
    prefix = tmp_path / "packages"
    options = ["--quiet", "--no-deps", "--ignore-installed", "--prefix", str(prefix), "-r", str(pins.converter)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options], check=True)
    return next(prefix.glob("lib/python*/site-packages"))


def test_the_digest_is_the_same_wherever_the_packages_lie(tmp_path, packages, pins):
    before = contents.digest(packages, pins.packages)
    moved = tmp_path / "elsewhere"
    shutil.copytree(packages, moved)
    (moved / "imx500_converter-3.19.2.dist-info" / "INSTALLER").write_text("another\n")
    for compiled in moved.rglob("__pycache__"):
        shutil.rmtree(compiled)
    assert contents.digest(moved, pins.packages) == before


def test_the_digest_leaves_out_what_is_not_pinned(packages, pins):
    fewer = {name: version for name, version in pins.packages.items() if name != "uni-model"}
    (packages / "uni_model" / "__init__.py").write_text("VALUE = 2\n")
    assert contents.digest(packages, fewer) == contents.digest(packages, fewer | {"absent": "1.0"})
    assert contents.digest(packages, fewer) != contents.digest(packages, pins.packages)


def test_the_digest_sees_a_changed_letter(packages, pins):
    before = contents.digest(packages, pins.packages)
    (packages / "uni_model" / "__init__.py").write_text("VALUE = 2\n")
    assert contents.trouble(packages, pins.packages) is None  # of the same size: only the digest shows it
    assert contents.digest(packages, pins.packages) != before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda at: (at / "uni_model" / "empty.py").unlink(), "uni_model/empty.py is missing"),
        (lambda at: (at / "uni_model" / "__init__.py").write_text("VALUE"), "another size"),
        (lambda at: shutil.rmtree(at / "uni_model-10.2.0.dist-info"), "the package uni-model is missing"),
    ],
)
def test_damage_is_named(packages, pins, damage, words):
    assert contents.trouble(packages, pins.packages) is None
    damage(packages)
    assert words in (contents.trouble(packages, pins.packages) or "")


def test_another_version_than_the_pinned_one_is_named(packages, pins):
    found = contents.trouble(packages, pins.packages | {"uni-model": "11.0"})
    assert found == "uni-model is there in version 10.2.0, not 11.0"
