"""packerOut.zip is looked into, never trusted."""

import stat
import zipfile

import pytest

from shared.kit.packages.converted import Tensor, read_converted, warnings
from shared.kit.packages.errors import PackageUnreadable
from tests.shared.kit.packages.making import a_converted_zip

PARAMETERS = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<dnnParams><networks><network name="picosam2" ordinal="0" type="">
  <inputTensors><inputTensor ordinal="0" name="window" bitsPerElement="8" shift="0" scale="{scale}" format="{format}">
   <dimensions>
    <dimension size="96" serializationOrder="0" ordinal="2" padding="0"/>
    <dimension size="3" serializationOrder="2" ordinal="0" padding="0"/>
    <dimension size="96" serializationOrder="1" ordinal="1" padding="0"/>
  </dimensions></inputTensor></inputTensors>
  <outputTensors><outputTensor ordinal="0" name="logits" bitsPerElement="8" shift="0" scale="0.25" format="signed"><dimensions>
    <dimension size="1" serializationOrder="0" ordinal="0" padding="0"/>
    <dimension size="96" serializationOrder="1" ordinal="1" padding="0"/>
    <dimension size="96" serializationOrder="2" ordinal="2" padding="0"/>
  </dimensions></outputTensor></outputTensors>
</network></networks></dnnParams>"""


def parameters(scale="0.00390625", format_="unsigned"):
    return PARAMETERS.format(scale=scale, format=format_).encode()


def converted(tmp_path, **files):
    path = tmp_path / "packerOut.zip"
    path.write_bytes(a_converted_zip(**files))
    return path


def test_files_and_tensors_are_told(tmp_path):
    found = read_converted(converted(tmp_path, **{"dnnParams.xml": parameters()}))
    assert found.files == {"l2staticData.bin": 1000, "verTable.txt": 4, "dnnParams.xml": len(parameters())}
    network = found.networks[0]
    assert network.name == "picosam2"
    assert network.inputs == (Tensor(name="window", shape=(3, 96, 96), bits=8, scale=1 / 256, signed=False),)
    assert network.outputs == (Tensor(name="logits", shape=(1, 96, 96), bits=8, scale=0.25, signed=True),)
    assert warnings(found) == []


def test_an_input_that_was_calibrated_on_mean_and_std_is_warned_of(tmp_path):
    (told,) = warnings(read_converted(converted(tmp_path, **{"dnnParams.xml": parameters("0.03125", "signed")})))
    assert "1.8 times the contrast" in told


def test_without_parameters_there_are_no_networks(tmp_path):
    assert read_converted(converted(tmp_path)).networks == ()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<dnnParams", "unclosed"),
        (b"\xff\xfe", "no element"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>', "with declarations"),
        (b"<x>" + b" " * 300_000 + b"</x>", "too large"),
        (parameters("wide"), "misstates"),
        (parameters().replace(b' scale="0.25"', b""), "lacks or misstates 'scale'"),
        (b"<a>" * 40_000, ""),
    ],
    ids=["cut", "binary", "entities", "large", "scale", "no scale", "deep"],
)
def test_parameters_that_say_what_cannot_be_are_refused(tmp_path, content, told):
    with pytest.raises(PackageUnreadable, match=rf"packerOut\.zip, dnnParams\.xml.*{told}"):
        read_converted(converted(tmp_path, **{"dnnParams.xml": content}))


def test_hostile_zips_are_refused(tmp_path):
    path = tmp_path / "packerOut.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 * 1024**2))
    with pytest.raises(PackageUnreadable, match="unpacks to more than"):
        read_converted(path)
    for name, mode in (("../evil", stat.S_IFREG), ("evil", stat.S_IFLNK)):
        member = zipfile.ZipInfo(name)
        member.external_attr = (mode | 0o777) << 16
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, b"/etc/passwd")
        with pytest.raises(PackageUnreadable, match=r"packerOut\.zip: '.*evil' is"):
            read_converted(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("twice", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("twice", b"2")
    with pytest.raises(PackageUnreadable, match="'twice' twice"):
        read_converted(path)
    path.write_bytes(b"9464")
    with pytest.raises(PackageUnreadable, match="is no zip"):
        read_converted(path)
