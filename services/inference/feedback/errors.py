"""Why a correction is not taken."""

from shared.kit.problems import Conflict, InvalidRequest, NotFound


class FeedbackDisabled(Conflict):
    """The deployment does not collect corrections."""

    title = "Feedback is off"
    hint = 'put the deployment with "feedback": {"enabled": true}'


class FeedbackNotFound(NotFound):
    """No correction has this id, or it is past its retention."""

    title = "No such correction"


class BadMask(InvalidRequest):
    """The mask is damaged, or not of the image's size."""

    title = "Mask cannot be read"


class NoFeedback(Conflict):
    """There is nothing to make a dataset of."""

    title = "No corrections"


class DatasetRefused(Conflict):
    """The jobs service did not take the dataset: its name is taken, say, or the key's scope does not reach."""

    title = "Dataset was refused"
