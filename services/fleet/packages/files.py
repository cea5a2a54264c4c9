"""Files of packages: stored by what is in them, named with the digests that update clients ask for."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.fleet.packages.models import PackageFile
from shared.kit.blobs import CHUNK, BlobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file whose bytes are in the store, and which no package has yet. ``source``: where they came from."""

    part: str
    filename: str
    format: str
    size_bytes: int
    sha256: str
    sha1: str
    md5: str
    source: Path

    def row(self, package_id: str) -> PackageFile:
        """As a file of that package."""
        return PackageFile(
            package_id=package_id,
            part=self.part,
            filename=self.filename,
            format=self.format,
            size_bytes=self.size_bytes,
            sha256=self.sha256,
            sha1=self.sha1,
            md5=self.md5,
        )


def store(blobs: BlobStore, source: Path, *, part: str, filename: str, format: str) -> StoredFile:
    """Put a file into the store; it is read once, piece by piece."""
    # What DDI clients compare; the blob's own name is what we trust.
    md5, sha1 = hashlib.md5(usedforsecurity=False), hashlib.sha1(usedforsecurity=False)

    def seen(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            md5.update(chunk)
            sha1.update(chunk)
            yield chunk

    with source.open("rb") as file:
        chunks = iter(lambda: file.read(CHUNK), b"")
        stored = blobs.put_stream(seen(chunks), max_bytes=source.stat().st_size)
    return StoredFile(
        part=part,
        filename=filename,
        format=format,
        size_bytes=stored.size_bytes,
        sha256=stored.digest.removeprefix("sha256:"),
        sha1=sha1.hexdigest(),
        md5=md5.hexdigest(),
        source=source,
    )


def restore(blobs: BlobStore, files: Iterable[StoredFile]) -> None:
    """Put those into the store again that were removed since, with the last package that had the same bytes."""
    for file in files:
        if not blobs.exists(f"sha256:{file.sha256}"):
            blobs.put_file(file.source)
