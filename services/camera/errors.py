"""What may go wrong on a camera. The text is what the platform is told."""


class CameraError(Exception):
    """Base of all."""


class Unreachable(CameraError):
    """The server does not answer, or not so that it can be used. It is asked again later."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotLetIn(Unreachable):
    """The server does not know the camera, or does not take its token. Somebody may register it yet."""


class NoSuchAction(CameraError):
    """The server does not want this action any more."""


class InstallFailed(CameraError):
    """A package cannot be installed here; what ran before goes on."""


class SensorFailed(InstallFailed):
    """The network does not run as it should."""


class SensorStuck(SensorFailed):
    """And the driver does not come back: only a new process can help."""


class RestartNeeded(CameraError):
    """The process is to end, so that the supervisor starts a new one."""


class StateUnreadable(CameraError):
    """state.json is there and cannot be read. Without it nobody knows which releases were installed."""


class SettingsWrong(CameraError):
    """The agent was told something that cannot be."""
