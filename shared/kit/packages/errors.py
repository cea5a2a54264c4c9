"""What can be wrong with a package. Each message names the file at fault; each hint says what to do."""


class PackageError(Exception):
    """A package cannot be used. ``file`` is its place in the package; None where the whole is at fault."""

    hint: str = "Fetch the package again."

    def __init__(self, message: str, *, file: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.file = file
        if hint is not None:
            self.hint = hint


class PackageUnreadable(PackageError):
    """Neither a folder nor a tar, cut off, or beyond what a package may hold: links, devices, sizes, paths."""

    hint = "A package is a folder, a .tar or a .tar.gz of regular files, as `picofleet package inspect` shows it."


class ManifestInvalid(PackageError):
    """manifest.json or another description in the package says what cannot be."""

    hint = "Make the package again; one of a newer format needs a newer Picofleet."


class FileDiffers(PackageError):
    """A file is not the one that was signed."""

    hint = "It was damaged or changed after it was signed. Fetch the package again; if it stays so, tell who signed it."


class FileMissing(PackageError):
    """A file that was signed is not there."""


class FileUnknown(PackageError):
    """A file is there that nobody signed."""

    hint = "Remove it, or fetch the package again."


class SignatureMissing(PackageError):
    """Nobody vouches for the package."""

    hint = "The jobs service signs a package when its job finishes; sign others with `picofleet package sign`."


class SignatureInvalid(PackageError):
    """The signature is damaged, or vouches for something else."""


class KeyNotTrusted(PackageError):
    """The signature is by a key that does not count: unknown, not yet valid, or retired."""

    hint = "Add the public key to the key list if you trust it; sign the package anew if its key was retired."


class ReleaseTooOld(PackageError):
    """A lower release number than was seen before, and no statement that allows it."""

    hint = "Install a newer release, or have the return signed: `picofleet package allow-return`."


class KeyFileRefused(PackageError):
    """A key file is missing, readable by others, or holds no ECDSA P-256 key."""

    hint = "Make one with `picofleet package keygen`."
