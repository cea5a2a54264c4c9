"""What the job routes may refuse, and why.

NotFound
└── JobNotFound
Conflict
├── JobNotCancellable
├── JobNotRetryable
├── JobChanged
├── NotClaimable
└── StaleToken
"""

from shared.kit.problems import Conflict, NotFound


class JobNotFound(NotFound):
    """There is no job with this id."""

    title = "No such job"
    hint = "`GET /v1/jobs` lists the jobs"


class JobNotCancellable(Conflict):
    """The job has already succeeded or failed."""

    title = "The job is over"
    hint = "nothing is left to cancel; see the job's result or error"


class JobNotRetryable(Conflict):
    """Only a failed or cancelled job can be retried."""

    title = "The job cannot be retried"
    hint = "retry takes failed and cancelled jobs; submit a new job to run a successful one again"


class JobChanged(Conflict):
    """The job changed its state while the request was decided."""

    title = "The job changed meanwhile"
    hint = "read the job again and repeat the request if it still makes sense"


class NotClaimable(Conflict):
    """To a worker: somebody else has the job, or it need not or cannot run now. Forget the message."""

    title = "The job cannot be claimed"
    hint = "forget this message; a job that becomes ready is sent again"


class StaleToken(Conflict):
    """To a worker: the job is no longer yours. Stop at once and write nothing more."""

    title = "The claim is over"
    hint = "stop the work and write nothing more: the job was cancelled, given to another worker, or has ended"
