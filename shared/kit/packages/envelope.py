"""Reads what OpenSSF model-signing writes: a Sigstore bundle round a DSSE envelope round an in-toto statement.

Formats: the docstring of model_signing's `_signing/signing.py`; DSSE 1.0 (secure-systems-lab/dsse, protocol.md). model-signing
can verify, too, but a camera would need 20 more packages and a second to start, and it takes a signature whose base64 was
changed in its unused bits. Here only the one form is taken that signing writes, so that no byte of it can be another.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.contracts.packages import TrustedKey
from shared.kit.packages.errors import KeyNotTrusted, SignatureInvalid
from shared.kit.packages.keys import hint, public_key

MAX_SIGNATURE_BYTES: Final = 256 * 1024
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
Hexadecimal = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _PublicKey(_Exact):
    hint: Hexadecimal


class _VerificationMaterial(_Exact):
    publicKey: _PublicKey
    tlogEntries: Annotated[list[str], Field(max_length=0)]


class _Signature(_Exact):
    sig: str
    keyid: Literal[""]


class _Envelope(_Exact):
    payload: str
    payloadType: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[list[_Signature], Field(min_length=1, max_length=1)]


class _Bundle(_Exact):
    """Fields in the order in which they are written."""

    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verificationMaterial: _VerificationMaterial
    dsseEnvelope: _Envelope


class _Resource(BaseModel):
    name: str
    algorithm: Literal["sha256"]
    digest: Hexadecimal


class _Serialization(BaseModel):
    method: Literal["files"]


class _Predicate(BaseModel):
    resources: list[_Resource]
    serialization: _Serialization


class _Statement(BaseModel):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicateType: Literal["https://model_signing/signature/v1.0"]
    predicate: _Predicate


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature vouches for: digests (``sha256:...``) by name, and whose it is."""

    key_id: str
    digests: dict[str, str]


def opened(content: bytes, keys: Sequence[TrustedKey], now: datetime, *, file: str) -> Signed:
    """What the signature in ``content`` vouches for. SignatureInvalid or KeyNotTrusted, naming ``file``."""
    bundle = _bundle(content, file)
    signer = _signer(bundle.verificationMaterial.publicKey.hint, keys, now, file)
    payload = _decoded(bundle.dsseEnvelope.payload, file)
    signature = _decoded(bundle.dsseEnvelope.signatures[0].sig, file)
    key = public_key(signer.public_key, name=f"key {signer.id}")
    try:
        key.verify(signature, _pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256()))
        statement = _Statement.model_validate_json(payload)
    except InvalidSignature as exc:
        raise SignatureInvalid(f"{file} is not by key {signer.id}", file=file) from exc
    except ValidationError as exc:
        raise SignatureInvalid(f"{file} vouches for something else than files", file=file) from exc
    return Signed(signer.id, {each.name: f"sha256:{each.digest}" for each in statement.predicate.resources})


def in_one_form(content: bytes) -> bytes:
    """A bundle as `opened` takes it, whatever the spaces in it."""
    return _Bundle.model_validate_json(content).model_dump_json().encode()


def _bundle(content: bytes, file: str) -> _Bundle:
    try:
        bundle = _Bundle.model_validate_json(content)
    except ValidationError as exc:
        raise SignatureInvalid(f"{file} is no signature of model-signing", file=file) from exc
    if bundle.model_dump_json().encode() != content:
        raise SignatureInvalid(f"{file} is not written as a signature is written", file=file)
    return bundle


def _signer(wanted: str, keys: Sequence[TrustedKey], now: datetime, file: str) -> TrustedKey:
    for key in keys:
        if hint(public_key(key.public_key, name=f"key {key.id}")) != wanted:
            continue
        if key.not_before is not None and now < key.not_before:
            raise KeyNotTrusted(f"{file} is by key {key.id}, which counts from {key.not_before:%Y-%m-%d %H:%M} on", file=file)
        if key.retired_at is not None and now >= key.retired_at:
            raise KeyNotTrusted(f"{file} is by key {key.id}, which was retired at {key.retired_at:%Y-%m-%d %H:%M}", file=file)
        return key
    known = ", ".join(key.id for key in keys)
    raise KeyNotTrusted(f"{file} is by a key that is not on the list ({known})", file=file)


def _decoded(text: str, file: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise SignatureInvalid(f"{file} is damaged", file=file) from exc
    if base64.b64encode(content).decode() != text:  # the last letter may have bits that mean nothing
        raise SignatureInvalid(f"{file} is damaged", file=file)
    return content


def _pre_authentication_encoding(payload: bytes) -> bytes:
    return b" ".join([b"DSSEv1", b"%d" % len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), b"%d" % len(payload), payload])
