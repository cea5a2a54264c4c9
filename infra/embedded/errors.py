"""What may go wrong with the embedded platform."""


class PlatformError(Exception):
    """The platform cannot be started or stopped. ``hint`` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class ProgramFailed(PlatformError):
    """One process did not come up. ``log_tail`` holds its last lines."""

    def __init__(self, message: str, *, program: str, log_tail: list[str], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.program, self.log_tail = program, log_tail
