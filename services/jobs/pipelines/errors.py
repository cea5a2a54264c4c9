"""What the pipeline routes may refuse, and why.

NotFound
└── PipelineNotFound
Conflict
├── PipelineNotCancellable
└── PipelineNotRetryable
"""

from shared.kit.problems import Conflict, NotFound


class PipelineNotFound(NotFound):
    """There is no pipeline with this id."""

    title = "No such pipeline"
    hint = "`GET /v1/pipelines` lists the pipelines"


class PipelineNotCancellable(Conflict):
    """The pipeline has already succeeded or failed."""

    title = "The pipeline is over"
    hint = "nothing is left to cancel; see the steps' results or errors"


class PipelineNotRetryable(Conflict):
    """It has not ended, or every step has succeeded and none was named."""

    title = "The pipeline cannot be retried"
    hint = "retry takes pipelines that have ended; name a step as `from_step` to run one that succeeded again"
