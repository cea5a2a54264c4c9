"""Signs packages and release statements, through OpenSSF model-signing (the extra ``signing``)."""

import importlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.contracts.packages import SIGNATURE, ReleaseStatement
from shared.kit.packages.envelope import in_one_form
from shared.kit.packages.errors import KeyFileRefused
from shared.kit.packages.folder import check_files, read_manifest
from shared.kit.packages.keys import private_key
from shared.kit.packages.statements import SignedStatement

if TYPE_CHECKING:
    from model_signing import signing

PKCS11: Final = "pkcs11:"


def make_ready() -> None:
    """Import what signing needs, which takes a second: for a caller who must be quick later."""
    importlib.import_module("model_signing.signing")


def sign_package(folder: Path, key: Path | str) -> bytes:
    """Signs the package in ``folder`` into its model.sig, over an older one; the signature.

    ``key``: a private key file of mode 600, or a PKCS#11 URI. The files are checked against the manifest first: PackageError.
    """
    check_files(folder, read_manifest(folder))
    signature = _signature(folder, key)
    handle, temporary = tempfile.mkstemp(dir=folder.parent, prefix=f".{folder.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(signature)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(folder / SIGNATURE)
    return signature


def sign_statement(statement: ReleaseStatement, key: Path | str) -> SignedStatement:
    """Signs a release statement; `key` as for a package."""
    content = (statement.model_dump_json(indent=2) + "\n").encode()
    with tempfile.TemporaryDirectory(prefix="picofleet-statement-") as folder:
        path = Path(folder, "statement.json")
        path.write_bytes(content)
        return SignedStatement(content, _signature(path, key))


def _signature(model: Path, key: Path | str) -> bytes:
    from model_signing import hashing, signing  # a second to import, and only who signs needs it

    config = signing.Config()  # type: ignore[no-untyped-call]  # its __init__ has no annotations
    if isinstance(key, str) and key.startswith(PKCS11):
        _use_pkcs11(config, key)
    else:
        private_key(Path(key))  # model-signing reads the file whoever else may, and takes other curves
        config.use_elliptic_key_signer(private_key=key)
    files = hashing.Config()  # type: ignore[no-untyped-call]
    config.set_hashing_config(files.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False))
    with tempfile.TemporaryDirectory(prefix="picofleet-signature-") as folder:
        config.sign(model, Path(folder, SIGNATURE))
        return in_one_form(Path(folder, SIGNATURE).read_bytes())


def _use_pkcs11(config: "signing.Config", uri: str) -> None:
    try:
        config.use_pkcs11_signer(pkcs11_uri=uri)
    except Exception as exc:  # PyKCS11's own errors have no other base, and it need not be installed
        form = "pkcs11:token=picofleet;object=packages?pin-source=PATH&module-path=LIBRARY"
        hint = f"Written as {form}, and with model-signing[pkcs11] installed."
        raise KeyFileRefused(f"the PKCS#11 key cannot be used: {exc}", hint=hint) from exc
