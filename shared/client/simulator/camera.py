"""A simulated camera: what it runs, and how it comes from one package to the next."""

import asyncio
import hashlib
import time
from enum import StrEnum
from pathlib import Path
from typing import Final

from shared.client.simulator import messages
from shared.client.simulator.conversation import LONGEST_PAUSE_S, Conversation, Over, Shared, read
from shared.client.simulator.shelf import Known, Refused
from shared.client.simulator.wire import WireError
from shared.contracts.cameras import EnrolOut
from shared.contracts.ddi import (
    RESTORE_METADATA,
    STATEMENT_METADATA,
    Artifact,
    CancelAction,
    Chunk,
    DeploymentBase,
    Execution,
    Finished,
    Poll,
    PollLinks,
)

AGENT: Final = "0.1.0"
FIRST_POLL_S: Final = 30.0
"""How often it polls until the service has told it, and over which time the first polls spread at most."""
ASK_AGAIN_S: Final = 2.0
"""What was offered longer ago (of real time) may have been taken back: it asks once more before it installs."""


class Stage(StrEnum):
    """Where a camera is, as it sees itself."""

    NEW = "new"
    """It has not reached the service yet."""
    IDLE = "idle"
    """It was never told to install anything."""
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    INSTALLING = "installing"
    SELF_TESTING = "self_testing"
    RUNNING = "running"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RESTORED = "restored"
    """It runs what it ran before, or nothing, as it was told."""
    SHUT_OUT = "shut_out"
    """The service does not let it in."""


_LASTING: Final = (Stage.RUNNING, Stage.RESTORED, Stage.FAILED)


