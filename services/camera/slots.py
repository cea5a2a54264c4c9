"""The two places for packages: one runs, into the other the next one is put.

slots/a/package/...      as it was signed
slots/a/finished/...     network.rpk, where it had to be made of packerOut.zip here
incoming/...             downloads
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from services.camera import VERSION
from services.camera.disk import Disk
from services.camera.errors import InstallFailed
from services.camera.state import Slot, SlotName, State
from shared import archives
from shared.contracts.base import digest_of, digest_of_file
from shared.contracts.packages import MANIFEST, RPK
from shared.kit.packages.errors import PackageError
from shared.kit.packages.folder import check_files, description, parsed_manifest
from shared.kit.packages.tars import LIMITS
from shared.kit.packages.verifying import Verified

Finish = Callable[[Path, Path], Path | None]
"""Makes of a package's folder what the sensor needs beside it, in a folder that is there; None if it needs nothing."""
Check = Callable[[Path], Verified]
"""Looks at the package in a folder. PackageError, InstallFailed."""

PACKAGE: Final = "package"
FINISHED: Final = "finished"
_PARTIAL: Final = ".partial"


class Slots:
    """Below ``folder``, which nobody else may write."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._slots = folder / "slots"
        self.incoming = folder / "incoming"

    def package(self, slot: Slot) -> Path:
        """The folder that was signed."""
        return self._slots / slot.name / PACKAGE

    def finished(self, slot: Slot) -> Path:
        """The folder of what was made here."""
        return self._slots / slot.name / FINISHED

    def prepare(self, tar: Path, name: SlotName, check: Check, finish: Finish, *, file_sha256: str | None) -> Slot:
        """Unpacks a package beside slot ``name``, checks it, and finishes it. What is in the slot stays until ``commit``.

        PackageError, InstallFailed; OSError, as from a full disk.
        """
        partial = self._slots / (name + _PARTIAL)
        self._disk.remove(partial)
        self._unpack(tar, partial / PACKAGE)
        verified = check(partial / PACKAGE)
        self._disk.make_folder(partial / FINISHED)
        made = finish(partial / PACKAGE, partial / FINISHED)
        if made is not None:
            self._disk.sync_tree(partial / FINISHED)
        rpk_sha256 = digest_of_file(made) if made else None
        return slot_of(verified, name, file_sha256=file_sha256, rpk_sha256=rpk_sha256)

    def commit(self, slot: Slot) -> None:
        """Put there what was prepared, in place of what there was."""
        self._disk.remove(self._slots / slot.name)
        self._disk.rename(self._slots / (slot.name + _PARTIAL), self._slots / slot.name)

    def check(self, slot: Slot) -> None:
        """That in the slot lies, byte for byte, what was put there. InstallFailed.

        Not its signature: that was looked at before, and keys are retired without what runs having to stop.
        """
        folder = self.package(slot)
        try:
            content = description(folder, MANIFEST)
            if digest_of(content) != slot.digest:
                raise InstallFailed(f"slot {slot.name} holds another package than {slot.package}")
            check_files(folder, parsed_manifest(content))
            if slot.rpk_sha256 is not None and digest_of_file(self.finished(slot) / RPK) != slot.rpk_sha256:
                raise InstallFailed(f"{RPK}, made of {slot.package}, is damaged")
        except (PackageError, OSError) as exc:
            raise InstallFailed(f"{slot.package} is damaged on the disk: {exc}") from exc

    def clear(self, state: State) -> None:
        """Remove all that ``state`` does not name; downloads stay while an action needs them."""
        kept = {slot.name for slot in (state.current, state.good) if slot}
        if state.action is not None and state.action.trial is not None:
            kept.add(state.action.trial.name)
        for place in sorted(self._slots.iterdir()) if self._slots.is_dir() else ():
            if place.name not in kept:
                self._disk.remove(place)
        if state.action is None:
            self._disk.remove(self.incoming)

    def _unpack(self, tar: Path, folder: Path) -> None:
        self._disk.make_folder(folder)
        try:
            for entry in archives.entries(tar, limits=LIMITS):
                path = folder.joinpath(*entry.parts)
                self._disk.make_folder(path.parent)
                if path.exists():
                    raise InstallFailed(f"{entry.name!r} is in the package twice")
                self._disk.write(path, entry.pieces)
        except archives.ArchiveRefused as exc:
            raise InstallFailed(f"the package cannot be unpacked: {exc}") from exc
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
            raise InstallFailed("the package has a file where it has a folder") from exc
        self._disk.sync_tree(folder)


def slot_of(verified: Verified, name: SlotName, *, file_sha256: str | None, rpk_sha256: str | None) -> Slot:
    """The slot's entry in the state."""
    manifest = verified.manifest
    return Slot(
        name=name,
        package=f"{manifest.line}/{manifest.release}",
        line=manifest.line,
        release=manifest.release,
        digest=verified.digest,
        file_sha256=file_sha256,
        rpk_sha256=rpk_sha256,
    )


def check_agent(verified: Verified) -> None:
    """InstallFailed if the package wants a newer agent."""
    if not verified.manifest.installable_by(VERSION):
        wanted = verified.manifest.minimum_agent
        raise InstallFailed(f"the package needs agent {wanted}, and this is {VERSION}: update the agent first")


def free_slot(state: State) -> SlotName:
    """Where nothing lies that runs."""
    return "b" if state.current is not None and state.current.name == "a" else "a"
