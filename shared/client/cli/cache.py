"""`picofleet cache`: what the workers of this machine keep on its disk, so as not to make or fetch it again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shared.client.cli.common import (
    Globals,
    JsonFlag,
    UsageError,
    YesFlag,
    age,
    confirm,
    err,
    escaped,
    out,
    print_json,
    table,
)
from shared.client.errors import Unusable
from shared.kit.cache import Cache, Entry

app = typer.Typer(no_args_is_help=True, help="The cache of this machine's workers: prepared windows, teachers' answers, blobs.")

SHOWN_DIGITS: Final = 12
_UNITS: Final = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Kind(StrEnum):
    """What an entry is."""

    WINDOWS = "windows"
    """Prompt windows cut for training or evaluation."""
    ANSWERS = "answers"
    """What a teacher said to windows."""
    ARCHIVE = "archive"
    """An uploaded or generated dataset, unpacked."""
    BLOB = "blob"
    """Bytes named by their digest: manifests, weights, checkpoints."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Described:
    """An entry in words."""

    entry: Entry
    kind: Kind
    about: str

    @property
    def key(self) -> str:
        """Its name without the kind."""
        return self.entry.name.removeprefix("archive-")

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        entry = self.entry
        fields = {"key": self.key, "kind": self.kind.value, "about": self.about, "size_bytes": entry.size_bytes}
        return fields | {"used_at": entry.used_at.isoformat(), "in_use": entry.in_use, "path": str(entry.path)}


FolderOption = Annotated[
    Path | None,
    typer.Option(
        envvar="PICOFLEET_WORKER_CACHE_DIR", file_okay=False, help="The worker's cache; default: the embedded platform's."
    ),
]
KindOption = Annotated[list[Kind] | None, typer.Option(help="Only these; may be repeated.")]
AgeOption = Annotated[str | None, typer.Option(metavar="AGE", help="Only what was not used for so long, as 30d, 12h, 45min.")]


@app.command("ls")
def ls(
    ctx: typer.Context,
    kind: KindOption = None,
    older_than: AgeOption = None,
    cache_dir: FolderOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List what is kept, the least recently used first: that goes first when the cache is full.

    picofleet cache ls --kind answers
    """
    folder = _folder(ctx, cache_dir)
    found = _chosen(Cache(folder), kind, older_than)
    if as_json:
        print_json([entry.as_json() for entry in found])
        return
    if found:
        rows = [
            [
                entry.key[:SHOWN_DIGITS],
                entry.kind.value,
                size(entry.entry.size_bytes),
                age(entry.entry.used_at),
                "in use" if entry.entry.in_use else "",
                escaped(entry.about),
            ]
            for entry in found
        ]
        out().print(table(["key", "kind", "size", "unused for", "", ""], rows))
    total = sum(entry.entry.size_bytes for entry in found)
    err().print(f"{len(found)} entries, {size(total)}, in {escaped(str(folder))}")


@app.command("rm")
def rm(
    ctx: typer.Context,
    key: Annotated[list[str] | None, typer.Argument(help="Keys as `cache ls` shows them, or their beginnings.")] = None,
    kind: KindOption = None,
    older_than: AgeOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All that nobody uses.")] = False,
    cache_dir: FolderOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove entries. What a job needs again is made or fetched again; what a job has open stays.

    picofleet cache rm 3f9a0c
    picofleet cache rm --kind answers --older-than 30d
    """
    if sum([bool(key), bool(kind or older_than), everything]) != 1:
        raise UsageError(
            "Exactly one of keys, --kind or --older-than, and --all says what goes.", hint="See `picofleet cache ls`."
        )
    cache = Cache(_folder(ctx, cache_dir))
    chosen = _named(cache, key) if key else _chosen(cache, kind, older_than)
    if chosen:
        total = sum(entry.entry.size_bytes for entry in chosen)
        confirm(f"Remove {len(chosen)} entries, {size(total)}?", yes=yes)
    removed = [entry for entry in chosen if cache.remove(entry.entry)]
    kept = [entry for entry in chosen if entry not in removed]
    freed = sum(entry.entry.size_bytes for entry in removed)
    if as_json:
        print_json({"removed": [entry.key for entry in removed], "freed_bytes": freed, "in_use": [entry.key for entry in kept]})
    else:
        in_use = f"; {len(kept)} in use, which stay" if kept else ""
        err().print(f"{len(removed)} entries removed, {size(freed)} freed{in_use}.")
    if key and kept:
        raise Unusable(f"{kept[0].key[:SHOWN_DIGITS]} is in use by a job.", hint="Wait for the job, or cancel it.")


def described(entry: Entry) -> Described:
    """What an entry is, from its name and from what its maker wrote into it."""
    meta = entry.meta
    if not entry.is_folder:
        return Described(entry, Kind.BLOB, "")
    if entry.name.startswith("archive-"):
        return Described(entry, Kind.ARCHIVE, "")
    if isinstance(asked := meta.get("asked"), dict):
        view = " ".join(str(part) for part in (asked.get("view"), asked.get("context_side")) if part)
        teacher = f"teacher {_short(asked.get('teacher'))} on {_short(asked.get('dataset'))}/{asked.get('split')}"
        return Described(entry, Kind.ANSWERS, f"{meta.get('windows')} answers, {teacher}, view {view}")
    if isinstance(policy := meta.get("policy"), dict):
        window = policy.get("window")
        window = window if isinstance(window, dict) else {}
        words = [window.get("prompt"), window.get("side"), window.get("border"), f"canvas {policy.get('canvas')}"]
        where = f"{_short(meta.get('dataset'))}/{meta.get('split')}"
        return Described(entry, Kind.WINDOWS, f"{meta.get('windows')} windows of {where}, {_joined(words)}")
    return Described(entry, Kind.OTHER, "")


def size(size_bytes: int) -> str:
    """In the unit that fits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes} B"


def span(text: str) -> timedelta:
    """``30d``, ``12h`` or ``45min``; UsageError for anything else."""
    found = re.fullmatch(r"(\d{1,6})(min|h|d)", text)
    if found is None:
        raise UsageError(f"--older-than {text!r} is no length of time.", hint="As in 30d, 12h or 45min.")
    return int(found[1]) * _UNITS[found[2]]


def _folder(ctx: typer.Context, given: Path | None) -> Path:
    options: Globals = ctx.obj
    return (given or options.home / "cache").expanduser().resolve()


def _chosen(cache: Cache, kinds: Sequence[Kind] | None, older_than: str | None) -> list[Described]:
    before = datetime.now(UTC) - span(older_than) if older_than else None
    found = [described(entry) for entry in cache.entries()]
    return [
        entry for entry in found if (not kinds or entry.kind in kinds) and (before is None or entry.entry.used_at <= before)
    ]


def _named(cache: Cache, keys: Sequence[str]) -> list[Described]:
    found = [described(entry) for entry in cache.entries()]
    chosen: dict[Path, Described] = {}
    for key in keys:
        fitting = [entry for entry in found if entry.key.startswith(key.removeprefix("sha256:"))]
        if len(fitting) != 1:
            problem = "names nothing" if not fitting else f"names {len(fitting)} entries"
            raise UsageError(
                f"{key!r} {problem} in the cache.", hint="Give more digits, as `picofleet cache ls --json` shows them."
            )
        chosen[fitting[0].entry.path] = fitting[0]
    return list(chosen.values())


def _short(digest: Any) -> str:
    return str(digest).removeprefix("sha256:")[:SHOWN_DIGITS]


def _joined(words: Sequence[Any]) -> str:
    return " ".join(str(word) for word in words if word is not None)
