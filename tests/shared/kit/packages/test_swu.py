"""An image for swupdate holds the package, the sum of the package, and a signature over the sum."""

import hashlib
import shutil
import subprocess

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.base import digest_of
from shared.kit.packages.errors import KeyFileRefused, PackageUnreadable
from shared.kit.packages.swu import MAX_BYTES, read_signer, swu_of_package
from shared.kit.packages.tars import pack
from shared.kit.rpk.cpio import read_archive
from tests.shared.kit.packages.swu_keys import a_pair


@pytest.fixture(scope="session", params=["rsa", "ec"])
def pair(request, tmp_path_factory):
    return a_pair(tmp_path_factory.mktemp("swu"), request.param)


@pytest.fixture
def signer(pair):
    return read_signer(*pair)


def an_swu(signer, tar=b"tar" * 999, **changes):
    facts = {"line": "picosam2", "release": 7, "digest": digest_of(tar), "size_bytes": len(tar), "pieces": [tar[:5], tar[5:]]}
    facts = facts | {"target_dir": "/var/lib/picofleet"} | changes
    return b"".join(swu_of_package(signer, tar=facts.pop("pieces"), **facts))


def test_it_holds_description_signature_and_package_in_this_order(signer, package, tmp_path):
    pack(package, tmp_path / "package.tar")
    tar = (tmp_path / "package.tar").read_bytes()
    image = an_swu(signer, tar)
    entries = read_archive(image).entries
    assert [entry.name for entry in entries] == ["sw-description", "sw-description.sig", "picosam2-7.tar"]
    assert entries[2].content == tar
    assert {entry.raw[:6] for entry in entries} == {b"070701"}
    assert len(image) % 512 == 0


def test_the_description_names_sum_place_and_release(signer):
    description = read_archive(an_swu(signer, b"abc")).content("sw-description")
    assert description.decode() == (
        "software =\n{\n"
        '\tname = "picosam2";\n\tversion = "7";\n\tdescription = "Picofleet package picosam2/7";\n'
        '\thardware-compatibility: [ "#RE:.*" ];\n'
        "\tfiles: (\n\t\t{\n"
        '\t\t\tfilename = "picosam2-7.tar";\n\t\t\tpath = "/var/lib/picofleet/picosam2-7.tar";\n\t\t\ttype = "rawfile";\n'
        f'\t\t\tsha256 = "{hashlib.sha256(b"abc").hexdigest()}";\n'
        '\t\t\tproperties: {\n\t\t\t\tcreate-destination = "true";\n\t\t\t\tatomic-install = "true";\n\t\t\t};\n'
        "\t\t}\n\t);\n};\n"
    )


def test_the_same_package_gives_the_same_bytes(tmp_path):
    signer = read_signer(*a_pair(tmp_path, "rsa"))
    assert an_swu(signer) == an_swu(signer, tar=b"tar" * 999)
    signing_time = bytes.fromhex("06092a864886f70d010905")  # its object identifier, 1.2.840.113549.1.9.5
    assert signing_time not in read_archive(an_swu(signer)).content("sw-description.sig")