class SimulatedCamera:
    """One of many: a task runs ``live`` until it is cancelled.

    ``package``: what it runs, as picosam2/3. ``installed``: how often it changed that.
    """

    __slots__ = (
        "_enrolled",
        "_etag",
        "_failures",
        "_floors",
        "_good",
        "_line",
        "_offline",
        "_samples_at",
        "_shared",
        "_sleep_s",
        "_telemetry_at",
        "controller_id",
        "installed",
        "package",
        "stage",
    )

    def __init__(self, controller_id: str, authorization: str, shared: Shared) -> None:
        self.controller_id, self._shared = controller_id, shared
        self._line = Conversation(controller_id, authorization, shared)
        self._offline = shared.behaviour.is_offline(controller_id)
        self._enrolled = not shared.behaviour.enrol
        self._etag = b""
        self._sleep_s = shared.behaviour.poll_s or FIRST_POLL_S
        self._failures = 0
        self._floors: dict[str, int] | None = None
        self._good: str | None = None
        self._telemetry_at = self._samples_at = 0.0
        self.stage = Stage.NEW
        self.package: str | None = None
        self.installed = 0

    async def live(self) -> None:
        """Poll, and do what is to be done."""
        shared = self._shared
        first = min(shared.behaviour.real_s(self._sleep_s), FIRST_POLL_S)
        await asyncio.sleep(shared.chance.random() * first)
        while True:
            try:
                if self._enrolled or await self._enrol():
                    await self._turn()
            except WireError as exc:
                shared.counts["unreachable"] += 1
                shared.said[0] = str(exc)
                self._failures += 1
            await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        """Of real time, until the next turn: give or take a tenth, so that cameras do not come in step."""
        behaviour, chance = self._shared.behaviour, self._shared.chance.random()
        if self._failures:
            return min(LONGEST_PAUSE_S, 2.0 ** min(self._failures - 1, 6)) * (0.5 + chance)
        often = behaviour.offline_polls if self._offline else 1
        return behaviour.real_s(self._sleep_s) * often * (0.9 + 0.2 * chance)

    async def _enrol(self) -> bool:
        answer = await self._line.ask(
            "enrol", "POST", "/v1/fleet/enrol", messages.json_of({"controller_id": self.controller_id})
        )
        if not answer.is_success:
            self._line.refused(answer)
            self.stage, self._failures = Stage.SHUT_OUT, self._failures + 1
            return False
        self._line.use(f"TargetToken {read(EnrolOut, answer).token}")
        self._enrolled = True
        return True

    async def _turn(self) -> None:
        links = await self._polled()
        if links is not None:
            if links.config_data is not None:
                told = messages.attributes(self.controller_id, AGENT)
                await self._line.ask("attributes", "PUT", links.config_data.href, told)
            if links.cancel_action is not None:
                await self._cancel(links.cancel_action.href)
            elif links.deployment_base is not None:
                await self._deploy(links.deployment_base.href)
        if not self._failures:
            await self._tell_health()

    async def _polled(self) -> PollLinks | None:
        """What there is to do; None for nothing new, or no entry."""
        headers = b"If-None-Match: %s\r\n" % self._etag if self._etag else b""
        answer = await self._line.ask("polls", "GET", "", headers=headers)
        if answer.status == 304:
            self._shared.counts["unchanged"] += 1
            self._failures = 0
            return None
        if not answer.is_success:
            self._line.refused(answer)
            self._failures += 1
            self.stage = Stage.SHUT_OUT if answer.status in {401, 403, 404} else self.stage
            return None
        poll, self._failures = read(Poll, answer), 0
        links = poll.links
        # Only what leaves nothing to do is worth knowing again: else an unchanged answer would hide work that was not done.
        is_quiet = links.deployment_base is None and links.cancel_action is None and links.config_data is None
        self._etag = answer.headers.get(b"etag", b"") if is_quiet else b""
        if self._shared.behaviour.poll_s is None:
            self._sleep_s = messages.sleep_s(poll.config.polling.sleep) or self._sleep_s
        if self.stage in {Stage.NEW, Stage.SHUT_OUT}:
            self.stage = Stage.RUNNING if self.package else Stage.IDLE
        return links

    async def _deploy(self, href: str) -> None:
        before = self.stage
        answer = await self._line.ask("deployments", "GET", href)
        if not answer.is_success:
            self._line.refused(answer)
            return
        try:
            await self._carry_out(read(DeploymentBase, answer))
        except Over:
            self.stage = before if before in _LASTING else Stage.CANCELLED

    async def _carry_out(self, deployment: DeploymentBase) -> None:
        action, chunks = deployment.id, deployment.deployment.chunks
        if any(_metadata(chunk, RESTORE_METADATA) == "none" for chunk in chunks):
            return await self._become(action, None, Stage.RESTORED)
        chunk = next((each for each in chunks if each.artifacts), None)
        if chunk is None:
            return await self._fail(action, "there is no file to install")
        package, statement = f"{chunk.name}/{chunk.version}", _metadata(chunk, STATEMENT_METADATA)
        if package == self.package:
            return await self._become(action, package, Stage.RESTORED if self.stage is Stage.FAILED else Stage.RUNNING)
        begun = time.monotonic()
        try:
            known = await self._fetched(action, chunk.artifacts[0], package, statement)
        except Refused as exc:
            return await self._fail(action, str(exc))
        if time.monotonic() - begun > ASK_AGAIN_S and await self._taken_back():
            raise Over
        await self._install(action, package, known, is_return=statement is not None or package == self._good)

    async def _fetched(self, action: str, artifact: Artifact, package: str, statement: str | None) -> Known:
        """Downloads and verifies; Refused."""
        shelf = self._shared.shelf
        self.stage = Stage.DOWNLOADING
        await self._line.say(action, Execution.DOWNLOAD)
        await self._download(artifact)
        await self._line.say(action, Execution.DOWNLOADED)
        self.stage = Stage.VERIFYING
        await self._line.say(action, Execution.PROCEEDING, state=Stage.VERIFYING)

        async def fetch(path: Path) -> None:
            await self._save(artifact, path)

        known = await shelf.known(artifact.hashes.sha256, fetch)
        if known.line is not None and f"{known.line}/{known.release}" != package:
            raise Refused(f"{package} was offered, but {known.line}/{known.release} is inside")
        shelf.check_return(known, (self._floors or {}).get(known.line or "", 0), statement)
        return known

    async def _install(self, action: str, package: str, known: Known, *, is_return: bool) -> None:
        behaviour = self._shared.behaviour
        self.stage = Stage.INSTALLING
        await self._line.say(action, Execution.PROCEEDING, state=Stage.INSTALLING)
        await asyncio.sleep(behaviour.real_s(behaviour.install_s))
        self.stage = Stage.SELF_TESTING
        await self._line.say(action, Execution.PROCEEDING, state=Stage.SELF_TESTING)
        await asyncio.sleep(behaviour.real_s(behaviour.self_test_s))
        if not is_return and behaviour.fails(package, self.controller_id, action):
            return await self._fail(action, "the self test failed: the answers to the golden frames differ")
        if known.line is not None:
            self._floors = self._floors or {}
            self._floors[known.line] = max(known.release, self._floors.get(known.line, 0))
        await self._become(action, package, Stage.RESTORED if is_return else Stage.RUNNING)

    async def _become(self, action: str, package: str | None, stage: Stage) -> None:
        """Run this from now on, and say so."""
        if package != self.package:
            self._good, self.package = self.package, package
            self.installed += 1
            self._telemetry_at = 0.0
        self.stage = stage
        await self._line.say(action, Execution.CLOSED, Finished.SUCCESS)

    async def _fail(self, action: str, why: str) -> None:
        """Go on with what ran before, and say so."""
        self.stage = Stage.FAILED
        await self._line.say(action, Execution.CLOSED, Finished.FAILURE, details=messages.failed(why, self.package))

    async def _cancel(self, href: str) -> None:
        answer = await self._line.ask("cancels", "GET", href)
        if answer.is_success:
            await self._line.stopped(read(CancelAction, answer).cancel_action.stop_id)
            self.stage = self.stage if self.stage in _LASTING else Stage.CANCELLED

    async def _taken_back(self) -> bool:
        """Whether the service wants this no more."""
        links = await self._polled()
        if links is None or links.cancel_action is None:
            return False
        await self._cancel(links.cancel_action.href)
        return True

    async def _download(self, artifact: Artifact) -> None:
        """Refused if other bytes came than were announced."""
        href = artifact.links.download.href
        if self._shared.behaviour.download:
            hasher = hashlib.sha256()
            answer = await self._line.ask("downloads", "GET", href, sink=hasher.update)
            is_it = hasher.hexdigest() == artifact.hashes.sha256
        else:
            answer = await self._line.ask("downloads", "HEAD", href)
            is_it = answer.headers.get(b"content-length") == b"%d" % artifact.size
        if not answer.is_success:
            raise Refused(f"{artifact.filename} could not be downloaded: HTTP {answer.status}")
        if not is_it:
            raise Refused(f"{artifact.filename} is not what was announced")

    async def _save(self, artifact: Artifact, path: Path) -> None:
        with path.open("wb") as file:
            answer = await self._line.ask("downloads", "GET", artifact.links.download.href, sink=file.write)
        if not answer.is_success:
            raise Refused(f"{artifact.filename} could not be downloaded: HTTP {answer.status}")

    async def _tell_health(self) -> None:
        """Telemetry, and a sample, when they are due."""
        if self.package is None:
            return
        behaviour, now = self._shared.behaviour, time.monotonic()
        if behaviour.telemetry_s is not None and now >= self._telemetry_at:
            self._telemetry_at = now + behaviour.real_s(behaviour.telemetry_s)
            is_sick, chance = self.package in behaviour.sick, self._shared.chance.random()
            told = messages.telemetry(self.package, behaviour.telemetry_s, AGENT, sick=is_sick, chance=chance)
            await self._line.ask("telemetry", "POST", "telemetry", told)
        if behaviour.samples_s is not None and now >= self._samples_at:
            self._samples_at = now + behaviour.real_s(behaviour.samples_s)
            await self._line.ask("samples", "POST", "samples", messages.sample(self.package))


def _metadata(chunk: Chunk, key: str) -> str | None:
    return next((each.value for each in chunk.metadata if each.key == key), None)
