"""A package is written whole, the same way each time, and as its manifest says."""

import json
import os
from pathlib import Path

import pytest

from shared.contracts.base import digest_of
from shared.contracts.packages import PackageManifest
from shared.kit.packages import folder as folders
from shared.kit.packages.errors import FileMissing, ManifestInvalid, PackageUnreadable
from shared.kit.packages.folder import check_files, listed, read_manifest, set_release, write_package
from shared.kit.packages.signing import sign_package
from shared.kit.packages.verifying import verify
from tests.shared.kit.packages.making import some_contents, some_facts

GOLDEN = Path(__file__).parent / "golden" / "manifest.json"


def everything(folder):
    return {place: path.read_bytes() for place, path in listed(folder).items()}


def test_the_same_facts_and_files_are_the_same_bytes(tmp_path):
    backwards = dict(reversed(some_contents().items()))
    write_package(tmp_path / "one", some_facts(), some_contents())
    write_package(tmp_path / "two", some_facts(), backwards)
    assert everything(tmp_path / "one") == everything(tmp_path / "two")


def test_the_manifest_is_written_as_ever(tmp_path):
    """Cameras in the field read this form. `PICOFLEET_REWRITE=1` writes the file anew; look at the difference."""
    write_package(tmp_path / "package", some_facts(), some_contents())
    written = (tmp_path / "package/manifest.json").read_bytes()
    if os.environ.get("PICOFLEET_REWRITE") == "1":
        GOLDEN.write_bytes(written)
    assert written == GOLDEN.read_bytes()
    assert PackageManifest.model_validate_json(written) == read_manifest(tmp_path / "package")


def test_files_are_copied_and_described(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"network")
    manifest = write_package(tmp_path / "package", some_facts(), some_contents() | {"reference.onnx": tmp_path / "model.onnx"})
    described = {file.path: file for file in manifest.files}
    assert described["reference.onnx"].digest == digest_of(b"network")
    assert described["reference.onnx"].size_bytes == 7
    assert (tmp_path / "package/reference.onnx").read_bytes() == b"network"
    check_files(tmp_path / "package", manifest)


def test_an_rpk_that_is_there_is_said_to_be(tmp_path):
    made = write_package(tmp_path / "package", some_facts(), some_contents() | {"network.rpk": b"9464"})
    assert made.rpk == "included"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda contents: contents.pop("packerOut.zip"), r"files lacks packerOut\.zip"),
        (lambda contents: contents.update({"../outside": b"x"}), "should match pattern"),
        (lambda contents: contents.update({"manifest.json": b"{}"}), "cannot hold its own digest"),
        (lambda contents: contents.update({"large.bin": bytes(33 * 1024**2)}), r"large\.bin has 34,603,008 bytes"),
    ],
    ids=["lacking", "outside", "own", "large"],
)
def test_what_makes_no_package_leaves_nothing_behind(tmp_path, change, told):
    contents = some_contents()
    change(contents)
    (tmp_path / "here").mkdir()
    with pytest.raises(ValueError, match=told):
        write_package(tmp_path / "here/package", some_facts(), contents)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_package_is_not_written_over_another(package):
    before = everything(package)
    with pytest.raises(OSError, match="not empty"):
        write_package(package, some_facts(release=8), some_contents())
    assert everything(package) == before
    assert [path.name for path in package.parent.iterdir()] == ["package"]


def test_modes_are_the_same_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        write_package(tmp_path / "package", some_facts(), some_contents())
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in listed(tmp_path / "package").values()} == {0o644}


def test_a_new_release_number_needs_a_new_signature(package, keys, key_file):
    assert set_release(package, 8).release == 8
    assert not (package / "model.sig").exists()
    sign_package(package, key_file)
    assert verify(package, keys, floor=8).manifest.release == 8


def test_too_many_files_are_not_listed_to_the_end(tmp_path):
    for number in range(70):
        (tmp_path / f"{number}").write_bytes(b"")
    with pytest.raises(PackageUnreadable, match="more than 66 files"):
        listed(tmp_path)


def test_a_tree_that_is_too_deep_is_not_walked_to_its_end(tmp_path):
    (tmp_path / "a/b/c/d/e").mkdir(parents=True)
    with pytest.raises(PackageUnreadable, match="nested too deep"):
        listed(tmp_path)


def test_a_description_that_is_too_large_is_not_read_into_memory(tmp_path):
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(folders.MAX_DESCRIPTION_BYTES * 1000)
    with pytest.raises(PackageUnreadable, match="more than 262,144 bytes"):
        read_manifest(tmp_path)


def test_what_is_wrong_with_a_manifest_is_said_with_its_field(package):
    told = json.loads((package / "manifest.json").read_bytes())
    (package / "manifest.json").write_text(json.dumps(told | {"release": "seven"}))
    with pytest.raises(ManifestInvalid, match=r"manifest\.json: release: "):
        read_manifest(package)
    (package / "manifest.json").unlink()
    with pytest.raises(FileMissing, match=r"manifest\.json is missing"):
        read_manifest(package)
    (package / "manifest.json").mkdir()
    with pytest.raises(FileMissing, match=r"manifest\.json is missing"):
        read_manifest(package)
