"""What can go wrong with keys."""

from shared.kit.problems import Conflict, InvalidRequest, NotFound


class KeyNotFound(NotFound):
    """No key has this id."""

    title = "No such key"


class KeyNameTaken(Conflict):
    """A live key has this name."""

    title = "Key name already taken"
    hint = "choose another name, or revoke the key that has it"


class KeyExpiresInThePast(InvalidRequest):
    """The key would be dead at birth."""

    title = "Expiry lies in the past"


class LastAdminKey(Conflict):
    """Nobody could make keys any more."""

    title = "The last admin key cannot be revoked"
    hint = "make another admin key first"


class SecretAlreadyShown(Conflict):
    """A repeated creation: its secret was shown once and is not kept."""

    title = "The key was already made"
    hint = "its secret was shown once; revoke the key and make another if it was lost"
