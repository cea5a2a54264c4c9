"""What can go wrong with shards."""

from shared.kit.problems import InvalidRequest, NotFound


class ShardsNotFound(NotFound):
    """Nobody has prepared this set yet, or its bytes are gone."""

    title = "No such shards"
    hint = "prepare them and offer them with PUT"


class ShardsIncomplete(InvalidRequest):
    """A file of the set was not uploaded."""

    title = "A file of the shards is missing"
    hint = "upload every file with POST /v1/blobs before the PUT"
