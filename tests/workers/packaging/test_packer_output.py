"""packerOut.zip: one like the converter's, and such as somebody else might put in its place."""

import contextlib
import hashlib
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.harness.errors import JobFailed
from workers.packaging.packer_output import parse_parameters, read_packer_output

PARAMETERS = (Path(__file__).parent / "golden" / "dnnParams.xml").read_bytes()
STAMP = "Wed Nov 25 04:36:29 UTC 2026"


def packed(path: Path, *, stamp: str = STAMP, **changes: bytes | None) -> Path:
    """A packerOut.zip with a manifest that fits; ``changes`` are files set anew or, with None, left out after that."""
    files = {"l2staticData.bin": b"\x01" * 3000, "cfgC.bin": b"\0" * 4, "dnnParams.xml": PARAMETERS}
    entries: dict[str, Any] = {"Release Version": "3.19.1", "Date Info": stamp}
    for name, content in files.items():
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest().upper()
        entries[name] = {"LoadAddr": "NA", "File": name, "md5": md5, "Version": "3.19.1", "Size": len(content)}
    files["manifest.json"] = json.dumps(entries).encode()
    files |= {name.replace("__", "."): content for name, content in changes.items() if content is not None}
    gone = {name.replace("__", ".") for name, content in changes.items() if content is None}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            if name not in gone:
                archive.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(JobFailed) as caught:
        read_packer_output(path)
    assert caught.value.error.type == "bad_converter_output"
    return caught.value.error.message


def test_tensors_files_and_stamps_are_read(tmp_path):
    found = read_packer_output(packed(tmp_path / "packerOut.zip"))
    assert (found.release, found.stamp) == ("3.19.1", STAMP)
    assert {file.name: file.size_bytes for file in found.files}["l2staticData.bin"] == 3000
    (network,) = found.networks
    (window,), (logits,) = network.inputs, network.outputs
    assert (window.shape, window.bits, window.signed, window.scale, window.persistent) == ((3, 96, 96), 8, False, 1 / 256, True)
    assert (logits.shape, logits.bits, logits.signed, logits.scale) == ((1, 96, 96), 8, True, 1 / 512)
    assert (window.shift, logits.shift, logits.persistent) == (0, 0, None)


def test_the_content_digest_leaves_out_stamps_and_nothing_else(tmp_path):
    first, later = packed(tmp_path / "a.zip"), packed(tmp_path / "b.zip", stamp="Thu Nov 26 05:00:00 UTC 2026")
    assert read_packer_output(first).content_digest == read_packer_output(later).content_digest
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        other = archive.read("dnnParams.xml").replace(b"0.00390625", b"0.00781250")
    assert parse_parameters(other)[0].inputs[0].scale == 1 / 128


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"l2staticData__bin": b"\x02" * 3000}, "l2staticData.bin is not the file"),
        ({"cfgC__bin": None}, "cfgC.bin is not the file"),
        ({"more__bin": b"1"}, "does not list more.bin"),
        ({"manifest__json": None}, "no manifest.json"),
        ({"manifest__json": b"[]"}, "no JSON object"),
        ({"manifest__json": b"{"}, "is no JSON"),
        ({"manifest__json": b"[" * 100_000}, "is no JSON"),
        ({"manifest__json": b" " * (2 << 20)}, "sensible size"),
        ({"manifest__json": b'{"Release Version": "3", "Date Info": "now"}'}, "does not list"),
        ({"manifest__json": b'{"Date Info": "now"}'}, "no Release Version"),
        ({"manifest__json": b'{"Release Version": "3", "Date Info": "now", "a": {"File": "cfgC.bin"}}'}, "manifest.json: "),
        ({"l2staticData__bin": b"\0" * (17 << 20)}, "unpacks to more than"),
        ({"a/b": b"1"}, "no plain file"),
        ({"../up": b"1"}, "no plain file"),
    ],
)
def test_an_output_that_was_tampered_with_is_refused(tmp_path, changes, words):
    assert words in refusal(packed(tmp_path / "packerOut.zip", **changes))


def test_links_in_the_archive_are_refused(tmp_path):
    path = packed(tmp_path / "packerOut.zip")
    link = zipfile.ZipInfo("link.bin")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "no plain file" in refusal(path)


def test_many_files_are_refused(tmp_path):
    path = tmp_path / "packerOut.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100):
            archive.writestr(f"f{number}", b"")
    assert "more than" in refusal(path)


@given(data=st.data())
def test_a_damaged_archive_is_refused_or_read_but_never_breaks_the_reader(tmp_path_factory, data):
    path = packed(tmp_path_factory.mktemp("zip") / "packerOut.zip")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(JobFailed):
        assert read_packer_output(path).networks


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<",
        b"<dnnParams/>",
        b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>',
        PARAMETERS.replace(b'format="signed"', b'format="other"'),
        PARAMETERS.replace(b'scale="0.00390625"', b'scale="wide"'),
        PARAMETERS.replace(b'size="96"', b'size="0"'),
        PARAMETERS.replace(b'bitsPerElement="8"', b""),
        PARAMETERS.replace(b"<dimension ", b"<other "),
    ],
)
def test_parameters_of_another_kind_are_refused(text):
    with pytest.raises(JobFailed, match=r"dnnParams\.xml"):
        parse_parameters(text)
