"""A package as an image for swupdate: a cpio archive of a description, its signature, and the package's tar.

Formats: newc cpio as the kernel's `buffer-format.rst` has it; sw-description as swupdate's `doc/source/sw-description.rst`, in
libconfig's syntax; sw-description.sig as `doc/source/signed_images.rst`: CMS, detached, DER, SHA-256. The sum of the tar is in
the description, so the signature vouches for all.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from shared.contracts.base import NAME_PATTERN, is_digest
from shared.kit.packages.errors import KeyFileRefused, PackageUnreadable
from shared.kit.packages.keys import MAX_KEY_BYTES, pem_private_key

DESCRIPTION: Final = "sw-description"
SIGNATURE: Final = "sw-description.sig"
MAX_BYTES: Final = 2**32 - 1
"""Of a file in the archive: newc has eight hexadecimal digits for its size."""
_TRAILER: Final = "TRAILER!!!"
_BLOCK_BYTES: Final = 512
"""Archives end with a whole one, and swupdate reads to there."""
_PURPOSES: Final = frozenset({Usage.EMAIL_PROTECTION, Usage.CODE_SIGNING, Usage.ANY_EXTENDED_KEY_USAGE})
_PATH: Final = re.compile(r"(/[A-Za-z0-9_.-]+)+")
_OPTIONS: Final = (pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes)
"""Without attributes, since one of them is the time: the bytes are to depend on package and key alone."""


@dataclass(frozen=True, slots=True)
class SwuSigner:
    """Whose images swupdate takes that was started with ``-k`` and this certificate."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def sign(self, content: bytes) -> bytes:
        """CMS in DER, with the certificate in it. The same each time with RSA; ECDSA draws a number each time."""
        builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
        signed = builder.add_signer(self.certificate, self.key, hashes.SHA256())
        return signed.sign(serialization.Encoding.DER, list(_OPTIONS))


def read_signer(key_file: Path, certificate_file: Path) -> SwuSigner:
    """Key and certificate, both PEM. KeyFileRefused: others may read the key, it is neither RSA of 2048 bits or more nor
    P-256, it is not the certificate's, or the certificate is for other purposes than swupdate's.
    """
    key = pem_private_key(key_file)
    if not (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048) and not (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        raise KeyFileRefused(f"{key_file} holds neither an RSA key of 2048 bits or more nor an ECDSA P-256 key", hint=_MAKE)
    certificate = _certificate(certificate_file)
    if certificate.public_key() != key.public_key():
        raise KeyFileRefused(f"{certificate_file} is not the certificate of the key in {key_file}", hint=_MAKE)
    return SwuSigner(key, certificate)


_MAKE: Final = (
    "Make both: `openssl req -x509 -newkey rsa:3072 -nodes -subj /CN=swu -addext extendedKeyUsage=emailProtection "
    "-keyout swu.key -out swu.crt -days 3650`."
)


def _certificate(path: Path) -> x509.Certificate:
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_KEY_BYTES else b""
        certificate = x509.load_pem_x509_certificate(content)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except OSError as exc:
        raise KeyFileRefused(f"{path} cannot be read: {exc.strerror}", hint=_MAKE) from exc
    except x509.ExtensionNotFound:
        return certificate
    except ValueError as exc:
        raise KeyFileRefused(f"{path} holds no certificate in PEM", hint=_MAKE) from exc
    if _PURPOSES.isdisjoint(usage):
        raise KeyFileRefused(f"{path} is for neither email protection nor code signing, so swupdate refuses it", hint=_MAKE)
    return certificate


def swu_of_package(
    signer: SwuSigner, *, line: str, release: int, digest: str, size_bytes: int, tar: Iterable[bytes], target_dir: str
) -> Iterator[bytes]:
    """The image, piece by piece, that puts a package's tar to ``<target_dir>/<line>-<release>.tar``.

    ``digest`` and ``size_bytes`` are the tar's, which is read once. ValueError for a line or a place that swupdate's file
    could not hold; PackageUnreadable, maybe in the middle, if the tar has more than 4 GiB or another size than was told.
    """
    if not re.fullmatch(NAME_PATTERN, line) or not is_digest(digest) or release < 1:
        raise ValueError(f"{line!r}, {release}, {digest!r} do not name a package")
    if not _PATH.fullmatch(target_dir) or ".." in target_dir.split("/"):
        raise ValueError(f"{target_dir!r} is not an absolute path of letters, digits, dots, hyphens and underscores")
    if size_bytes > MAX_BYTES:
        raise PackageUnreadable(f"the tar has {size_bytes:,} bytes; an image for swupdate takes {MAX_BYTES:,}")
    description = _description(line, release, digest.removeprefix("sha256:"), target_dir)
    return _archive(description, signer.sign(description), f"{line}-{release}.tar", size_bytes, tar)


def _description(line: str, release: int, sha256: str, target_dir: str) -> bytes:
    # Any board: what a package needs of a camera is said in the package, and the agent looks at it.
    # atomic-install: the tar appears whole under its name, or not at all.
    return f"""software =
{{
\tname = "{line}";
\tversion = "{release}";
\tdescription = "Picofleet package {line}/{release}";
\thardware-compatibility: [ "#RE:.*" ];
\tfiles: (
\t\t{{
\t\t\tfilename = "{line}-{release}.tar";
\t\t\tpath = "{target_dir}/{line}-{release}.tar";
\t\t\ttype = "rawfile";
\t\t\tsha256 = "{sha256}";
\t\t\tproperties: {{
\t\t\t\tcreate-destination = "true";
\t\t\t\tatomic-install = "true";
\t\t\t}};
\t\t}}
\t);
}};
""".encode()


def _archive(description: bytes, signature: bytes, name: str, size: int, tar: Iterable[bytes]) -> Iterator[bytes]:
    head = b"".join(
        [
            _entry(1, DESCRIPTION, len(description)) + _padded(description),
            _entry(2, SIGNATURE, len(signature)) + _padded(signature),
            _entry(3, name, size),
        ]
    )
    yield head
    yield from _measured(tar, size)
    tail = bytes(-size % 4) + _entry(0, _TRAILER, 0)
    yield tail + bytes(-(len(head) + size + len(tail)) % _BLOCK_BYTES)


def _measured(tar: Iterable[bytes], size: int) -> Iterator[bytes]:
    seen = 0
    for chunk in tar:
        seen += len(chunk)
        if seen > size:
            break
        yield chunk
    if seen != size:
        raise PackageUnreadable(f"the tar has {'more' if seen > size else 'fewer'} bytes than the {size:,} that were told")


def _entry(number: int, name: str, size: int) -> bytes:
    mode = 0o100644 if number else 0
    fields = (number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name) + 1, 0)
    return _padded(b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode("ascii") + b"\0")


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
