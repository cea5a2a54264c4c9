"""Which folders of the host may be registered. Every symbolic link is followed before anything is decided."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from services.jobs.datasets.errors import PathRefused
from shared.contracts.datasets import SplitSource
from shared.kit.problems import InvalidRequest


def folder_of(root: str, allowed: Sequence[str]) -> Path:
    """The real folder that ``root``, an absolute path or file:// URL, names. Raises PathRefused.

    Outside of the allowed folders the answer is the same whether something is there or not.
    """
    field = "body.source.root"
    path = _path_of(root)
    if path is None or not path.is_absolute():
        raise _refused(field, f"{root!r} is neither an absolute path nor a file:// URL", "as /data/coco or file:///data/coco")
    real = _real(path, field)
    if not _is_below(real, allowed):
        raise _refused(field, f"{root!r} is not below a folder that datasets may be registered from", _hint(allowed))
    if not _is_there(real, Path.is_dir):
        raise _refused(field, f"{root!r} is not a folder on the service's host", None)
    return real


def check_splits(root: Path, splits: Sequence[SplitSource], allowed: Sequence[str]) -> None:
    """Raise PathRefused unless all paths of ``splits`` exist below ``root``; links may lead to other allowed folders."""
    for index, split in enumerate(splits):
        for name in ("images", "annotations"):
            field = f"body.source.splits.{index}.{name}"
            relative = getattr(split, name)
            check_relative(relative, field)
            real = _real(root / relative, field)
            if not _is_below(real, [*allowed, str(root)]):
                raise _refused(field, f"{relative!r} leads out of the dataset's folder", _hint(allowed))
            if not _is_there(real, Path.exists):
                raise _refused(field, f"{relative!r} does not exist in {root}", None)


def check_relative(path: str, field: str) -> None:
    """Raise PathRefused unless ``path`` stays below whatever it is appended to, links aside."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise _refused(field, f"{path!r} is not a plain relative path", "as annotations/train.json, without `..`")


def _path_of(root: str) -> Path | None:
    if "\0" in root or "%00" in root:
        return None
    if not root.startswith("file:"):
        return Path(root)
    url = urlsplit(root)
    local = url.netloc in {"", "localhost"} and not url.query and not url.fragment
    return Path(unquote(url.path)) if local and root.startswith("file://") else None


def _real(path: Path, field: str) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as exc:  # a loop of links, or a name that is too long
        raise _refused(field, "the path cannot be followed", None) from exc


def _is_there(real: Path, test: Callable[[Path], bool]) -> bool:
    try:
        return test(real)
    except OSError:  # as for a name that is too long
        return False


def _is_below(real: Path, allowed: Sequence[str]) -> bool:
    roots = [path for path in map(_path_of, allowed) if path is not None]
    return any(real.is_relative_to(root.resolve()) for root in roots)


def _hint(allowed: Sequence[str]) -> str:
    if not allowed:
        return "no folder is allowed: set PICOFLEET_JOBS_DATASET_ROOTS, or upload an archive with POST /v1/blobs"
    return f"allowed are folders below {', '.join(allowed)}"


def _refused(field: str, message: str, hint: str | None) -> InvalidRequest:
    return PathRefused.of_field(field, message, hint)
