"""What can go wrong with a dataset. Each message names the thing at fault; each hint says what to do."""


class DataError(Exception):
    """A dataset cannot be used. ``hint`` says what to do next."""

    hint: str = "Look at the dataset's report."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class ImportRefused(DataError):
    """The source as a whole is unusable: no such folder, not JSON, no usable image. Single bad rows never raise this."""

    hint = "Correct the source's paths or format and register the dataset again."


class ArchiveRefused(DataError):
    """The archive is broken, would leave its folder, or breaks a limit."""

    hint = "Make a plain zip or tar of regular files with relative paths, within the limits named."


class DatasetGone(DataError):
    """Files that were there at import are missing now."""

    hint = "Put the dataset's files back where they were registered, or register them at their new place."


class DatasetChanged(DataError):
    """A file is no longer the one that was imported."""

    hint = "Register the dataset again: its contents changed after the import."


class ManifestInvalid(DataError):
    """The manifest is cut off, of an unknown version, or not one of ours."""

    hint = "Import the dataset again."


class Stopped(Exception):  # a wish of the caller, not an error: hence the name
    """``stop()`` was true: the work was left undone, nothing half-written was kept."""
