"""The key that signs packages: a file that only this service reads, or one in a PKCS#11 module. Never in a database."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from services.jobs.packages.errors import PackagesNotSigned, SigningUnavailable
from services.jobs.settings import JobsSettings
from shared.contracts.packages import ReleaseStatement, TrustedKeys
from shared.kit.packages import keys, signing
from shared.kit.packages.errors import KeyFileRefused, PackageError
from shared.kit.packages.statements import SignedStatement
from shared.kit.packages.verifying import Verified, verify

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs package folders. ``key``: None where packages are not signed here."""

    key: Path | str | None
    public_keys: Path | None
    """The list of trusted keys that users and cameras are shown."""

    @classmethod
    def of(cls, settings: JobsSettings) -> "Signer":
        """As the settings name it; the list lies beside a key file unless they say where."""
        key: Path | str | None = settings.package_key
        if key is None or str(key).startswith(signing.PKCS11):
            return cls(key, settings.package_public_keys_file)
        key = Path(key)
        return cls(key, settings.package_public_keys_file or key.with_name(f"{key.stem}.public.json"))

    def ensure(self) -> None:
        """Make a key file with mode 600 that is not there yet, and put its public key on the list. KeyFileRefused.

        Of several processes that start at once one makes it; an operator who keeps keys elsewhere names a file that is there.
        """
        if self.key is not None and self.public_keys is None:
            hint = "Set PICOFLEET_JOBS_PACKAGE_PUBLIC_KEYS_FILE to a key list, or to the public key in PEM."
            raise KeyFileRefused("a PKCS#11 key needs the list that its public key is on", hint=hint)
        if not isinstance(self.key, Path):
            return
        if not self.key.exists():
            self.key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                made = keys.generate(self.key)
                log.info("packages.key_made", key=made.id, path=str(self.key))
        public = keys.public_of(keys.private_key(self.key))
        assert self.public_keys is not None
        if not self.public_keys.exists() or public.id not in {each.id for each in keys.read_trusted(self.public_keys).keys}:
            keys.trust(self.public_keys, public)

    def require(self) -> None:
        """PackagesNotSigned if no key is set: a job that makes a package would end in vain."""
        if self.key is None:
            raise PackagesNotSigned("This service has no key that signs packages.")

    def trusted(self) -> TrustedKeys:
        """The public keys. PackagesNotSigned if there are none, SigningUnavailable if their list cannot be read."""
        if self.public_keys is None:
            raise PackagesNotSigned("This service has no list of public keys.")
        try:
            return keys.read_trusted(self.public_keys)
        except KeyFileRefused as exc:
            raise SigningUnavailable(f"{exc}.", hint=exc.hint) from exc

    def sign_return(self, statement: ReleaseStatement) -> SignedStatement:
        """Sign a return to an older release. PackagesNotSigned, SigningUnavailable."""
        self.require()
        assert self.key is not None
        try:
            return signing.sign_statement(statement, self.key)
        except PackageError as exc:
            raise SigningUnavailable(f"The return cannot be signed: {exc}.", hint=exc.hint) from exc

    def sign(self, folder: Path) -> Verified:
        """Sign a package's folder, and see that whoever has the public list will take it. SigningUnavailable."""
        if self.key is None:
            raise SigningUnavailable("This service has no key that signs packages.", hint=PackagesNotSigned.hint)
        try:
            signing.sign_package(folder, self.key)
            return verify(folder, self.trusted())
        except PackageError as exc:
            raise SigningUnavailable(f"The package cannot be signed: {exc}.", hint=exc.hint) from exc
