"""Keys that sign packages: ECDSA P-256 in PEM files, and the list of those that are trusted."""

import hashlib
import os
import stat
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from pydantic import ValidationError

from shared.contracts.packages import TrustedKey, TrustedKeys
from shared.kit.packages.errors import KeyFileRefused
from shared.kit.packages.folder import words

PUBLIC_SUFFIX: Final = ".pub"
MAX_KEY_BYTES: Final = 64 * 1024


def generate(path: Path) -> TrustedKey:
    """Makes a private key at ``path``, mode 600, and its public key beside it as ``path``.pub; the public one.

    FileExistsError if either is there: a key is never overwritten.
    """
    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    if public_path.exists():
        raise FileExistsError(17, "File exists", str(public_path))
    private = ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    _place(path, pem, 0o600)
    public = _pem(private.public_key())
    _place(public_path, public.encode(), 0o644)
    return public_of(private)


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in ``path``. KeyFileRefused if others than its owner can read it, or if it is no P-256 key."""
    key = pem_private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileRefused(f"{path} holds no ECDSA P-256 key")
    return key


def pem_private_key(path: Path) -> PrivateKeyTypes:
    """The private key in ``path``, of whatever kind. KeyFileRefused if others than its owner can read it."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes() if path.stat().st_size <= MAX_KEY_BYTES else b""
    except OSError as exc:
        raise KeyFileRefused(f"{path} cannot be read: {exc.strerror}") from exc
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        hint = f"Say `chmod 600 {path}`, and make a new key if others may have read this one."
        raise KeyFileRefused(f"{path} can be read by others (mode {stat.S_IMODE(mode):o})", hint=hint)
    try:
        return serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise KeyFileRefused(f"{path} holds no private key without a password") from exc


def public_key(pem: str, *, name: str) -> ec.EllipticCurvePublicKey:
    """The public key in ``pem``; ``name`` is what messages call it. KeyFileRefused if it is no P-256 key."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise KeyFileRefused(f"{name} holds no public key in PEM") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileRefused(f"{name} holds no ECDSA P-256 key")
    return key


def public_of(key: ec.EllipticCurvePrivateKey, *, comment: str = "") -> TrustedKey:
    """The entry of a key list for whoever verifies what ``key`` signs."""
    public = key.public_key()
    return TrustedKey(id=key_id(public), public_key=_pem(public), comment=comment)


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """A short name: the first 16 hexadecimal digits of SHA-256 over the key in DER."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:16]


def hint(key: ec.EllipticCurvePublicKey) -> str:
    """How a signature of model-signing names its key: SHA-256 over the PEM."""
    return hashlib.sha256(_pem(key).encode()).hexdigest()


def read_trusted(path: Path) -> TrustedKeys:
    """A key list, or a single public key in PEM, which then is trusted for ever. KeyFileRefused."""
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_KEY_BYTES else b""
    except OSError as exc:
        raise KeyFileRefused(f"{path} cannot be read: {exc.strerror}") from exc
    if content.lstrip().startswith(b"-----BEGIN"):
        return TrustedKeys(keys=[trusted(content.decode("ascii", "replace"), name=str(path))])
    try:
        found = TrustedKeys.model_validate_json(content)
    except ValidationError as exc:
        raise KeyFileRefused(f"{path} is neither a key list nor a public key in PEM: {words(exc)}") from exc
    for key in found.keys:
        if key_id(public_key(key.public_key, name=f"{path}, key {key.id}")) != key.id:
            raise KeyFileRefused(f"{path}: {key.id} is not the id of the key that it stands beside")
    return found


def trusted(pem: str, *, name: str, comment: str = "") -> TrustedKey:
    """An entry for a key list. KeyFileRefused."""
    key = public_key(pem, name=name)
    return TrustedKey(id=key_id(key), public_key=_pem(key), comment=comment)


def trust(path: Path, key: TrustedKey, *, retire_others_at: datetime | None = None) -> TrustedKeys:
    """Adds ``key`` to the list in ``path``, which is made if it is missing, and may retire all others. Idempotent."""
    known = read_trusted(path).keys if path.exists() else []
    others = [each for each in known if each.id != key.id]
    if retire_others_at is not None:
        others = [_retired(each, retire_others_at) for each in others]
    changed = TrustedKeys(keys=[*others, key])
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(changed.model_dump_json(indent=2) + "\n")
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
    return changed


def _retired(key: TrustedKey, at: datetime) -> TrustedKey:
    earlier = key.retired_at is not None and key.retired_at < at
    return key if earlier else key.model_copy(update={"retired_at": at})


def _pem(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _place(path: Path, content: bytes, mode: int) -> None:
    """Writes a file that must not be there yet: whole, or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        os.link(temporary, path)  # unlike a rename, this never overwrites
    finally:
        Path(temporary).unlink()
