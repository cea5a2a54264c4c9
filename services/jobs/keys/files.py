"""Keys that a deployment hands over in a file: read, or made at the first start with mode 600."""

import os
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from services.jobs.keys import repository
from services.jobs.keys.service import create_key
from shared.contracts.base import new_id
from shared.contracts.keys import KeyIn, Scope
from shared.kit.auth import hash_secret, is_secret, new_secret
from shared.kit.database import db_now

log = structlog.get_logger(__name__)


class UnusableKeyFile(Exception):
    """The file holds something else than a key."""


def ensure_key(session: Session, path: Path, *, name: str, scope: Scope) -> None:
    """Make the key in ``path`` work under ``name``; the file is made if it is missing.

    A revoked key stays revoked. A live key of the same name whose file was lost is revoked, since nobody has its secret.
    Raises UnusableKeyFile.
    """
    secret = read_or_make(path)
    if repository.by_hash(session, hash_secret(secret)) is not None:
        return
    orphan = repository.unrevoked_by_name(session, name)
    if orphan is not None:
        orphan.revoked_at = db_now(session)
        session.flush()
        log.warning("key.replaced", name=name, path=str(path))
    create_key(session, KeyIn(name=name, scope=scope), secret=secret)


def read_or_make(path: Path) -> str:
    """The secret in ``path``. Of several processes that make it at once, one wins and all read the same."""
    if not path.exists():
        _make(path)
    secret = path.read_text(encoding="ascii").strip()
    if not is_secret(secret):
        raise UnusableKeyFile(f"{path} does not hold a key; remove it and start again to make a new one")
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{new_id()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(new_secret() + "\n")
    try:
        os.link(partial, path)  # fails if it exists: no reader ever sees half a key
    except FileExistsError:
        pass
    finally:
        partial.unlink()
