import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from shared import archives
from shared.archives import ArchiveRefused, Limits, entries, unpack

FILES = {"images/1.jpg": b"one" * 1000, "images/2.jpg": b"two", "instances.json": b"{}"}


def zipped(path, files=FILES, **attributes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            archive.writestr(member, content)
    return path


def tarred(path, files=FILES, mode="w", **attributes):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


MAKERS = {
    "zip": zipped,
    "tar": tarred,
    "gz": lambda path, files=FILES: tarred(path, files, "w:gz"),
    "bz2": lambda path, files=FILES: tarred(path, files, "w:bz2"),
}


@pytest.fixture(params=MAKERS)
def pack(request, tmp_path):
    """Packs files into one of the kinds of archive."""
    return lambda files=FILES: MAKERS[request.param](tmp_path / "archive", files)


def nothing_left(folder):
    return {path.name for path in folder.iterdir()} <= {"archive"}


def test_files_come_out_as_they_went_in(pack, tmp_path):
    seen: list[tuple[int, int]] = []
    unpack(pack(), tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    found = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "out"}
    assert len(seen) == 3
    assert all(0 < done <= total for done, total in seen)


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "a/../../x", "a\\b", "C:/x", "a\nb", "..", "a/" * 30 + "x", "x" * 300],
)
def test_names_that_lead_elsewhere_are_refused(pack, tmp_path, name):
    with pytest.raises(ArchiveRefused):
        unpack(pack({"fine": b"1", name: b"2"}), tmp_path / "out")
    assert nothing_left(tmp_path)


def test_a_file_that_comes_twice_or_is_also_a_folder_is_refused(pack, tmp_path):
    with pytest.raises(ArchiveRefused, match="twice"):
        unpack(pack({"a": b"1", "./a": b"2"}), tmp_path / "out")
    with pytest.raises(ArchiveRefused, match="file and folder"):
        unpack(pack({"b": b"1", "b/c": b"2"}), tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    archive = tarred(tmp_path / "archive", {"evil": b""}, type=kind, linkname="/etc/passwd")
    with pytest.raises(ArchiveRefused, match="'evil' is a link, a device"):
        unpack(archive, tmp_path / "out")
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    archive = zipped(tmp_path / "archive", {"evil": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)
    with pytest.raises(ArchiveRefused, match="'evil' is a link or a device"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2"])
def test_a_bomb_is_stopped_by_its_ratio(tmp_path, kind):
    archive = MAKERS[kind](tmp_path / "archive", {"zeros": b"\0" * (40 * 1024**2)})
    with pytest.raises(ArchiveRefused, match="unpacks to more than"):
        unpack(archive, tmp_path / "out")
    assert nothing_left(tmp_path)


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path):
    content = bytearray(zipped(tmp_path / "archive", {"a": b"\0" * 100_000}).read_bytes())
    place = content.rfind(b"PK\x01\x02")
    struct.pack_into("<L", content, place + 24, 10)
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveRefused):
        unpack(tmp_path / "archive", tmp_path / "out")


@pytest.mark.parametrize("limits", [Limits(max_files=2), Limits(max_bytes=3000), Limits(max_depth=1)])
def test_limits_of_count_size_and_depth(pack, tmp_path, limits):
    with pytest.raises(ArchiveRefused):
        unpack(pack(), tmp_path / "out", limits=limits)
    assert nothing_left(tmp_path)


def test_a_zip_with_an_endless_table_of_contents_is_refused_unread(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "archive", {f"{number}": b"" for number in range(200)})
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(ArchiveRefused, match="more than 50 files"):
        unpack(archive, tmp_path / "out", limits=Limits(max_files=50))


def test_a_tar_header_of_many_megabytes_is_refused_unread(tmp_path):
    archive = tarred(tmp_path / "archive", {"a": b""}, "w:gz", pax_headers={"comment": "x" * (3 * 1024**2)})
    with pytest.raises(ArchiveRefused, match="header of more than a megabyte"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.85])
def test_a_cut_archive_is_refused(tmp_path, kept):
    for kind, maker in MAKERS.items():
        files = {str(number): os.urandom(3000) for number in range(20)}
        content = maker(tmp_path / "archive", files).read_bytes()
        (tmp_path / "archive").write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(ArchiveRefused):
            unpack(tmp_path / "archive", tmp_path / f"out-{kind}")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06", b"\x1f\x8bxx", b"BZhxxxx", os.urandom(5000), b"\xfd7zXZ\0abc"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveRefused):
        unpack(tmp_path / "archive", tmp_path / "out")
    assert nothing_left(tmp_path)


def test_damaged_contents_are_refused(tmp_path):
    content = bytearray(zipped(tmp_path / "archive", {"a": os.urandom(5000)}).read_bytes())
    content[2000] ^= 1
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveRefused, match="CRC"):
        unpack(tmp_path / "archive", tmp_path / "out")


def test_a_zip_whose_file_begins_before_it_is_refused(tmp_path):
    content = bytearray(zipped(tmp_path / "archive").read_bytes())
    place = content.rfind(b"PK\x05\x06")
    struct.pack_into("<L", content, place + 16, struct.unpack_from("<L", content, place + 16)[0] + 1000)
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveRefused, match="cannot be read"):
        unpack(tmp_path / "archive", tmp_path / "out")


def test_a_zip64_whose_directory_is_nowhere_is_refused(tmp_path):
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 2**64 - 1, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / "archive").write_bytes(b"PK\3\4" + locator + end)
    with pytest.raises(ArchiveRefused, match="cannot be read"):
        unpack(tmp_path / "archive", tmp_path / "out")


def test_a_name_of_no_letters_is_refused(tmp_path):
    with pytest.raises(ArchiveRefused, match="'' is not a plain relative path"):
        unpack(zipped(tmp_path / "archive", {"": b"1"}), tmp_path / "out")


def test_a_zip_whose_header_may_ask_for_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"content")
    with pytest.raises(ArchiveRefused, match="packed by method 14"):
        unpack(tmp_path / "archive", tmp_path / "out")


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(zipped(tmp_path / "archive").read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(mark) + flags] |= 1
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveRefused, match="encrypted"):
        unpack(tmp_path / "archive", tmp_path / "out")


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "archive")

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "out")
    assert nothing_left(tmp_path)


def test_an_objection_ends_it_and_leaves_nothing_behind(pack, tmp_path):
    def object_() -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        unpack(pack(), tmp_path / "out", watch=object_)
    assert nothing_left(tmp_path)


def test_entries_are_read_without_a_folder(pack):
    archive = pack()
    assert {entry.name: b"".join(entry.pieces) for entry in entries(archive)} == FILES
    assert len([entry.name for entry in entries(archive)]) == 3, "contents need not be read"


def test_a_zip64_archive_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"content")
    unpack(tmp_path / "archive", tmp_path / "out")
    assert Path(tmp_path / "out/a").read_bytes() == b"content"


def test_a_gzip_with_several_members_is_read_to_its_end(tmp_path):
    plain = tarred(tmp_path / "plain").read_bytes()
    (tmp_path / "archive").write_bytes(gzip.compress(plain[:700]) + gzip.compress(plain[700:]))
    unpack(tmp_path / "archive", tmp_path / "out")
    assert (tmp_path / "out/instances.json").read_bytes() == b"{}"
