"""What the ML core refuses, in words made for the person who asked."""


class BadWeights(Exception):
    """A weights file that cannot be used. ``str()`` says what is wrong, ``hint`` what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
