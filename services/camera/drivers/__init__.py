"""The sensors there are. Each is imported when it is asked for: none needs what another does."""

from services.camera.driver import Driver
from services.camera.settings import CameraSettings, DriverKind


def driver_for(settings: CameraSettings) -> Driver:
    """The one that the settings name. ModuleNotFoundError where its extra is not installed."""
    if settings.driver is DriverKind.SIMULATED:
        from services.camera.drivers.simulated import SimulatedDriver

        assert settings.images is not None, "checked when the settings were made"
        return SimulatedDriver(
            settings.images,
            frames_per_s=settings.frames_per_s,
            upload_s=settings.upload_s,
            fault=settings.fault,
            fault_packages=settings.fault_packages,
        )
    from services.camera.drivers.imx500 import imx500

    return imx500()
