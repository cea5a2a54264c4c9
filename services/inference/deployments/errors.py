"""What the deployment routes may refuse, and why.

NotFound
├── DeploymentNotFound (where they are served: services.inference.engine.served)
└── GenerationNotFound
Conflict
├── DeploymentChanged
└── OtherTarget
PreconditionFailed 412
"""

from shared.kit.problems import Conflict, NotFound, Problem


class GenerationNotFound(NotFound):
    """The deployment has no such generation."""

    title = "No such generation"
    hint = "`GET /v1/deployments/{name}/revisions` lists those there are"


class DeploymentChanged(Conflict):
    """Somebody else changed the deployment at the same moment."""

    title = "Deployment changed meanwhile"
    hint = "read it again, then decide"


class OtherTarget(Conflict):
    """A deployment stays on CPUs, or on fleets, as long as it lives."""

    title = "Deployment of the other kind"
    hint = "choose another name, or delete this deployment first: then it answers no requests, or its cameras stay as they are"


class PreconditionFailed(Problem):
    """The deployment is not at the generation that If-Match names."""

    status, title = 412, "Another generation"
    hint = "read the deployment again; its ETag is the generation"
