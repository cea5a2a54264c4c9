"""Whatever is changed in a package, verifying it fails and names the file."""

import base64
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.packages import ALWAYS_THERE, ReleaseStatement, TrustedKeys
from shared.kit.packages.envelope import opened
from shared.kit.packages.errors import (
    FileDiffers,
    FileMissing,
    FileUnknown,
    KeyNotTrusted,
    ManifestInvalid,
    PackageError,
    PackageUnreadable,
    ReleaseTooOld,
    SignatureInvalid,
    SignatureMissing,
)
from shared.kit.packages.folder import listed, read_manifest, write_package
from shared.kit.packages.keys import generate
from shared.kit.packages.signing import sign_package, sign_statement
from shared.kit.packages.statements import SignedStatement
from shared.kit.packages.tars import pack
from shared.kit.packages.verifying import verify
from tests.conftest import quickest_s
from tests.shared.kit.packages.making import some_contents, some_facts

NOW = datetime(2026, 11, 25, tzinfo=UTC)
EVERY_FILE = sorted({*some_contents(), "manifest.json", "model.sig"})


def test_a_signed_package_is_what_its_manifest_says(package, keys):
    verified = verify(package, keys)
    assert verified.manifest == read_manifest(package)
    assert verified.key_id == keys.keys[0].id
    assert verified.returned_by is None
    assert set(ALWAYS_THERE) < {file.path for file in verified.manifest.files}


@pytest.mark.parametrize("gzipped", [False, True])
def test_folder_and_tar_are_the_same_package(package, keys, tmp_path, gzipped):
    pack(package, tmp_path / "package.tar", gzipped=gzipped)
    assert verify(tmp_path / "package.tar", keys) == verify(package, keys)


@pytest.mark.parametrize("place", EVERY_FILE)
@given(data=st.data())
def test_no_byte_of_any_file_can_be_another(signed_package, keys, place, data):
    path = signed_package / place
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(flipped)
    try:
        with pytest.raises(PackageError, match=place) as refused:
            verify(signed_package, keys)
    finally:
        path.write_bytes(content)
    assert refused.value.file == place


@pytest.mark.parametrize("mask", [1, 2, 4, 32])
def test_no_letter_of_the_signature_means_nothing(signed_package, keys, mask):
    """model-signing itself takes some of these: the last letter of base64 has bits that are thrown away."""
    content = (signed_package / "model.sig").read_bytes()
    assert opened(content, keys.keys, NOW, file="model.sig").key_id == keys.keys[0].id
    for position in range(len(content)):
        changed = content[:position] + bytes([content[position] ^ mask]) + content[position + 1 :]
        with pytest.raises(PackageError, match=r"model\.sig"):
            opened(changed, keys.keys, NOW, file="model.sig")


@pytest.mark.parametrize("place", EVERY_FILE)
@pytest.mark.parametrize("change", ["longer", "shorter", "gone"])
def test_a_file_that_grew_shrank_or_went_is_named(package, keys, place, change):
    path = package / place
    content = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(content + b"\n" if change == "longer" else content[:-1])
    with pytest.raises(PackageError, match=place) as refused:
        verify(package, keys)
    expected = SignatureMissing if place == "model.sig" else FileMissing
    assert change != "gone" or isinstance(refused.value, expected)


@pytest.mark.parametrize("place", ["extra.bin", "golden/extra.bin", ".git/config", ".gitignore", "model.sig.bak", "a/b/c/d"])
def test_a_file_that_nobody_signed_is_named(package, keys, place):
    (package / place).parent.mkdir(parents=True, exist_ok=True)
    (package / place).write_bytes(b"x")
    with pytest.raises(FileUnknown, match=place):
        verify(package, keys)


def test_links_and_devices_are_refused(package, keys, tmp_path):
    (tmp_path / "same").write_bytes((package / "reference.onnx").read_bytes())
    (package / "reference.onnx").unlink()
    (package / "reference.onnx").symlink_to(tmp_path / "same")
    with pytest.raises(PackageUnreadable, match=r"'reference\.onnx' is a link"):
        verify(package, keys)


def test_a_folder_that_is_a_link_or_too_deep_is_refused(package, keys, tmp_path):
    (package / "golden").rename(tmp_path / "golden")
    (package / "golden").symlink_to(tmp_path / "golden")
    with pytest.raises(PackageUnreadable, match="'golden' is a link"):
        verify(package, keys)


