"""packerOut.zip: one like the converter's, and such as somebody else might put in its place."""

import stat
import zipfile

import pytest

from shared.kit.packages.converted import Tensor, read_converted, read_parameters, warnings
from shared.kit.packages.errors import PackageUnreadable
from tests.shared.kit.packages.making import PARAMETERS, STAMP, a_converted_zip, parameters


def converted(tmp_path, **what):
    path = tmp_path / "packerOut.zip"
    path.write_bytes(a_converted_zip(**what))
    return path


def test_tensors_files_and_stamps_are_told(tmp_path):
    found = read_converted(converted(tmp_path))
    assert (found.release, found.stamp) == ("3.19.1", STAMP)
    sizes = {file.name: file.size_bytes for file in found.files}
    assert sizes == {"l2staticData.bin": 1000, "verTable.txt": 4, "dnnParams.xml": len(PARAMETERS)}
    (network,) = found.networks
    assert network.name == "pico"
    (window,), (logits,) = network.inputs, network.outputs
    assert (window.shape, window.bits, window.signed, window.step, window.persistent) == ((3, 96, 96), 8, False, 1 / 256, True)
    assert (logits.shape, logits.bits, logits.signed, logits.step, logits.persistent) == ((1, 96, 96), 8, True, 1 / 512, None)
    assert warnings(found) == []


def test_a_shift_halves_what_a_code_is_worth():
    assert Tensor(name="x", shape=(1,), bits=8, signed=True, scale=0.5, shift=3).step == 1 / 16


def test_an_input_that_was_calibrated_on_mean_and_std_is_warned_of(tmp_path):
    (told,) = warnings(read_converted(converted(tmp_path, **{"dnnParams.xml": parameters("0.03125", "signed")})))
    assert "1.8 times the contrast" in told


def test_the_content_digest_leaves_out_stamps_and_nothing_else(tmp_path):
    first = read_converted(converted(tmp_path))
    later = read_converted(converted(tmp_path, stamp="Thu Nov 26 05:00:00 UTC 2026"))
    assert first.stamp != later.stamp
    assert first.content_digest == later.content_digest
    other = read_converted(converted(tmp_path, **{"dnnParams.xml": parameters("0.0078125")}))
    assert other.content_digest != first.content_digest


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"l2staticData.bin": b"\2" * 1000}, "'l2staticData.bin' is not the file"),
        ({"verTable.txt": None}, "'verTable.txt' is not the file"),
        ({"more.bin": b"1"}, "does not list 'more.bin'"),
        ({"manifest.json": None}, "no manifest.json"),
        ({"manifest.json": b"[]"}, "no JSON object"),
        ({"manifest.json": b"{"}, "is no JSON"),
        ({"manifest.json": b"[" * 100_000}, "is no JSON"),
        ({"manifest.json": b" " * (2 << 20)}, "sensible size"),
        ({"manifest.json": b'{"Release Version": "3", "Date Info": "now"}'}, "does not list"),
        ({"manifest.json": b'{"Date Info": "now"}'}, "no Release Version"),
        ({"manifest.json": b'{"Release Version": "3", "Date Info": "now", "a": {"File": "b"}}'}, "manifest.json: Size"),
        ({"a/b": b"1"}, "nested deeper"),
    ],
)
def test_an_output_that_was_tampered_with_is_refused(tmp_path, changes, told):
    with pytest.raises(PackageUnreadable, match=rf"packerOut\.zip, .*{told}"):
        read_converted(converted(tmp_path, changes=changes))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<dnnParams", "unclosed"),
        (b"\xff\xfe", "no element"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>', "with declarations"),
        (b"<x>" + b" " * 300_000 + b"</x>", "too large"),
        (b"<dnnParams/>", "no network"),
        (parameters("wide"), "misstates"),
        (parameters("inf"), "a scale of inf"),
        (parameters(sign="other"), "misstates 'other'"),
        (PARAMETERS.replace(b'size="96"', b'size="0"'), "the dimensions"),
        (PARAMETERS.replace(b'shift="0"', b'shift="-99999"'), "misstates"),
        (PARAMETERS.replace(b'bitsPerElement="8"', b""), "lacks or misstates 'bitsPerElement'"),
        (PARAMETERS.replace(b"<dimension ", b"<other "), "the dimensions"),
        (b"<a>" * 40_000, ""),
    ],
)
def test_parameters_that_say_what_cannot_be_are_refused(content, told):
    with pytest.raises(PackageUnreadable, match=rf"packerOut\.zip, dnnParams\.xml.*{told}"):
        read_parameters(content)


def test_hostile_zips_are_refused(tmp_path):
    path = tmp_path / "packerOut.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 * 1024**2))
    with pytest.raises(PackageUnreadable, match="unpacks to more than"):
        read_converted(path)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100):
            archive.writestr(f"f{number}", b"")
    with pytest.raises(PackageUnreadable, match="more than 64 files"):
        read_converted(path)
    for name, mode in (("../evil", stat.S_IFREG), ("evil", stat.S_IFLNK)):
        member = zipfile.ZipInfo(name)
        member.external_attr = (mode | 0o777) << 16
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, b"/etc/passwd")
        with pytest.raises(PackageUnreadable, match=r"packerOut\.zip, '.*evil' is"):
            read_converted(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("twice", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("twice", b"2")
    with pytest.raises(PackageUnreadable, match="'twice' is there twice"):
        read_converted(path)
    path.write_bytes(b"9464")
    with pytest.raises(PackageUnreadable, match="is no zip"):
        read_converted(path)
