"""The fleet service over REST."""

from shared.client.resources.fleet_cameras import Cameras, Groups, ProvisioningTokens
from shared.client.resources.fleet_events import FleetEvents
from shared.client.resources.fleet_packages import FleetPackages
from shared.client.resources.fleet_rollouts import Actions, Rollouts
from shared.client.transport import Transport


class Fleet:
    """`/v1/fleet`.

    >>> wanted = RolloutIn(name="v3", package="picosam2/3", group="berlin", start=True)  # doctest: +SKIP
    >>> made = client.fleet.rollouts.create(wanted)  # doctest: +SKIP
    >>> client.fleet.rollouts.wait(made.id).state  # doctest: +SKIP
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.cameras = Cameras(transport)
        self.groups = Groups(transport)
        self.provisioning_tokens = ProvisioningTokens(transport)
        self.packages = FleetPackages(transport)
        self.rollouts = Rollouts(transport)
        self.actions = Actions(transport)
        self.events = FleetEvents(transport)

    @property
    def url(self) -> str:
        """Where the service is; devices poll there as well."""
        return self.transport.url

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()
