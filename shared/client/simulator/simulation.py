"""All cameras of a simulation: started, watched and stopped together."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from shared.client.errors import Unusable
from shared.client.simulator.behaviour import Behaviour
from shared.client.simulator.camera import SimulatedCamera, Stage
from shared.client.simulator.conversation import Shared
from shared.client.simulator.shelf import Shelf
from shared.client.simulator.wire import Wire
from shared.contracts.packages import TrustedKeys

CONNECTIONS: Final = 64


class Simulation:
    """Cameras that poll the fleet service at ``url``.

    ``cameras``: what they call themselves, with the TargetToken of each, or None where they come in with ``provisioning``,
    the secret of a provisioning token. ``trusted``: whose packages they install; None: anybody's, which is for measurements
    with packages that nobody signed. Unusable if a camera has no token at all.

    >>> with Simulation(url, named("sim-", 50), provisioning=token.token, trusted=client.packages.keys()) as running:
    ...     client.fleet.rollouts.wait(rollout.id)
    >>> running.stages()  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        cameras: Mapping[str, str | None],
        *,
        provisioning: str | None = None,
        trusted: TrustedKeys | None,
        behaviour: Behaviour | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self._url, self._connections = url, connections
        self._shared = Shared(
            wire=Wire(url),
            shelf=Shelf(trusted),
            behaviour=self.behaviour,
            chance=Random(self.behaviour.seed),
        )
        self.cameras = [
            SimulatedCamera(name, _authorization(name, token, provisioning), self._shared) for name, token in cameras.items()
        ]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._begun = threading.Event()

    async def run(self, seconds: float | None = None) -> None:
        """Let them live until ``stop`` is called, or for so many (real) seconds. Run again, they go on where they were."""
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._shared.wire = Wire(self._url, connections=self._connections)
        self._begun.set()
        try:
            async with asyncio.timeout(seconds) as limit:
                await self._live(self._over)
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            await self._shared.wire.close()

    def start(self) -> None:
        """Run in a thread of its own; they live when this returns."""
        self._begun.clear()
        self._thread = threading.Thread(target=self._run_in_thread, name="simulated-cameras", daemon=True)
        self._thread.start()
        self._begun.wait(10)

    def stop(self) -> None:
        """End; from any thread, and as often as you like. Raises what ended a thread of ``start`` before."""
        loop, over = self._loop, self._over
        if loop is not None and over is not None and not loop.is_closed():
            loop.call_soon_threadsafe(over.set)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(30)
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> "Simulation":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_alive(self) -> bool:
        """Whether the thread of ``start`` still runs; ``stop`` says what ended it."""
        return self._thread is not None and self._thread.is_alive()

    def stages(self) -> dict[Stage, int]:
        """How many cameras are where, as they see it."""
        return dict(Counter(camera.stage for camera in self.cameras))

    def packages(self) -> dict[str | None, int]:
        """How many cameras run what."""
        return dict(Counter(camera.package for camera in self.cameras))

    def states(self) -> dict[str, tuple[Stage, str | None]]:
        """Each camera's stage and package."""
        return {camera.controller_id: (camera.stage, camera.package) for camera in self.cameras}

    def counts(self) -> dict[str, int]:
        """Requests so far by kind, and what came of them."""
        return dict(self._shared.counts)

    def complaints(self) -> dict[int, str]:
        """The service's last words by status, 0 for no answer; empty if all went well."""
        return dict(self._shared.said)

    async def _live(self, over: asyncio.Event) -> None:
        tasks = [asyncio.create_task(camera.live()) for camera in self.cameras]
        ended = asyncio.create_task(over.wait())
        try:
            done, _ = await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # cameras live for ever: what ends one is a mistake of ours, and must be seen
        finally:
            for task in (*tasks, ended):
                task.cancel()
            await asyncio.gather(*tasks, ended, return_exceptions=True)

    def _run_in_thread(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self.run())
        except BaseException as exc:
            self._failure = exc
        finally:
            self._begun.set()


def named(prefix: str, number: int) -> dict[str, str | None]:
    """Names of so many cameras without tokens of their own: sim-00000 and so on."""
    return {f"{prefix}{index:05}": None for index in range(number)}


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed: it halves what a request takes."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _authorization(name: str, token: str | None, provisioning: str | None) -> str:
    if token is not None:
        return f"TargetToken {token}"
    if provisioning is None:
        raise Unusable(f"The camera {name} has no token.", hint="Give it one, or a provisioning token for all.")
    return f"GatewayToken {provisioning}"
