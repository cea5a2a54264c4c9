"""How simulated cameras behave. What chance decides is drawn from the seed, so that a run can be repeated."""

from dataclasses import dataclass
from hashlib import blake2b

from shared.client.errors import Unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Shares are 0 to 1. Times are seconds of the simulation, of which ``speed`` pass in one real second.

    Unusable for values that cannot be.
    """

    failure_rate: float = 0.0
    """Of installations, in the self test; never of a return to what ran before."""
    broken: frozenset[str] = frozenset()
    """Packages that fail the self test always, as picosam2/4."""
    sick: frozenset[str] = frozenset()
    """Packages that install well and then lose frames."""
    offline: float = 0.0
    """Of cameras that poll only now and then: every ``offline_polls`` th time."""
    offline_polls: int = 20
    misbehave: float = 0.0
    """Of cameras that say things twice, out of order, of actions of others, and garbage; and come to an honest end."""
    poll_s: float | None = None
    """None: as the service asks."""
    speed: float = 1.0
    install_s: float = 1.0
    self_test_s: float = 1.0
    telemetry_s: float | None = 60.0
    """None: they send none."""
    samples_s: float | None = None
    """How often a camera sends a window and its mask; None: never."""
    download: bool = True
    """False: all but the first camera only ask for the head of a package, which is enough for scale."""
    enrol: bool = False
    """Each camera asks for a token of its own first."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("failure_rate", "offline", "misbehave"):
            if not 0 <= getattr(self, name) <= 1:
                raise Unusable(f"{name} is a share from 0 to 1, not {getattr(self, name)}.")
        for name in ("speed", "poll_s", "telemetry_s", "samples_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                raise Unusable(f"{name} is above 0, not {value}.")
        if self.install_s < 0 or self.self_test_s < 0 or self.offline_polls < 1:
            raise Unusable("A time below 0, or fewer than one poll, cannot be.")

    def real_s(self, simulated_s: float) -> float:
        """How long it takes here."""
        return simulated_s / self.speed

    def draw(self, *of: object) -> float:
        """A number from 0 to 1, the same each time for the same seed and the same ``of``."""
        text = "\0".join(str(each) for each in (self.seed, *of))
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64

    def fails(self, package: str, controller_id: str, action: str) -> bool:
        """Whether this installation does not pass its self test."""
        return package in self.broken or self.draw("fails", controller_id, action) < self.failure_rate

    def is_offline(self, controller_id: str) -> bool:
        """Whether this camera polls only now and then."""
        return self.draw("offline", controller_id) < self.offline

    def misbehaves(self, controller_id: str) -> bool:
        """Whether this camera does."""
        return self.draw("misbehaves", controller_id) < self.misbehave
