"""An rpk is read to the last field, edited without touching the rest, and never believed."""

import json
import struct
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kit.rpk.errors import RpkError
from shared.kit.rpk.reader import MAX_RPK_BYTES, contents, parse, read, warnings, with_intrinsics
from tests.shared.kit.rpk.making import (
    VERSION,
    a_block,
    a_cpio,
    a_cpio_file,
    an_info,
    an_rpk,
    some_blocks,
    some_files,
)


def test_every_field_is_read(tmp_path):
    (tmp_path / "network.rpk").write_bytes(an_rpk())
    rpk = read(tmp_path / "network.rpk")
    assert (rpk.blocks.version, rpk.blocks.count, rpk.blocks.authenticated) == (VERSION.decode(), 2, False)
    assert rpk.files == ("imx500_regs", "network_info.txt", "network_intrinsics")
    assert rpk.registers == 56
    assert rpk.intrinsics == {"task": "segmentation", "classes": {"labels": ["object"]}, "inference_rate": 30.0}
    network = rpk.info.networks[0]
    assert (network.width, network.height, network.format) == (96, 96, "RGB")
    assert [(each.name, each.gain, each.offset) for each in network.channels] == [("R", 1, 0), ("G", 1, 0), ("B", 1, 0)]
    assert [(each.elements, each.bytes_per_element) for each in network.outputs] == [(9216, 1)]
    assert network.properties["inputTensorNorm_YGain"] == "0x0020"


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("body", [0, 992, 993, 5000])
def test_blocks_of_any_number_and_with_codes_are_read(coded, body):
    blocks = some_blocks(bytes(body), coded=coded)
    rpk = parse(blocks + a_cpio(some_files()))
    assert rpk.blocks.size_bytes == len(blocks)
    assert rpk.blocks.authenticated is coded
    assert rpk.blocks.count == -(-(body + 32) // 1024)


@pytest.mark.services
def test_an_archive_that_cpio_itself_writes_is_read(tmp_path):
    for name, content in some_files().items():
        (tmp_path / name).write_bytes(content)
    names = "\n".join(some_files()).encode()
    made = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names, cwd=tmp_path, capture_output=True, check=True)
    rpk = parse(some_blocks() + made.stdout)
    assert rpk.files == tuple(some_files())
    assert parse(with_intrinsics(some_blocks() + made.stdout, {"task": "segmentation"})).intrinsics == {"task": "segmentation"}


@pytest.mark.services
def test_cpio_reads_what_was_edited(tmp_path):
    edited = with_intrinsics(an_rpk(), {"task": "segmentation"})
    archive = edited[parse(edited).blocks.size_bytes :]
    subprocess.run(["cpio", "-i", "--quiet"], input=archive, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "network_intrinsics").read_text() == '{"task": "segmentation"}'
    assert (tmp_path / "network_info.txt").read_bytes() == some_files()["network_info.txt"]


def test_several_networks_are_told_apart():
    rpk = parse(an_rpk(**{"network_info.txt": an_info(networks=3)}))
    assert [network.ordinal for network in rpk.info.networks] == [0, 1, 2]


SIGNED = {f"inputTensorNorm_K{row}3": "0x1800" for row in range(3)}
MEAN_AND_STD = {"inputTensorNorm_K00": "0x0300", "inputTensorNorm_K03": "0x1F00"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({f"inputTensorNorm_K{row}{row}": "0x0200" for row in range(3)}, []),
        (SIGNED, ["applies no mean and no std"]),
        (MEAN_AND_STD, []),
        ({"inputTensorFormat": "BGR", "inputTensorNorm_K02": "0x0400", "inputTensorNorm_K20": "0x0400"}, ["takes BGR"]),
        ({"inputTensorFormat": "Y", "inputTensorNorm_YAdd": "0x0180"}, ["applies no mean and no std"]),
        ({"inputTensorFormat": "Y"}, []),
        ({"inputTensorFormat": "BayerRGB"}, ["is not known here"]),
    ],
    ids=["pixel", "half", "signed", "mean and std", "bgr", "signed luma", "luma", "bayer"],
)
def test_what_the_sensor_does_not_do_is_said(changes, told):
    found = warnings(parse(an_rpk(**{"network_info.txt": an_info(**changes)})))
    assert len(found) == len(told)
    assert all(part in text for part, text in zip(told, found, strict=True))


