"""What may go wrong between this service and the registry."""

from shared.kit.problems import Conflict, NotFound, Unavailable


class RegistryAway(Unavailable):
    """The registry does not answer, and what is asked for is not here."""

    title = "Registry does not answer"


class ModelUnknown(NotFound):
    """The registry has no such version or alias."""

    title = "No such model version"
    hint = "`picofleet models list` shows those there are"


class NotServable(Conflict):
    """The version is no network that CPUs run: a package, say, or one whose files are damaged."""

    title = "Version cannot be served"