def test_files_that_were_swapped_are_named(package, keys):
    first, second = package / "golden/inputs.bin", package / "golden/outputs.bin"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(FileDiffers, match=r"golden/inputs\.bin"):
        verify(package, keys)


def test_a_manifest_that_was_made_to_fit_is_not_the_signed_one(package, keys):
    """Who changes a file can also write its digest into the manifest, but not sign it."""
    contents = some_contents() | {"reference.onnx": b"another model"}
    shutil.move(package, package.with_name("original"))
    write_package(package, some_facts(), contents)
    shutil.copy(package.with_name("original") / "model.sig", package / "model.sig")
    with pytest.raises(FileDiffers, match=r"manifest\.json"):
        verify(package, keys)


def test_a_signature_of_another_package_does_not_fit(signed, keys):
    other, package = signed(release=8), signed(release=7)
    shutil.copy(other / "model.sig", package / "model.sig")
    with pytest.raises(FileDiffers, match=r"manifest\.json"):
        verify(package, keys)


def test_a_stranger_s_signature_does_not_count(package, keys, tmp_path):
    generate(tmp_path / "stranger.pem")
    sign_package(package, tmp_path / "stranger.pem")
    with pytest.raises(KeyNotTrusted, match=keys.keys[0].id):
        verify(package, keys)


def test_a_stranger_who_names_our_key_does_not_count(package, keys, tmp_path):
    ours = json.loads((package / "model.sig").read_bytes())
    generate(tmp_path / "stranger.pem")
    theirs = json.loads(sign_package(package, tmp_path / "stranger.pem"))
    theirs["verificationMaterial"] = ours["verificationMaterial"]
    (package / "model.sig").write_text(json.dumps(theirs, separators=(",", ":")))
    with pytest.raises(SignatureInvalid, match="is not by key"):
        verify(package, keys)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"retired_at": NOW - timedelta(seconds=1)}, "was retired"),
        ({"retired_at": NOW}, "was retired"),
        ({"not_before": NOW + timedelta(seconds=1)}, "counts from"),
        ({"retired_at": NOW + timedelta(days=1), "not_before": NOW}, None),
    ],
)
def test_a_key_counts_in_its_time(package, keys, limits, told):
    limited = TrustedKeys(keys=[keys.keys[0].model_copy(update=limits)])
    if told is None:
        assert verify(package, limited, now=NOW).key_id == keys.keys[0].id
    else:
        with pytest.raises(KeyNotTrusted, match=told):
            verify(package, limited, now=NOW)


def test_after_a_rotation_both_keys_count_until_the_old_one_is_retired(package, keys, tmp_path):
    new = generate(tmp_path / "new.pem")
    both = TrustedKeys(keys=[*keys.keys, new])
    assert verify(package, both).key_id == keys.keys[0].id
    sign_package(package, tmp_path / "new.pem")
    assert verify(package, both).key_id == new.id


SHAPES = [
    b"",
    b"{",
    b"[" * 100_000,
    b"\xff\xfe",
    b"null",
    b'{"mediaType":1}',
    b"0" * 300_000,
]


@pytest.mark.parametrize("content", SHAPES, ids=range(len(SHAPES)))
def test_what_is_no_signature_or_manifest_is_refused(package, keys, content):
    (package / "model.sig").write_bytes(content)
    with pytest.raises((SignatureInvalid, PackageUnreadable), match=r"model\.sig"):
        verify(package, keys)
    (package / "manifest.json").write_bytes(content)
    with pytest.raises((ManifestInvalid, PackageUnreadable), match=r"manifest\.json"):
        read_manifest(package)


