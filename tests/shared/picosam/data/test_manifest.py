import gzip
import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.picosam.data.errors import ManifestInvalid
from shared.picosam.data.manifest import (
    Category,
    Header,
    ImageRow,
    Instance,
    ManifestWriter,
    Rle,
    decode_row,
    encode_row,
    manifest_digest,
    read_header,
    read_rows,
)

ids = st.integers(-(2**63), 2**63 - 1)
sides = st.integers(1, 10_000)
numbers = st.floats(0, 1e9)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
instances = st.builds(
    Instance,
    id=ids,
    category=ids,
    bbox=st.tuples(numbers, numbers, numbers, numbers),
    area=numbers,
    iscrowd=st.booleans(),
    rle=st.builds(Rle, size=st.tuples(sides, sides), counts=names),
)
rows = st.builds(
    ImageRow,
    split=st.sampled_from(["train", "val"]),
    file=names,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    width=sides,
    height=sides,
    image_id=ids,
    instances=st.lists(instances, max_size=3).map(tuple),
    negative_categories=st.lists(st.integers(0, 2000), max_size=3).map(tuple),
)
HEADER = Header(name="test", splits=("train", "val"), categories=(Category(id=1, name="cat"),))


def write(path, images, header=HEADER):
    with ManifestWriter(path, header) as writer:
        for row in images:
            writer.add(row)
    return writer.digest


@given(row=rows)
def test_a_row_comes_back_as_it_was_and_has_one_spelling(row):
    line = encode_row(row)
    assert decode_row(line) == row
    assert encode_row(decode_row(line)) == line
    assert b"\n" not in line


@given(images=st.lists(rows, max_size=5))
def test_a_manifest_comes_back_with_its_digest(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest") / "m.gz"
    digest = write(path, images)
    assert list(read_rows(path)) == images
    assert list(read_rows(path, "val")) == [row for row in images if row.split == "val"]
    assert read_header(path) == HEADER
    assert manifest_digest(path) == digest


def a_row(**overrides):
    row = {"split": "train", "file": "a.jpg", "sha256": "0" * 64, "width": 5, "height": 4, "image_id": 1, "instances": ()}
    return ImageRow(**(row | overrides))


def test_the_digest_knows_contents_and_not_the_name(tmp_path):
    digest = write(tmp_path / "1", [a_row()])
    assert write(tmp_path / "2", [a_row()], Header(name="other", splits=HEADER.splits, categories=HEADER.categories)) == digest
    assert write(tmp_path / "3", [a_row(sha256="1" * 64)]) != digest
    assert write(tmp_path / "4", [a_row(), a_row(image_id=2)]) != digest
    assert write(tmp_path / "5", [a_row()], Header(name="test", splits=("train",), categories=())) != digest


def test_categories_without_a_frequency_are_written_as_before_there_was_one(tmp_path):
    digest = write(tmp_path / "m.gz", [a_row()])
    header, row = gzip.decompress((tmp_path / "m.gz").read_bytes()).splitlines()
    assert header == b'{"categories":[{"id":1,"name":"cat"}],"name":"test","splits":["train","val"],"version":1}'
    assert b"categories" not in row
    assert digest == "sha256:0b9fd600502040b5722277b7f8588466cf6f804ad990b4c8ee75c3201183a53a"


def test_a_frequency_comes_back_and_is_part_of_the_digest(tmp_path):
    categories = (Category(id=1, name="cat", frequency="r"), Category(id=2, name="dog"))
    header = Header(name="test", splits=("train",), categories=categories)
    digest = write(tmp_path / "m.gz", [a_row()], header)
    assert read_header(tmp_path / "m.gz") == header
    assert manifest_digest(tmp_path / "m.gz") == digest
    frequent = msgspec.structs.replace(
        header, categories=(msgspec.structs.replace(categories[0], frequency="f"), categories[1])
    )
    assert write(tmp_path / "other", [a_row()], frequent) != digest


def test_the_file_has_the_same_bytes_each_time(tmp_path):
    for name in ("first", "second"):
        write(tmp_path / name, [a_row()])
    first, second = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("first", "second"))
    assert first == second
    assert (tmp_path / "first").read_bytes()[4:8] == bytes(4)  # where gzip would put the time


@pytest.mark.parametrize("kept", [0, 5, 30, -20, -5])
def test_a_cut_manifest_is_refused(tmp_path, kept):
    path = tmp_path / "m.gz"
    write(path, [a_row(image_id=number) for number in range(50)])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ManifestInvalid):
        manifest_digest(path)


@pytest.mark.parametrize(
    "content",
    [b"not gzip", gzip.compress(b"{}\n"), gzip.compress(b'{"version":9,"name":"a","splits":[],"categories":[]}\n')],
    ids=["not gzip", "no header", "another version"],  # the bytes would name the second in which they were packed
)
def test_what_is_no_manifest_of_ours_is_refused(tmp_path, content):
    (tmp_path / "m.gz").write_bytes(content)
    with pytest.raises(ManifestInvalid):
        read_header(tmp_path / "m.gz")


def test_a_line_without_its_end_is_refused(tmp_path):
    path = tmp_path / "m.gz"
    write(path, [a_row()])
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    with pytest.raises(ManifestInvalid, match="middle of a line"):
        list(read_rows(path))
