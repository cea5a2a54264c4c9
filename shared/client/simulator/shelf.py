"""Packages as the simulated cameras see them: each is verified once in the process, for all of them."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from shared.contracts.packages import ReleaseStatement, TrustedKeys
from shared.contracts.packaging import SignedReturnOut
from shared.kit.packages.errors import PackageError
from shared.kit.packages.statements import SignedStatement
from shared.kit.packages.verifying import verify

Fetch = Callable[[Path], Awaitable[None]]
"""Saves a package's tar under a path."""


class Refused(Exception):
    """A camera must not install this; the text says why."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a package is, as its signed manifest says; ``line`` is None where nobody looked."""

    line: str | None
    release: int


class Shelf:
    """Verified packages by the sha256 of their tar. Without ``trusted`` keys nothing is verified, nor kept from going back."""

    def __init__(self, trusted: TrustedKeys | None) -> None:
        self._trusted = trusted
        self._found: dict[str, Known | str] = {}
        """A text says why nobody may install it."""
        self._turns: dict[str, asyncio.Lock] = {}
        self._statements: dict[str, ReleaseStatement] = {}

    @property
    def verifies(self) -> bool:
        """Whether signatures are looked at."""
        return self._trusted is not None

    async def known(self, sha256: str, fetch: Fetch) -> Known:
        """What the package is; the first caller fetches and verifies it, others wait for that. Refused."""
        if self._trusted is None:
            return Known(None, 0)
        if sha256 not in self._found:
            async with self._turns.setdefault(sha256, asyncio.Lock()):
                try:
                    if sha256 not in self._found:
                        self._found[sha256] = await self._verified(fetch, self._trusted)
                finally:
                    self._turns.pop(sha256, None)  # a lock belongs to one event loop, and the shelf may see several
        found = self._found[sha256]
        if isinstance(found, str):
            raise Refused(found)
        return found

    def check_return(self, known: Known, floor: int, statement: str | None) -> None:
        """Refused if the package is older than ``floor`` and no signed ``statement`` leads there from it or above."""
        if known.line is None or known.release >= floor:
            return
        told = f"release {known.release} of {known.line} is older than release {floor}, which was seen before"
        if statement is None:
            raise Refused(told)
        said = self._statement(statement)
        if said.line != known.line or said.to_release != known.release or said.from_release < floor:
            raise Refused(f"{told}; the statement leads {said.line} from {said.from_release} to {said.to_release}")

    async def _verified(self, fetch: Fetch, trusted: TrustedKeys) -> Known | str:
        with tempfile.TemporaryDirectory(prefix="picofleet-simulator-") as folder:
            path = Path(folder) / "package.tar"
            await fetch(path)
            try:
                found = await asyncio.to_thread(verify, path, trusted)
            except PackageError as exc:
                return str(exc)
        return Known(found.manifest.line, found.manifest.release)

    def _statement(self, text: str) -> ReleaseStatement:
        if text not in self._statements:
            assert self._trusted is not None, "check_return has seen a verified package"
            try:
                sent = SignedReturnOut.model_validate_json(text)
                signed = SignedStatement(sent.statement.encode(), sent.signature.encode())
                self._statements[text] = signed.verified(self._trusted, datetime.now(UTC))
            except ValidationError as exc:
                raise Refused("the statement of a return cannot be read") from exc
            except PackageError as exc:
                raise Refused(str(exc)) from exc
        return self._statements[text]
