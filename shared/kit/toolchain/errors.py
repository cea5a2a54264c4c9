"""What may go wrong with the toolchain, each with a message and a hint for a person."""

from typing import Final

INSTALL_HINT: Final = "Run `picofleet toolchain install`."


class ToolchainError(Exception):
    """Base of all. ``hint`` says what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class ToolchainMissing(ToolchainError):
    """It is not installed, or only in parts."""


class ToolchainBusy(ToolchainError):
    """Somebody converts with it, or installs it."""


class JavaMissing(ToolchainError):
    """Neither the machine nor the toolchain has a Java that the converter takes."""


class LicenceNotAccepted(ToolchainError):
    """Proprietary software is installed only for somebody who accepted its terms."""


class InstallFailed(ToolchainError):
    """The installation broke off; nothing of it was left behind."""