def resigned(package, key_file, **changes):
    """The package with a signature over another payload: what only who has the key can make."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    from shared.kit.packages.envelope import _pre_authentication_encoding
    from shared.kit.packages.keys import private_key

    bundle = json.loads((package / "model.sig").read_bytes())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    content = json.dumps(payload | changes).encode()
    made = private_key(key_file).sign(_pre_authentication_encoding(content), ec.ECDSA(hashes.SHA256()))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(content).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(made).decode()
    (package / "model.sig").write_text(json.dumps(bundle, separators=(",", ":")))
    return payload


def test_a_signature_over_something_else_does_not_count(package, keys, key_file):
    resigned(package, key_file, predicateType="https://slsa.dev/provenance/v1")
    with pytest.raises(SignatureInvalid, match="something else than files"):
        verify(package, keys)


def test_signature_and_manifest_must_agree(package, keys, key_file):
    predicate = resigned(package, key_file)["predicate"]
    fewer = [each for each in predicate["resources"] if each["name"] != "reference.onnx"]
    resigned(package, key_file, predicate=predicate | {"resources": fewer})
    with pytest.raises(SignatureInvalid, match=r"disagree on reference\.onnx"):
        verify(package, keys)


def statement(key_file, **changes):
    told = {"line": "picosam2", "from_release": 9, "to_release": 7, "reason": "masks too small", "issued_at": NOW} | changes
    return sign_statement(ReleaseStatement.model_validate(told), key_file)


def test_an_older_release_needs_a_statement(package, keys, key_file):
    assert verify(package, keys, floor=7).manifest.release == 7
    with pytest.raises(ReleaseTooOld, match="release 7 of picosam2 is older than release 8"):
        verify(package, keys, floor=8)
    returned = verify(package, keys, floor=8, statement=statement(key_file)).returned_by
    assert returned is not None
    assert returned.reason == "masks too small"


@pytest.mark.parametrize(
    "changes", [{"line": "picosam3"}, {"to_release": 6}, {"from_release": 8}], ids=["line", "to", "replayed"]
)
def test_a_statement_leads_from_and_to_what_it_says(package, keys, key_file, changes):
    with pytest.raises(ReleaseTooOld, match="the statement leads"):
        verify(package, keys, floor=9, statement=statement(key_file, **changes))


def test_a_statement_counts_with_its_signature_only(package, keys, key_file, tmp_path):
    good = statement(key_file)
    generate(tmp_path / "stranger.pem")
    changed = SignedStatement(good.content.replace(b"9", b"8"), good.signature)
    for bad, error in (
        (changed, FileDiffers),
        (statement(tmp_path / "stranger.pem"), KeyNotTrusted),
        (SignedStatement(good.content, (package / "model.sig").read_bytes()), FileDiffers),
        (SignedStatement(good.content, b""), SignatureInvalid),
    ):
        with pytest.raises(error, match="the release statement"):
            verify(package, keys, floor=8, statement=bad)


def test_a_statement_s_signature_is_none_for_a_package(package, keys, key_file):
    (package / "model.sig").write_bytes(statement(key_file).signature)
    with pytest.raises(FileDiffers, match=r"manifest\.json"):
        verify(package, keys)


def test_a_camera_needs_neither_torch_nor_model_signing_and_no_second():
    heavy = ("torch", "numpy", "sqlalchemy", "model_signing", "sigstore", "google.protobuf", "httpx")
    code = f"import sys, shared.kit.packages.verifying; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_verifying_takes_no_time(package, keys):
    def measure():
        begun = datetime.now(UTC)
        verify(package, keys)
        return (datetime.now(UTC) - begun).total_seconds()

    assert quickest_s(measure, goal_s=0.1) < 0.1
    assert len(listed(package)) == len(EVERY_FILE)


def test_upstream_s_own_command_agrees(package, key_file, tmp_path):
    public = key_file.with_name("packages.pem.pub")
    shutil.move(package / "model.sig", tmp_path / "model.sig")

    def upstream() -> subprocess.CompletedProcess[str]:
        arguments = ["verify", "key", str(package), "--signature", str(tmp_path / "model.sig"), "--public_key", str(public)]
        return subprocess.run([sys.executable, "-m", "model_signing", *arguments], capture_output=True, text=True, check=False)

    agreed = upstream()
    assert agreed.returncode == 0, agreed.stderr
    (package / "golden/inputs.bin").write_bytes(b"other")
    refused = upstream()
    assert refused.returncode != 0
    assert "golden/inputs.bin" in refused.stdout + refused.stderr


def test_upstream_s_own_signature_is_taken(package, keys, key_file):
    (package / "model.sig").unlink()
    arguments = ["sign", "key", str(package), "--signature", str(package / "model.sig"), "--private_key", str(key_file)]
    subprocess.run([sys.executable, "-m", "model_signing", *arguments], capture_output=True, check=True)
    assert verify(package, keys).key_id == keys.keys[0].id


def test_files_of_the_package_may_lie_anywhere(keys, signed_package, tmp_path):
    shutil.copytree(signed_package, tmp_path / "elsewhere" / "another name")
    assert verify(Path(tmp_path, "elsewhere", "another name"), keys).key_id == keys.keys[0].id