def test_registers_are_two_s_complement_of_12_and_13_bits():
    info = an_info(inputTensorNorm_K00="0x0C00", inputTensorNorm_K03="0x1800", inputTensorNorm_K13="0x0010")
    red, green, _ = parse(an_rpk(**{"network_info.txt": info})).info.networks[0].channels
    assert (red.gain, red.offset, green.offset) == (-1, -128, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OTHERS = st.dictionaries(st.text(min_size=1, max_size=8).map(lambda key: f"own_{key}"), JSON, max_size=4)


@given(before=st.none() | OTHERS, after=OTHERS, body=st.binary(max_size=3000))
def test_edited_intrinsics_are_read_again_and_all_else_stays(before, after, body):
    files = some_files(network_intrinsics=json.dumps(before, ensure_ascii=False).encode())
    if before is None:
        del files["network_intrinsics"]
    original = some_blocks(body) + a_cpio(files)
    edited = with_intrinsics(original, after)
    assert parse(edited).intrinsics == after
    without = with_intrinsics(edited, None)
    assert parse(without).intrinsics is None
    assert (without if before is None else with_intrinsics(edited, before)) == original


@pytest.mark.parametrize(
    ("intrinsics", "told"),
    [
        ({"task": "mind reading"}, "intrinsics, task"),
        ({"inference_rate": -1}, "intrinsics, inference_rate"),
        ({"inference_rate": float("nan")}, "intrinsics, inference_rate"),
        ({"input_aspect_ratio": {"width": 1}}, "intrinsics, input_aspect_ratio.height"),
        ({"classes": {"labels": "object"}}, "intrinsics, classes.labels"),
        ({"own": "x" * 300_000}, "more than 262,144 bytes"),
    ],
)
def test_intrinsics_that_picamera2_would_refuse_are_not_written(intrinsics, told):
    with pytest.raises(RpkError, match=told):
        with_intrinsics(an_rpk(), intrinsics)


def test_no_cut_is_taken_for_a_whole_file():
    whole = an_rpk()
    end = whole.rindex(b"TRAILER!!!")
    for size in range(0, end, 7):
        with pytest.raises(RpkError):
            parse(whole[:size])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "begins with b''"),
        (b"PK\3\4" + bytes(100), "is a zip"),
        (b"4649" + bytes(100), "is an fpk"),
        (b"\x7fELF" + bytes(100), "an rpk begins with 9464"),
        (b"9464", "cut off in block 1"),
        (a_block(bytes(16) + VERSION, 2, 2), "says that it is block 2 of 2"),
        (a_block(bytes(16) + VERSION, 1, 0), "says that it is block 1 of 0"),
        (a_block(bytes(16) + b"not sixteen digi", 1, 1), "not 16 digits"),
        (a_block(b"", 1, 1), "says that it has 0 bytes"),
        (struct.pack(">4sIHH", b"9464", 2**31, 1, 1) + bytes(99), "says that it has 2,147,483,648 bytes"),
        (a_block(bytes(16) + VERSION, 1, 2) + bytes(64), "block 2 does not begin with 9464"),
        (a_block(bytes(16) + VERSION, 1, 1)[:-1] + b"!", "does not end with 3695"),
        (some_blocks(), "it has no trailer"),
        (some_blocks() + b"\0" * 200, "no file of a newc archive"),
        (some_blocks() + b"070701" + b"z" * 104, "not hexadecimal"),
        (some_blocks() + a_cpio({"x": b""}), "holds no network_info.txt, but x"),
        (some_blocks() + a_cpio({}), "holds no network_info.txt, but nothing"),
        (some_blocks() + a_cpio_file("a", b"1") + a_cpio({"a": b"2"}), "'a' is in the archive twice"),
        (some_blocks() + a_cpio({str(number): b"" for number in range(65)}), "more than 64 files"),
        (some_blocks() + a_cpio({"a\nb": b""}), "has the name"),
        (some_blocks() + a_cpio({"x" * 300: b""}), "has the name"),
    ],
    ids=range(21),
)
def test_what_is_no_rpk_is_told_so(content, told):
    with pytest.raises(RpkError, match=told) as refused:
        parse(content)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("info", "told"),
    [
        (b"", "lacks networkNum"),
        (b"\xff", "no ASCII"),
        (b"nonsense\n", "line 1 of network_info.txt"),
        (an_info(networks=0), "describes 0 networks"),
        (an_info(networks=2).replace(b"networkNum=2", b"networkNum=1"), "promises 1 networks"),
        (an_info(networks=17), "describes 17 networks"),
        (an_info(inputTensorWidth=None), "lacks inputTensorWidth"),
        (an_info(inputTensorWidth="wide"), "inputTensorWidth is 'wide'"),
        (an_info(inputTensorWidth="9" * 11), "not a number"),
        (an_info(inputTensorNorm_K11=None), "lacks inputTensorNorm_K11"),
        (an_info(outputTensorNum=31), "outputTensorNum is 31"),
        (b"a=1\n" * 20_000, "more than 65,536 bytes"),
    ],
    ids=range(12),
)
def test_a_network_info_that_says_what_cannot_be_is_refused(info, told):
    with pytest.raises(RpkError, match=told):
        parse(an_rpk(**{"network_info.txt": info}))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b"{}" + b" " * 300_000])
def test_intrinsics_that_are_no_object_are_refused(content):
    with pytest.raises(RpkError, match="network_intrinsics"):
        parse(an_rpk(network_intrinsics=content))


def test_a_file_beyond_the_sensor_is_not_read_into_memory(tmp_path):
    with (tmp_path / "large.rpk").open("wb") as file:
        file.truncate(MAX_RPK_BYTES * 100)
    with pytest.raises(RpkError, match="the sensor holds 8 MB"):
        contents(tmp_path / "large.rpk")


@given(data=st.data())
def test_whatever_is_changed_it_is_read_or_refused(data):
    content = bytearray(an_rpk())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RpkError):
        warnings(parse(bytes(content)))
