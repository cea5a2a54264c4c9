"""Secrets in files: made once, readable by the owner alone, never half written."""

import os
import secrets
import tempfile
from pathlib import Path

from infra.embedded.errors import PlatformError


def secret_in(path: Path, *, prefix: str = "pf_") -> str:
    """The secret in ``path``; made with mode 600 if the file is not there. Of two processes that race, both get the first's.

    PlatformError if the file holds no secret or belongs to somebody else.
    """
    if not path.exists():
        _create(path, f"{prefix}{secrets.token_urlsafe(32)}")
    found = path.stat()
    if found.st_uid != os.getuid():
        raise PlatformError(f"{path} belongs to another user.", hint="Choose a PICOFLEET_HOME of your own.")
    path.chmod(0o600)
    secret = path.read_text().strip()
    if len(secret) < 40 or not secret.startswith(prefix):
        raise PlatformError(f"{path} holds no key.", hint="Remove the file; `picofleet up` makes a new one.")
    return secret


def write_private(path: Path, text: str) -> None:
    """Write ``text`` atomically with mode 600: readers see the old or the new content, never a part."""
    temporary = _temporary(path, text)
    temporary.replace(path)


def _create(path: Path, secret: str) -> None:
    temporary = _temporary(path, secret + "\n")
    try:
        os.link(temporary, path)  # unlike a rename, this never overwrites
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _temporary(path: Path, text: str) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 600
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