def test_with_ecdsa_only_the_signature_differs(tmp_path):
    signer = read_signer(*a_pair(tmp_path, "ec"))
    one, other = read_archive(an_swu(signer)), read_archive(an_swu(signer))
    differing = [entry.name for entry in one.entries if entry.content != other.content(entry.name)]
    assert differing == ["sw-description.sig"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("change", [b"", b" "], ids=["as it is", "changed"])
def test_openssl_takes_the_signature_over_the_description_and_no_other(pair, signer, tmp_path, change):
    archive = read_archive(an_swu(signer))
    (tmp_path / "text").write_bytes(archive.content("sw-description") + change)
    (tmp_path / "sig").write_bytes(archive.content("sw-description.sig"))
    command = f"openssl cms -verify -binary -inform DER -in {tmp_path}/sig -content {tmp_path}/text -purpose smimesign"
    done = subprocess.run([*command.split(), "-CAfile", pair[1], "-out", "/dev/null"], capture_output=True, text=True)
    assert ("Verification successful" in done.stderr) is (change == b"")


@given(size=st.integers(0, 3000), cuts=st.lists(st.integers(1, 999), max_size=5))
def test_any_tar_in_any_pieces_comes_out_as_it_went_in(ec_signer, size, cuts):
    tar = bytes(n % 251 for n in range(size))
    pieces, rest = [], tar
    for cut in cuts:
        pieces, rest = [*pieces, rest[:cut]], rest[cut:]
    archive = read_archive(an_swu(ec_signer, tar, pieces=[*pieces, rest]))
    assert archive.content("picosam2-7.tar") == tar


@pytest.fixture(scope="session")
def ec_signer(tmp_path_factory):
    return read_signer(*a_pair(tmp_path_factory.mktemp("swu"), "ec"))


def test_a_tar_beyond_four_gigabytes_is_refused_before_it_is_read(ec_signer):
    with pytest.raises(PackageUnreadable, match=r"4,294,967,296 bytes; an image for swupdate takes 4,294,967,295"):
        an_swu(ec_signer, size_bytes=MAX_BYTES + 1, pieces=iter(lambda: pytest.fail("it was read"), b""))


@pytest.mark.parametrize(("told", "word"), [(4, "fewer"), (2, "more")])
def test_a_tar_of_another_size_than_was_told_is_refused(ec_signer, told, word):
    with pytest.raises(PackageUnreadable, match=f"{word} bytes than the {told}"):
        an_swu(ec_signer, b"abc", size_bytes=told)


@pytest.mark.parametrize(
    "changes",
    [
        {"line": 'x";}; evil = {y = "'},
        {"line": "../up"},
        {"line": "x\n"},
        {"release": 0},
        {"digest": "sha256:short"},
        {"target_dir": "relative"},
        {"target_dir": "/a/../etc"},
        {"target_dir": '/a";'},
        {"target_dir": "/a/\n"},
    ],
)
def test_nothing_gets_into_the_description_that_could_change_its_meaning(ec_signer, changes):
    with pytest.raises(ValueError, match="not"):
        an_swu(ec_signer, **changes)


@pytest.mark.parametrize("usage", [None, ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION])
def test_certificates_for_signing_are_taken(tmp_path, usage):
    assert read_signer(*a_pair(tmp_path, "ec", usage)).certificate.serial_number == 7


def test_a_certificate_for_another_purpose_is_refused(tmp_path):
    with pytest.raises(KeyFileRefused, match="neither email protection nor code signing"):
        read_signer(*a_pair(tmp_path, "ec", ExtendedKeyUsageOID.SERVER_AUTH))


@pytest.mark.parametrize("kind", ["p384", "weak"])
def test_keys_that_are_weak_or_of_another_kind_are_refused(tmp_path, kind):
    with pytest.raises(KeyFileRefused, match="neither an RSA key of 2048 bits or more nor an ECDSA P-256 key") as caught:
        read_signer(*a_pair(tmp_path, kind))
    assert "openssl req -x509" in caught.value.hint


def test_key_and_certificate_must_belong_together(tmp_path):
    key, _ = a_pair(tmp_path / "one", "ec")
    _, certificate = a_pair(tmp_path / "other", "ec")
    with pytest.raises(KeyFileRefused, match="is not the certificate of the key"):
        read_signer(key, certificate)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda files: files[0].chmod(0o640), "can be read by others"),
        (lambda files: files[0].unlink(), r"swu\.key cannot be read"),
        (lambda files: files[1].unlink(), r"swu\.crt cannot be read"),
        (lambda files: files[1].write_bytes(b"\xff\0"), "holds no certificate in PEM"),
        (lambda files: files[1].write_bytes(bytes(1 << 20)), "holds no certificate in PEM"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, spoil, told):
    files = a_pair(tmp_path, "ec")
    spoil(files)
    with pytest.raises(KeyFileRefused, match=told):
        read_signer(*files)
