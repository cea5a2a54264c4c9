"""What can go wrong with datasets.

NotFound ── DatasetNotFound
Conflict ── DatasetNameTaken, DatasetNotReady, DatasetInUse
InvalidRequest ── PathRefused
"""

from shared.kit.problems import Conflict, InvalidRequest, NotFound


class DatasetNotFound(NotFound):
    """No dataset has this name or id."""

    title = "No such dataset"
    hint = "`GET /v1/datasets` lists the datasets"


class DatasetNameTaken(Conflict):
    """A dataset has this name."""

    title = "Dataset name already taken"
    hint = "choose another name, or delete the dataset that has it"


class DatasetNotReady(Conflict):
    """Its import runs or has failed."""

    title = "Dataset is not ready"
    hint = "wait for its import job, or read why that failed"


class DatasetInUse(Conflict):
    """Jobs that are not over read it: the member ``jobs`` names them."""

    title = "Dataset is in use"
    hint = "cancel these jobs or wait for them; `?force=true` deletes the dataset and lets them fail"


class PathRefused(InvalidRequest):
    """A path that leads out of the configured roots, or to nothing."""

    title = "Path refused"
