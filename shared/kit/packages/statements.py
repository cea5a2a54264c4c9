"""Release statements: who sends cameras of a line back to an older release."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from pydantic import ValidationError

from shared.contracts.base import digest_of
from shared.contracts.packages import ReleaseStatement, TrustedKeys
from shared.kit.packages.envelope import opened
from shared.kit.packages.errors import FileDiffers, ManifestInvalid, PackageUnreadable
from shared.kit.packages.folder import MAX_DESCRIPTION_BYTES, words

SUFFIX: Final = ".sig"
NAME: Final = "the release statement"


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement's bytes and those of its signature."""

    content: bytes
    signature: bytes

    @classmethod
    def read(cls, path: Path) -> Self:
        """From ``path`` and ``path``.sig. PackageUnreadable."""
        return cls(_small(path), _small(path.with_name(path.name + SUFFIX)))

    def write(self, path: Path) -> None:
        """To ``path`` and ``path``.sig; the signature first, so that no statement lies there without."""
        path.with_name(path.name + SUFFIX).write_bytes(self.signature)
        path.write_bytes(self.content)

    def verified(self, keys: TrustedKeys, now: datetime) -> ReleaseStatement:
        """What it says, if a trusted key signed it. SignatureInvalid, KeyNotTrusted, FileDiffers, ManifestInvalid."""
        signed = opened(self.signature, keys.keys, now, file=f"{NAME}'s signature")
        if signed.digests != {".": digest_of(self.content)}:  # model-signing's name of a single file
            raise FileDiffers(f"{NAME} is not the one that was signed", file=NAME)
        try:
            return ReleaseStatement.model_validate_json(self.content)
        except ValidationError as exc:
            raise ManifestInvalid(f"{NAME}: {words(exc)}", file=NAME) from exc


def _small(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DESCRIPTION_BYTES + 1)
    except OSError as exc:
        raise PackageUnreadable(f"{path} cannot be read: {exc.strerror}", file=path.name) from exc
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise PackageUnreadable(f"{path} has more than {MAX_DESCRIPTION_BYTES:,} bytes", file=path.name)
    return content
