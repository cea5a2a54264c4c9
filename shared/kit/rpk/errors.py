"""What can be wrong with a network.rpk."""


class RpkError(Exception):
    """The file is no rpk, is cut off, or says what cannot be. ``hint`` says what to do."""

    hint: str = "Make it again of packerOut.zip, with imx500-package on the camera."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint
