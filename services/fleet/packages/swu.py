"""Images for swupdate, made of packages when they are imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.fleet.settings import FleetSettings
from shared.kit.blobs import CHUNK
from shared.kit.packages.swu import SwuSigner, read_signer, swu_of_package


@dataclass(frozen=True, slots=True)
class SwuMaker:
    """Signs images that put packages into ``target_dir`` of a camera."""

    signer: SwuSigner
    target_dir: str

    @classmethod
    def of(cls, settings: FleetSettings) -> Self | None:
        """As the settings have it; None if they want no images. KeyFileRefused."""
        if settings.swu_target_dir is None or settings.swu_key_file is None or settings.swu_certificate_file is None:
            return None
        return cls(read_signer(settings.swu_key_file, settings.swu_certificate_file), settings.swu_target_dir)

    def make(self, tar: Path, *, line: str, release: int, sha256: str) -> Path:
        """Write the image of a package beside its tar; the tar is read once, piece by piece. PackageUnreadable."""
        image = tar.with_suffix(".swu")
        with tar.open("rb") as source, image.open("wb") as target:
            pieces = swu_of_package(
                self.signer,
                line=line,
                release=release,
                digest=f"sha256:{sha256}",
                size_bytes=tar.stat().st_size,
                tar=iter(lambda: source.read(CHUNK), b""),
                target_dir=self.target_dir,
            )
            target.writelines(pieces)
        return image
