"""From an action of the server to a package that runs and is proven, or back to what ran before.

Every step is written down before it is taken, and can be taken again. The sensor learns of a package only after all of its
bytes were verified; and what is to run is another package only after that one has proven itself, by one rename on the disk.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pydantic import ValidationError

from services.camera.book import Book, in_words
from services.camera.disk import Disk
from services.camera.download import download
from services.camera.errors import InstallFailed, NoSuchAction, RestartNeeded, SensorStuck, Unreachable
from services.camera.messages import Artifact, Chunk, DeploymentBase, feedback
from services.camera.running import Runner
from services.camera.sensor import Sensor
from services.camera.slots import Slots, check_agent, free_slot, slot_of
from services.camera.state import ActionKept, Ended, Report, Slot, State, Step
from services.camera.wire import Wire
from shared.contracts.cameras import GoldenCheck
from shared.contracts.ddi import Execution, Finished
from shared.contracts.packages import TrustedKeys
from shared.contracts.packaging import SignedReturnOut
from shared.contracts.rollouts import ActionState
from shared.kit.logging import get_logger
from shared.kit.packages.errors import PackageError
from shared.kit.packages.folder import read_manifest
from shared.kit.packages.statements import SignedStatement
from shared.kit.packages.verifying import Verified, verify

log = get_logger(__name__)

MOST_LOADS: Final = 2
"""A package in whose loading the agent ended so often is not tried again."""
NOTHING: Final = "none"
UNVERIFIED: Final = "unverified: this device takes no golden frames"


class Installer:
    """Carries out actions, one at a time. ``keys`` reads the list of trusted keys; ``flush`` sends what waits, if it can."""

    def __init__(
        self,
        wire: Wire,
        disk: Disk,
        slots: Slots,
        book: Book,
        sensor: Sensor,
        runner: Runner,
        *,
        keys: Callable[[], TrustedKeys],
        flush: Callable[[], None],
        is_wanted: Callable[[str], bool],
    ) -> None:
        self._wire, self._disk, self._slots, self._book = wire, disk, slots, book
        self._sensor, self._runner = sensor, runner
        self._keys, self._flush, self._is_wanted = keys, flush, is_wanted

    def carry_out(self, deployment: DeploymentBase) -> None:
        """Do what the server wants, and say how it went. Unreachable: to be called again. RestartNeeded."""
        last = self._book.state.last
        if last is not None and last.key == deployment.key and last.package in {None, self._sensor.package}:
            self._book.report(last.report)  # it was said before, and the server has not heard or has forgotten it
        elif deployment.removes:
            self._remove(deployment)
        elif deployment.may_install:
            self._begin(deployment)
            self._install_or_return(deployment)

    def abandon(self) -> None:
        """The server does not want the action under way any more; the sensor never had it, or has it no more."""
        if (action := self._book.state.action) is not None:
            log.info("action.abandoned", action=action.id)
            self._book.keep(self._book.state.changed(action=None, good=_good_without(self._book.state, action.trial)))
            self._book.clear()

    def end_failure(self) -> None:
        """After a restart in the middle of a return: say what there is to say. What ran before was brought back already."""
        action = self._book.state.action
        if action is not None and action.step is Step.FAILED:
            self._tell_failure(action)

    def cancel(self, action_id: str) -> None:
        """The server wants it to stop."""
        state = self._book.state
        place = f"cancelAction/{quote(action_id, safe='')}/feedback"
        if state.last is not None and state.last.id == action_id and state.last.key is not None:
            told = feedback(action_id, Execution.CLOSED, Finished.FAILURE, details=["it was over before"])
            self._book.report(state.last.report)
            return self._book.report(Report(place=place, body=told, ends=True))
        if state.action is not None and state.action.id == action_id:
            self.abandon()
        told = feedback(action_id, Execution.CLOSED, Finished.SUCCESS, details=["stopped"])
        report = Report(place=place, body=told, ends=True)
        last = Ended(id=action_id, key=None, report=report)
        self._book.keep(self._book.state.changed(last=last).with_report(report))

    def _begin(self, deployment: DeploymentBase) -> None:
        action = self._book.state.action
        if action is not None and action.key == deployment.key:
            return
        self.abandon()
        self._book.keep(self._book.state.changed(action=ActionKept(id=deployment.id, key=deployment.key)))

    def _install_or_return(self, deployment: DeploymentBase) -> None:
        try:
            self._install(deployment)
        except NoSuchAction:
            self.abandon()
        except SensorStuck as exc:
            self._note_failure(str(exc))
            raise RestartNeeded(str(exc)) from exc
        except (InstallFailed, PackageError) as exc:
            self._fail(str(exc))
        except OSError as exc:
            self._fail(in_words(exc))

    def _install(self, deployment: DeploymentBase) -> None:
        action = self._action()
        found = deployment.package
        if found is None:
            raise InstallFailed("there is no package, a .tar, among the files")
        if self._runs_already(found[1]):
            return self._succeed(self._current(), self._book.state.golden)
        if action.trial is None or action.step is Step.FETCHING:
            action = self._place(deployment, *found)
        if action.loads >= MOST_LOADS:
            raise InstallFailed(f"the agent ended {action.loads} times while this was loaded")
        if not self._is_wanted(action.id):
            raise NoSuchAction(f"action {action.id} is offered no more")
        self._load(action)

    def _runs_already(self, artifact: Artifact) -> bool:
        current, sha256 = self._book.state.current, artifact.hashes.sha256
        is_it = current is not None and sha256 is not None and current.file_sha256 == sha256.lower()
        return is_it and self._sensor.package == self._current().package

    def _place(self, deployment: DeploymentBase, chunk: Chunk, artifact: Artifact) -> ActionKept:
        """Into the free slot, verified; nothing to do for what ran before and lies there still."""

        def check(folder: Path) -> Verified:
            return self._verified(folder, chunk, deployment.statement)

        sha256 = artifact.hashes.sha256.lower() if artifact.hashes.sha256 else None
        good = self._book.state.good
        if good is not None and sha256 is not None and good.file_sha256 == sha256:
            self._say(Execution.PROCEEDING, state=ActionState.VERIFYING)
            self._slots.check(good)
            verified = check(self._slots.package(good))
            slot = slot_of(verified, good.name, file_sha256=sha256, rpk_sha256=good.rpk_sha256)
        else:
            slot = self._fetch(artifact, check, sha256)
        action = self._action().model_copy(update={"step": Step.PLACED, "trial": slot})
        self._book.save(self._book.state.changed(action=action))
        return action

    def _fetch(self, artifact: Artifact, check: Callable[[Path], Verified], sha256: str | None) -> Slot:
        self._say(Execution.DOWNLOAD)
        tar = download(self._wire, self._disk, artifact, self._slots.incoming)
        self._say(Execution.DOWNLOADED)
        self._say(Execution.PROCEEDING, state=ActionState.VERIFYING)
        name = free_slot(self._book.state)
        slot = self._slots.prepare(tar, name, check, self._sensor.finish, file_sha256=sha256)
        if self._book.state.good is not None:
            self._book.save(self._book.state.changed(good=None))  # what lies there is about to go
        self._slots.commit(slot)
        return slot

    def _verified(self, folder: Path, chunk: Chunk, statement: str | None) -> Verified:
        """PackageError, InstallFailed."""
        floor = self._book.state.floors.get(read_manifest(folder).line, 0)
        verified = verify(folder, self._keys(), floor=floor, statement=_statement(statement), now=self._wire.now())
        name = f"{verified.manifest.line}/{verified.manifest.release}"
        if chunk.claims is not None and chunk.claims != name:
            raise InstallFailed(f"{chunk.claims} was offered, but {name} is inside")
        check_agent(verified)
        return verified

    def _load(self, action: ActionKept) -> None:
        slot = action.trial
        assert slot is not None, "it was placed"
        self._slots.check(slot)
        loading = action.model_copy(update={"step": Step.LOADING, "loads": action.loads + 1})
        self._book.save(self._book.state.changed(action=loading))
        self._say(Execution.PROCEEDING, state=ActionState.INSTALLING)

        def on_loaded() -> None:
            self._say(Execution.PROCEEDING, state=ActionState.SELF_TESTING)

        package, finished = self._slots.package(slot), self._slots.finished(slot)
        golden = self._sensor.run(slot.package, package, finished, on_loaded=on_loaded)
        self._succeed(slot, golden)

    def _succeed(self, slot: Slot, golden: GoldenCheck) -> None:
        state, action = self._book.state, self._action()
        before = state.current if state.current is not None and state.current.name != slot.name else state.good
        details = [f"runs {slot.package}"] + ([UNVERIFIED] if golden is GoldenCheck.UNVERIFIED else [])
        report = _ended(action.id, Finished.SUCCESS, details)
        floors = state.floors | {slot.line: max(slot.release, state.floors.get(slot.line, 0))}
        after = state.changed(
            current=slot,
            good=before if before is not None and before.name != slot.name else None,
            golden=golden,
            floors=floors,
            action=None,
            last=Ended(id=action.id, key=action.key, report=report, package=slot.package),
            tries=0,
            note="",
        )
        self._book.save(after.with_report(report))
        log.info("action.succeeded", action=action.id, package=slot.package, golden=golden)
        self._book.clear()

    def _fail(self, reason: str) -> None:
        was_loading = self._action().step is Step.LOADING
        action = self._note_failure(reason)
        if was_loading:
            self._runner.bring_back()
        self._tell_failure(action)

    def _note_failure(self, reason: str) -> ActionKept:
        failed = self._action().model_copy(update={"step": Step.FAILED, "reason": reason})
        log.warning("action.failed", action=failed.id, reason=reason)
        self._book.keep(self._book.state.changed(action=failed))
        return failed

    def _tell_failure(self, action: ActionKept) -> None:
        state = self._book.state
        runs = self._sensor.package
        details = [action.reason] + ([state.note] if state.note and runs is None else [])
        report = _ended(action.id, Finished.FAILURE, details, package=runs or NOTHING)
        good = _good_without(state, action.trial)
        last = Ended(id=action.id, key=action.key, report=report)
        self._book.keep(state.changed(action=None, good=good, last=last).with_report(report))
        self._book.clear()

    def _remove(self, deployment: DeploymentBase) -> None:
        """Nothing is to run."""
        try:
            self._sensor.stop()
        except SensorStuck as exc:
            raise RestartNeeded(str(exc)) from exc
        report = _ended(deployment.id, Finished.SUCCESS, ["nothing runs any more"], package=NOTHING)
        state = self._book.state.changed(
            current=None,
            good=None,
            action=None,
            golden=GoldenCheck.UNVERIFIED,
            last=Ended(id=deployment.id, key=deployment.key, report=report),
            tries=0,
            note="",
        )
        self._book.keep(state.with_report(report))
        self._book.clear()

    def _say(self, execution: Execution, *, state: ActionState | None = None) -> None:
        """Queue it, and send it if the server is there."""
        action = self._action()
        body = feedback(action.id, execution, state=state.value if state else None)
        self._book.report(Report(place=f"deploymentBase/{quote(action.id, safe='')}/feedback", body=body, ends=False))
        try:
            self._flush()
        except Unreachable as exc:
            log.info("report.waits", error=str(exc))

    def _action(self) -> ActionKept:
        assert self._book.state.action is not None, "one was begun"
        return self._book.state.action

    def _current(self) -> Slot:
        assert self._book.state.current is not None, "the caller has looked"
        return self._book.state.current


def _ended(action_id: str, finished: Finished, details: list[str], *, package: str | None = None) -> Report:
    body = feedback(action_id, Execution.CLOSED, finished, details=details, package=package)
    return Report(place=f"deploymentBase/{quote(action_id, safe='')}/feedback", body=body, ends=True)


def _good_without(state: State, trial: Slot | None) -> Slot | None:
    """What ran before, unless it was just tried in vain."""
    return None if state.good is None or (trial is not None and trial.name == state.good.name) else state.good


def _statement(envelope: str | None) -> SignedStatement | None:
    """InstallFailed if it is none."""
    if envelope is None:
        return None
    try:
        sent = SignedReturnOut.model_validate_json(envelope)
    except ValidationError as exc:
        raise InstallFailed("the statement of a return cannot be read") from exc
    return SignedStatement(sent.statement.encode(), sent.signature.encode())
