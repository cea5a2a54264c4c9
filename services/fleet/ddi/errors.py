"""What devices may be told."""

from typing import ClassVar

from shared.kit.problems import (
    BadRequest,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    Problem,
    TooManyRequests,
    Unauthorized,
)


class TenantNotFound(NotFound):
    """The first segment of the path."""

    title = "No such tenant"
    hint = "there is one tenant, `default`: ask under /default/controller/v1/{controllerId}"


class InvalidControllerId(BadRequest):
    """The device's id in the path is none."""

    title = "Not a controller id"
    hint = "1 to 128 characters that can be seen, not `.` or `..`, as percent-encoded UTF-8: a slash is %2F"


class NotLetIn(Unauthorized):
    """No token, or none of this camera's: whether the camera exists is not told."""

    title = "Device not let in"
    hint = "send `Authorization: TargetToken <the camera's token>`, or `GatewayToken <a provisioning token>`"

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that RFC 9110 asks for."""
        return {"WWW-Authenticate": 'TargetToken realm="picofleet", GatewayToken realm="picofleet"'}


class NoMoreCameras(Forbidden):
    """The provisioning token has let in as many as it may."""

    title = "Provisioning token used up"
    hint = "make another provisioning token, or register the camera by hand"


class DeviceActionNotFound(NotFound):
    """The camera has no such action, or it is not to be seen yet."""

    title = "No such action"
    hint = "poll again: the answer's links name the action that there is"


class NotOffered(DeviceActionNotFound):
    """Its turn has come, but it is not to be changed now. ``opens_at`` is a member where a time is known."""

    title = "Action not offered now"


class ActionGone(Problem):
    """It is over."""

    status: ClassVar[int] = 410
    title: ClassVar[str] = "Action is over"
    hint = "poll again: there may be another"


class NothingToCancel(NotFound):
    """Nobody wants this action to stop."""

    title = "No cancellation"
    hint = "go on with the action; poll to learn whether it is to stop"


class NothingToConfirm(NotFound):
    """Actions are approved by people, before devices see them."""

    title = "Nothing to confirm"
    hint = "go on with deploymentBase: no action waits for a confirmation on the device"


class DownloadNotFound(NotFound):
    """The camera has no action with such a file."""

    title = "No such artifact"
    hint = "take the links of deploymentBase as they are"


class AttributesTooLarge(PayloadTooLarge):
    """More than one device may tell of itself."""

    title = "Too many attributes"
    hint = "send fewer or shorter ones, or take some away with the mode `remove`"


class SampleInvalid(InvalidRequest):
    """The pictures are not a window and its mask."""

    title = "Not a window and its mask"
    hint = "window: PNG, RGB, at most 256x256; mask: PNG of the same size with one bit per cell; both as base64"


class SampleNotWanted(Conflict):
    """The camera does not run this package by an action of ours."""

    title = "Sample of another package"
    hint = "send samples of the package that the camera runs, named as line/release"


class TooManySamples(TooManyRequests):
    """More within an hour than are taken of one camera. ``retry_after_s`` is a member."""

    title = "Too many samples"
    hint = "send again after the time in Retry-After"

    @property
    def headers(self) -> dict[str, str]:
        """When the next one is taken, in whole seconds."""
        return {"Retry-After": str(self.members["retry_after_s"])}
