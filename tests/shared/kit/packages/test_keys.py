"""Keys stay private, are never overwritten, and can be changed for others."""

import json
import os
import stat
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from shared.contracts.packages import TrustedKeys
from shared.kit.packages.errors import KeyFileRefused, PackageError
from shared.kit.packages.keys import generate, private_key, read_trusted, trust, trusted
from shared.kit.packages.signing import sign_package

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def written(path, key, *, encryption=None, mode=0o600):
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption or serialization.NoEncryption()
        )
    )
    path.chmod(mode)
    return path


def test_a_new_key_is_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        made = generate(tmp_path / "packages.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "packages.pem").stat().st_mode) == 0o600
    assert (tmp_path / "packages.pem.pub").read_text() == made.public_key
    assert private_key(tmp_path / "packages.pem").curve.name == "secp256r1"
    assert {path.name for path in tmp_path.iterdir()} == {"packages.pem", "packages.pem.pub"}


@pytest.mark.parametrize("there", ["packages.pem", "packages.pem.pub"])
def test_a_key_is_never_overwritten(tmp_path, there):
    (tmp_path / there).write_text("precious")
    with pytest.raises(FileExistsError):
        generate(tmp_path / "packages.pem")
    assert (tmp_path / there).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_the_id_is_what_openssl_computes(tmp_path):
    made = generate(tmp_path / "packages.pem")
    public = str(tmp_path / "packages.pem.pub")
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True, check=True).stdout
    assert made.id == digest[:16].decode()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_private_key_that_others_can_read_is_refused(package, tmp_path, mode):
    generate(tmp_path / "packages.pem")
    (tmp_path / "packages.pem").chmod(mode)
    before = (package / "model.sig").read_bytes()
    with pytest.raises(KeyFileRefused, match=f"mode {mode:o}") as refused:
        sign_package(package, tmp_path / "packages.pem")
    assert "chmod 600" in refused.value.hint
    assert (package / "model.sig").read_bytes() == before


def test_other_kinds_of_keys_are_refused(package, tmp_path):
    secret = serialization.BestAvailableEncryption(b"secret")
    for key, encryption, told in (
        (ec.generate_private_key(ec.SECP384R1()), None, "no ECDSA P-256 key"),
        (ed25519.Ed25519PrivateKey.generate(), None, "no ECDSA P-256 key"),
        (ec.generate_private_key(ec.SECP256R1()), secret, "without a password"),
    ):
        with pytest.raises(KeyFileRefused, match=told):
            sign_package(package, written(tmp_path / "key.pem", key, encryption=encryption))


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n", b"x" * 100_000]
)
def test_what_is_no_key_is_refused(tmp_path, content):
    (tmp_path / "key.pem").write_bytes(content)
    (tmp_path / "key.pem").chmod(0o600)
    with pytest.raises(KeyFileRefused, match="no private key"):
        private_key(tmp_path / "key.pem")
    with pytest.raises(KeyFileRefused, match=r"key\.pem"):
        read_trusted(tmp_path / "key.pem")
    with pytest.raises(KeyFileRefused, match="No such file"):
        private_key(tmp_path / "gone.pem")
    with pytest.raises(KeyFileRefused, match="No such file"):
        read_trusted(tmp_path / "gone.pem")


def test_keys_are_rotated_in_a_list(tmp_path):
    old, new = generate(tmp_path / "old.pem"), generate(tmp_path / "new.pem")
    assert trust(tmp_path / "keys.json", old).keys == [old]
    assert trust(tmp_path / "keys.json", new).keys == [old, new]
    assert trust(tmp_path / "keys.json", new).keys == [old, new], "twice is once"
    rotated = trust(tmp_path / "keys.json", new, retire_others_at=NOW)
    assert [key.retired_at for key in rotated.keys] == [NOW, None]
    later = trust(tmp_path / "keys.json", new, retire_others_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert later.keys[0].retired_at == NOW, "what was retired stays so"
    assert read_trusted(tmp_path / "keys.json") == later
    assert {path.name for path in tmp_path.iterdir()} == {"old.pem", "old.pem.pub", "new.pem", "new.pem.pub", "keys.json"}


def test_a_single_public_key_is_a_list_of_one(tmp_path):
    made = generate(tmp_path / "packages.pem")
    assert read_trusted(tmp_path / "packages.pem.pub") == TrustedKeys(keys=[made])


def test_an_id_beside_another_key_is_refused(tmp_path):
    old, new = generate(tmp_path / "old.pem"), generate(tmp_path / "new.pem")
    told = {"keys": [{"id": old.id, "public_key": new.public_key}]}
    (tmp_path / "keys.json").write_text(json.dumps(told))
    with pytest.raises(KeyFileRefused, match=f"{old.id} is not the id"):
        read_trusted(tmp_path / "keys.json")


def test_a_key_of_another_curve_is_not_trusted(tmp_path):
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(KeyFileRefused, match="no ECDSA P-256 key"):
        trusted(pem, name="theirs")


def test_what_was_changed_is_not_signed(package, key_file):
    (package / "reference.onnx").write_bytes(b"another model")
    (package / "model.sig").unlink()
    with pytest.raises(PackageError, match=r"reference\.onnx"):
        sign_package(package, key_file)
    assert not (package / "model.sig").exists()


def test_without_a_pkcs11_library_it_is_said_what_is_missing(package):
    with pytest.raises(KeyFileRefused, match="pkcs11") as refused:
        sign_package(package, "pkcs11:token=picofleet;object=packages")
    assert "model-signing[pkcs11] installed" in refused.value.hint
