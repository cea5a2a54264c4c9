"""What may go wrong between this service and the registry."""

from shared.kit.problems import Conflict, NotFound, Unavailable


class ModelsAway(Unavailable):
    """The registry cannot be asked, and what is asked for is not here."""

    title = "Registry cannot be asked"


class ModelUnknown(NotFound):
    """The registry has no such version or alias."""

    title = "No such model version"
    hint = "`picofleet models list` shows those there are"


class NotServable(Conflict):
    """The version is no network that CPUs run: a package, say."""

    title = "Version cannot be served"
    hint = "name a version with a network"
