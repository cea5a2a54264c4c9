"""The agent: asks what there is to do, does it, keeps the sensor running, and tells how it fares."""

import threading
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

import httpx

from services.camera.backoff import Backoff
from services.camera.book import Book
from services.camera.disk import Disk
from services.camera.driver import Driver
from services.camera.errors import NoSuchAction, NotLetIn, SensorStuck, Unreachable
from services.camera.figures import Figures, Span
from services.camera.installing import Installer
from services.camera.messages import Links, Poll
from services.camera.prompts import FixedPoint, MakePrompts
from services.camera.running import Runner
from services.camera.samples import Samples
from services.camera.sensor import Sensor, Watcher
from services.camera.settings import CameraSettings
from services.camera.slots import Slots
from services.camera.state import State, Store
from services.camera.telling import Status, attributes, telemetry, troubles
from services.camera.wire import Wire
from shared.kit.logging import get_logger
from shared.kit.packages.keys import read_trusted

if TYPE_CHECKING:
    from services.camera.page.server import Page

log = get_logger(__name__)

LOOK_S: Final = 5.0
"""How often it is looked whether frames still come."""
SOON_S: Final = 1.0
"""After something was done: there may be more."""
SILENCES: Final = 3
SILENCES_S: Final = 3600.0
"""So many ends of the stream in so long: the package is given up."""
_LONGEST_POLL_S: Final = 24 * 3600.0


def page_for(settings: CameraSettings, status: Callable[[], Status]) -> "Page | None":
    """None where the settings want none; then nothing of it is imported."""
    if settings.page_port is None:
        return None
    from services.camera.page.server import Page

    return Page(settings, status)


