"""What the routes of cameras, groups and provisioning tokens may refuse, and why.

NotFound
├── CameraNotFound
├── GroupNotFound
└── ProvisioningTokenNotFound
Conflict
├── CameraExists (where they are registered: services.fleet.cameras.registering)
├── ReplacementRefused
├── CameraChangedMeanwhile
├── ProvisioningTokenNameTaken
└── TokenAlreadyShown
"""

from shared.kit.problems import Conflict, NotFound


class CameraNotFound(NotFound):
    """No camera has this id, or it was deleted."""

    title = "No such camera"
    hint = "`GET /v1/fleet/cameras?controller_id=...` finds the id of a camera by what it calls itself"


class GroupNotFound(NotFound):
    """No group has this name."""

    title = "No such group"
    hint = "`GET /v1/fleet/groups` lists those there are"


class ProvisioningTokenNotFound(NotFound):
    """No provisioning token has this id."""

    title = "No such provisioning token"
    hint = "`GET /v1/fleet/provisioning-tokens` lists those there are"


class ReplacementRefused(Conflict):
    """The successor cannot take the camera's place."""

    title = "Camera cannot be replaced by this one"
    hint = "name a camera that is registered, was not replaced itself, and is at no action now"


class CameraChangedMeanwhile(Conflict):
    """A rollout reached for the camera at the same moment."""

    title = "Camera changed meanwhile"
    hint = "send the request again"


class ProvisioningTokenNameTaken(Conflict):
    """Another provisioning token has this name; revoked ones keep theirs."""

    title = "Provisioning token name already taken"
    hint = "choose another name"


class TokenAlreadyShown(Conflict):
    """The request was answered before, and a secret is shown once."""

    title = "Token was shown before"
    hint = "make a new one: `POST /v1/fleet/cameras/{id}/token`, or another provisioning token"
