"""What the machine is doing, under the names that MLflow's own collectors use, so that its UI shows them as system metrics."""

import time
from dataclasses import dataclass, field
from typing import Final

import psutil

_MEGABYTE: Final = 1e6


@dataclass(slots=True)
class SystemSampler:
    """Reads this process and its machine. Rates and traffic count from the sampler's creation."""

    disk: str = "/"
    _process: psutil.Process = field(default_factory=psutil.Process)
    _start: float = field(default_factory=time.monotonic)
    _sent: int = field(default=0)
    _received: int = field(default=0)

    def __post_init__(self) -> None:
        psutil.cpu_percent()  # the first call has no interval to look back on and answers 0
        self._process.cpu_percent()
        traffic = psutil.net_io_counters()
        if traffic is not None:
            self._sent, self._received = traffic.bytes_sent, traffic.bytes_recv

    def sample(self) -> dict[str, float]:
        """Percent, megabytes (10**6 bytes); ``process_*`` is this process with its children."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(self.disk)
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/disk_usage_percentage": disk.percent,
            "system/disk_available_megabytes": disk.free / _MEGABYTE,
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": self._resident_bytes() / _MEGABYTE,
        }
        return values | self._traffic()

    def _resident_bytes(self) -> int:
        total = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.NoSuchProcess:  # it ended between the listing and the question
                continue
        return int(total)

    def _traffic(self) -> dict[str, float]:
        traffic = psutil.net_io_counters()
        if traffic is None:  # a network namespace without interfaces
            return {}
        return {
            "system/network_transmit_megabytes": (traffic.bytes_sent - self._sent) / _MEGABYTE,
            "system/network_receive_megabytes": (traffic.bytes_recv - self._received) / _MEGABYTE,
        }
