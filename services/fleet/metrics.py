"""What the service counts. Labels have few values: states and outcomes, never cameras."""

from prometheus_client import CollectorRegistry, Counter


class Metrics:
    """Prometheus metrics of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.polls = Counter("picofleet_fleet_polls", "Device polls by outcome", ["outcome"], registry=registry)
