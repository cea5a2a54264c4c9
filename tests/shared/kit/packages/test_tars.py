"""One package, one tar, byte for byte; and no tar gets further than its folder."""

import gzip
import io
import os
import shutil
import tarfile

import pytest

from shared.kit.packages.errors import PackageUnreadable
from shared.kit.packages.folder import listed
from shared.kit.packages.tars import opened, pack, unpack


@pytest.mark.parametrize("gzipped", [False, True])
def test_the_bytes_depend_on_the_package_alone(package, tmp_path, gzipped):
    pack(package, tmp_path / "one.tar", gzipped=gzipped)
    copy = shutil.copytree(package, tmp_path / "copy")
    for path in sorted(listed(copy).values(), reverse=True):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    pack(copy, tmp_path / "two.tar", gzipped=gzipped)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_manifest_and_signature_come_first_and_all_is_normal(package, tmp_path):
    pack(package, tmp_path / "package.tar")
    with tarfile.open(tmp_path / "package.tar") as tar:
        members = tar.getmembers()
    found = [member.name for member in members]
    assert found[:4] == ["manifest.json", "model.sig", "card", "card/figures.png"]
    assert found[2:] == sorted(found[2:])
    assert {member.mode for member in members if member.isreg()} == {0o644}
    assert {member.mode for member in members if member.isdir()} == {0o755}
    assert {(each.mtime, each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, 0, "", "")}


def test_what_comes_out_is_what_went_in(package, tmp_path):
    pack(package, tmp_path / "package.tar.gz", gzipped=True)
    with opened(tmp_path / "package.tar.gz") as folder:
        found = {place: path.read_bytes() for place, path in listed(folder).items()}
        where = folder
    assert found == {place: path.read_bytes() for place, path in listed(package).items()}
    assert not where.exists()


def test_a_tar_of_another_program_is_taken(package, tmp_path):
    """GNU tar writes ./ and its own format."""
    with tarfile.open(tmp_path / "package.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(package, ".")
    with opened(tmp_path / "package.tar") as folder:
        assert listed(folder).keys() == listed(package).keys()


def test_a_package_that_cannot_be_packed_leaves_nothing(package, tmp_path):
    (package / "link").symlink_to("/etc/passwd")
    (tmp_path / "here").mkdir()
    with pytest.raises(PackageUnreadable, match="'link' is a link"):
        pack(package, tmp_path / "here/package.tar")
    assert list((tmp_path / "here").iterdir()) == []


def a_tar(path, *members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, changes in members:
            content = changes.pop("content", b"")
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for attribute, value in changes.items():
                setattr(member, attribute, value)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("../evil", {})], "not a plain relative path"),
        ([("/etc/cron.d/evil", {})], "not a plain relative path"),
        ([("a/../../evil", {})], "not a plain relative path"),
        ([("evil", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})], "is a link"),
        ([("evil", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})], "is a link"),
        ([("evil", {"type": tarfile.CHRTYPE})], "a device"),
        ([("evil", {"type": tarfile.FIFOTYPE})], "a device"),
        ([("twice", {}), ("./twice", {})], "twice"),
        ([("a", {}), ("a/b", {})], "both file and folder"),
        ([("a/b/c/d/e", {})], "nested deeper than 4"),
        ([(str(number), {}) for number in range(67)], "more than 66 files"),
    ],
    ids=["up", "absolute", "within", "symlink", "hardlink", "device", "pipe", "twice", "both", "deep", "many"],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_hostile_tar_is_refused_and_leaves_nothing(tmp_path, members, told, mode):
    archive = a_tar(tmp_path / "package.tar", *[(name, dict(changes)) for name, changes in members], mode=mode)
    with pytest.raises(PackageUnreadable, match=told):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["package.tar"]


def test_a_bomb_is_stopped(tmp_path):
    archive = a_tar(tmp_path / "package.tar.gz", ("zeros", {"content": bytes(80 * 1024**2)}), mode="w:gz")
    assert archive.stat().st_size < 200_000
    with pytest.raises(PackageUnreadable, match="unpacks to more than"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4" + bytes(600), b"BZh9" + bytes(600), bytes(range(256)) * 8, gzip.compress(b"hi", mtime=0)]
)
def test_what_is_no_tar_is_refused(tmp_path, content):
    (tmp_path / "package.tar").write_bytes(content)
    with pytest.raises(PackageUnreadable, match=r"package\.tar"), opened(tmp_path / "package.tar"):
        pass


def test_a_package_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(PackageUnreadable, match=r"gone\.tar cannot be read: No such file"), opened(tmp_path / "gone.tar"):
        pass


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_cut_tar_is_refused(package, tmp_path, gzipped):
    pack(package, tmp_path / "whole", gzipped=gzipped)
    whole = (tmp_path / "whole").read_bytes()
    for size in range(0, len(whole.rstrip(b"\0")) - 512, 700):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(PackageUnreadable):
            unpack(tmp_path / "cut", tmp_path / f"out-{size}")
