"""Keys and certificates that sign images for swupdate, and some that do not."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEYS: Final[dict[str, Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey]]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "weak": lambda: rsa.generate_private_key(65537, 1024),
}


def a_pair(
    folder: Path, kind: str = "ec", usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION
) -> tuple[Path, Path]:
    """A key file, and the file of its certificate."""
    key, now = KEYS[kind](), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "swu")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=9))
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    folder.mkdir(exist_ok=True)
    encoded = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "swu.key").write_bytes(key.private_bytes(*encoded))
    (folder / "swu.key").chmod(0o600)
    (folder / "swu.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return folder / "swu.key", folder / "swu.crt"