class Agent:
    """``begin`` once, then ``turn`` again and again; all from one thread. ``run`` does both."""

    def __init__(
        self,
        settings: CameraSettings,
        driver: Driver,
        *,
        disk: Disk | None = None,
        transport: httpx.BaseTransport | None = None,
        chance: Random | None = None,
        make_prompts: MakePrompts | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._monotonic = settings, monotonic
        disk = disk or Disk()
        address = settings.url, settings.tenant, settings.controller_id, settings.authorization
        self._wire = Wire(*address, transport=transport, monotonic=monotonic)
        slots = Slots(disk, settings.folder)
        self._disk, self._book = disk, Book(Store(disk, settings.folder), slots)
        self._figures = Figures(monotonic)
        fixed = make_prompts or (lambda policy: FixedPoint(settings.prompt_x, settings.prompt_y, policy))
        self._samples = Samples(self._wire, disk, settings.folder, settings, monotonic=monotonic)
        self._page = page_for(settings, self._status)
        watchers: list[Watcher] = [self._samples, *([self._page.feed] if self._page else [])]
        self.sensor = Sensor(driver, settings, fixed, self._figures, watchers)
        self._runner = Runner(self._book, slots, self.sensor)
        self._installer = Installer(
            self._wire,
            disk,
            slots,
            self._book,
            self.sensor,
            self._runner,
            keys=lambda: read_trusted(settings.keys_file),
            flush=self._send_reports,
            is_wanted=self._is_wanted,
        )
        self._backoff = Backoff(chance or Random())
        self._sleep_s = settings.poll_s
        self._etag: str | None = None
        self._told: dict[str, str] | None = None
        self._unsent = Span()
        self._silences: deque[float] = deque(maxlen=SILENCES)
        self._takes_telemetry = True
        self._server_trouble = ""
        self._poll_at = self._telemetry_at = self._retry_at = 0.0

    @property
    def state(self) -> State:
        """What is true."""
        return self._book.state

    def run(self, stopping: threading.Event) -> None:
        """Until ``stopping`` is set. RestartNeeded, StateUnreadable."""
        self.begin()
        try:
            while not stopping.is_set():
                stopping.wait(self.turn())
        finally:
            self.close()

    def begin(self) -> None:
        """Bring back what ran, whether or not the server is there. RestartNeeded, StateUnreadable."""
        self._disk.make_folder(self._settings.folder)
        self._book.open()
        is_new = self.state == State()
        self._book.keep(self.state.changed(starts=self.state.starts + (not is_new)))
        self._book.clear()
        self._samples.begin()
        if self._page is not None:
            self._page.start()  # before the sensor, whose upload it may show
        self._bring_back()
        self._installer.end_failure()
        now = self._monotonic()
        self._telemetry_at = now + self._settings.telemetry_s
        self._poll_at = now

    def close(self) -> None:
        """Let the sensor, the page and the server go."""
        if self._page is not None:
            self._page.stop()
        try:
            self.sensor.stop()
        except SensorStuck as exc:
            log.warning("sensor.stuck", error=str(exc))
        self._wire.close()

    def turn(self) -> float:
        """What is due now; the seconds until something may be. RestartNeeded."""
        self._book.catch_up()
        self._watch()
        self._samples.keep()
        now = self._monotonic()
        if now >= self._poll_at:
            self._poll_at = self._monotonic() + self._talk()
        if now >= self._telemetry_at and self._takes_telemetry:
            self._tell_health()
            self._telemetry_at = self._monotonic() + self._backoff.around(self._settings.telemetry_s)
        due = [self._poll_at, self._telemetry_at] if self._takes_telemetry else [self._poll_at]
        pause = max(0.0, min(due) - self._monotonic())
        return min(pause, LOOK_S) if self.state.current is not None else pause

    def _watch(self) -> None:
        """Frames that stopped: restart the sensor; after the third time in an hour return to what ran before."""
        now = self._monotonic()
        if self.sensor.is_silent:
            log.warning("sensor.silent", package=self.sensor.package)
            self._figures.silence(self._settings.silence_s)
            self._silences.append(now)
            if len(self._silences) == SILENCES and now - self._silences[0] < SILENCES_S:
                self._silences.clear()
                self._runner.give_up_on_current()
            self._bring_back()
        elif self.sensor.package is None and self.state.current is not None and now >= self._retry_at:
            self._book.keep(self.state.changed(tries=0))
            self._bring_back()

    def _bring_back(self) -> None:
        self._runner.bring_back()
        self._retry_at = self._monotonic() + self._settings.retry_s

    def _talk(self) -> float:
        """One conversation with the server; the seconds until the next."""
        try:
            self._send_reports()
            answer = self._wire.poll(self._etag)
            pause, busy = self._take(answer)
            self._send_reports()
            self._tell_attributes(force=False)
        except Unreachable as exc:
            self._server_trouble = str(exc)
            pause = self._backoff.failed(at_least_s=exc.retry_after_s)
            event = "server.refuses" if isinstance(exc, NotLetIn) else "server.unreachable"
            log.warning(event, error=str(exc), pause_s=round(pause, 1), failures=self._backoff.failures)
            return pause
        self._backoff.succeeded()
        self._server_trouble = ""
        self._samples.forward()
        return self._backoff.around(SOON_S if busy else pause)

    def _take(self, answer: tuple[Poll, str | None] | None) -> tuple[float, bool]:
        """Do what a poll says: the pause that it wants, and whether something was done. Unreachable."""
        if answer is None:
            return self._sleep_s, False
        poll, etag = answer
        self._sleep_s = min(poll.sleep_s or self._settings.poll_s, _LONGEST_POLL_S)
        # Only an answer that leaves nothing to do is worth knowing again: else work that failed would never be tried again.
        self._etag = etag if poll.links.is_quiet else None
        if poll.links.config_data is not None:
            self._tell_attributes(force=True)
        ended = self.state.last
        self._act(poll.links)
        return self._sleep_s, self.state.last != ended

    def _act(self, links: Links) -> None:
        try:
            if links.cancel_action is not None:
                self._installer.cancel(self._wire.cancel(links.cancel_action.href).cancel_action.stop_id)
            elif links.deployment_base is not None:
                self._installer.carry_out(self._wire.deployment(links.deployment_base.href))
            else:
                self._installer.abandon()
        except NoSuchAction as exc:
            log.info("action.gone", error=str(exc))
            self._installer.abandon()

    def _is_wanted(self, action_id: str) -> bool:
        """Ask once more, before the sensor is touched: a download may have taken long. Without an answer: yes."""
        try:
            answer = self._wire.poll(None)
        except Unreachable:
            return True
        link = answer[0].links.deployment_base if answer else None
        if link is None:
            return False
        path = link.href.partition("?")[0].rstrip("/")
        return "deploymentBase" not in path or path.endswith(f"/{action_id}")

    def _send_reports(self) -> None:
        """In order; what the server does not take is dropped, since it would never. Unreachable."""
        waiting, sent = self.state.reports, 0
        try:
            for report in waiting:
                reply = self._wire.ask("POST", report.place, report.body)
                if not reply.is_success:
                    log.info("report.refused", place=report.place, answer=reply.words)
                sent += 1
        finally:
            if sent:
                self._book.keep(self.state.changed(reports=waiting[sent:]))

    def _tell_attributes(self, *, force: bool) -> None:
        told = attributes(self._settings, self.state, self.sensor.package)
        if force or told != self._told:
            reply = self._wire.ask("PUT", "configData", {"mode": "merge", "data": told})
            if not reply.is_success:
                log.info("attributes.refused", answer=reply.words)
            self._told = told

    def _status(self) -> Status:
        """For the page, whose threads ask for it: nothing here waits for anything."""
        state, running = self.state, self.sensor.package
        errors = troubles(state, server=self._server_trouble, sensor=self.sensor.last_error)
        step = state.action.step.value if state.action is not None else None
        return Status(package=running, golden=state.golden.value if running else "unverified", step=step, errors=errors)

    def _tell_health(self) -> None:
        """Figures add up until the server hears them."""
        self._unsent += self._figures.take()
        at = self._wire.now().isoformat()
        body = telemetry(self._unsent, self.state, self.sensor.package, self.sensor.temperature, at)
        try:
            reply = self._wire.ask("POST", "telemetry", body)
        except Unreachable as exc:
            log.info("telemetry.waits", error=str(exc))
            return
        if reply.status in {404, 405}:
            log.info("telemetry.unknown", answer=reply.words)  # a server that speaks DDI alone
            self._takes_telemetry = False
        self._unsent = Span()
        if self.state.starts:
            self._book.keep(self.state.changed(starts=0))
