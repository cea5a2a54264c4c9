"""From a folder to a canonical manifest and a report.

Rows are judged one by one: a bad one is listed and left out, and never ends the import. Images are read, hashed and decoded in
threads (all of it runs without the interpreter's lock) and come back in order, a bounded number at a time.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from shared.contracts.datasets import (
    ArchiveSource,
    DatasetFormat,
    DatasetReport,
    FolderSource,
    GeneratorSource,
    SplitRule,
    SplitSource,
)
from shared.picosam.data.coco import Annotations, ImageTask, open_annotations
from shared.picosam.data.errors import ImportRefused
from shared.picosam.data.findings import Checked, Findings, bad_row
from shared.picosam.data.manifest import Category, Header, ImageRow, ManifestWriter
from shared.picosam.data.mask_folder import MaskFolder, MaskTask, open_mask_folder
from shared.picosam.data.ordered import Report, cores, ignore, never, ordered_map
from shared.picosam.data.splits import split_names, split_of

MANIFEST_NAME: Final = "manifest.jsonl.gz"
GENERATED_SPLIT: Final = "all"
GENERATED_FRACTIONS: Final = {"train": 0.8, "val": 0.2}

_AHEAD_PER_THREAD: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A dataset that was imported. ``digest`` names its contents; the manifest file's own digest is another one."""

    manifest_path: Path
    digest: str
    report: DatasetReport


def import_dataset(
    root: Path,
    source: FolderSource | ArchiveSource | GeneratorSource,
    split_rule: SplitRule | None,
    name: str,
    folder: Path,
    *,
    progress: Report = ignore,
    stop: Callable[[], bool] = never,
) -> Imported:
    """Writes ``folder/manifest.jsonl.gz`` for the files below ``root``; progress counts images.

    ``root`` is the folder itself, or where the archive was unpacked or the generator wrote. ``ImportRefused`` if nothing
    usable is there; ``Stopped`` if ``stop()`` became true. In both cases no manifest is left behind.
    """
    root = _existing(root)
    form, sources, rule = layout_of(source, split_rule)
    names = _names(sources, rule)
    opened = [_open(root, split, form) for split in sources]
    findings = Findings(names)
    categories = _categories(opened, findings)
    partial, final = folder / f".{MANIFEST_NAME}.{os.getpid()}", folder / MANIFEST_NAME
    try:
        with ManifestWriter(partial, Header(name=name, splits=tuple(names), categories=categories)) as writer:
            for row in _kept(_checked(root, opened, progress, stop), rule, findings):
                writer.add(row)
        report = findings.report()
        _refuse_if_empty(findings, report)
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)
    return Imported(manifest_path=final, digest=writer.digest, report=report)


def layout_of(
    source: FolderSource | ArchiveSource | GeneratorSource, split_rule: SplitRule | None
) -> tuple[DatasetFormat, list[SplitSource], SplitRule | None]:
    """Format, splits and rule of a source; generated images are split 80/20 where no rule says otherwise."""
    if not isinstance(source, GeneratorSource):
        return source.format, source.splits, split_rule
    generated = SplitSource(split=GENERATED_SPLIT, images="images", annotations="instances.json")
    rule = split_rule or SplitRule(from_split=GENERATED_SPLIT, seed=source.seed, fractions=GENERATED_FRACTIONS)
    return DatasetFormat.COCO, [generated], rule


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise ImportRefused(f"{root} is not a folder")
    return root.resolve()


def _names(sources: list[SplitSource], rule: SplitRule | None) -> list[str]:
    given = [source.split for source in sources]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ImportRefused(f"split {', '.join(twice)} is given more than once")
    try:
        return split_names(given, rule)
    except ValueError as exc:
        raise ImportRefused(str(exc)) from exc


def _open(root: Path, source: SplitSource, form: DatasetFormat) -> Annotations | MaskFolder:
    if form is DatasetFormat.MASKS:
        return open_mask_folder(root, source)
    return open_annotations(root, source, form)


def _categories(opened: list[Annotations | MaskFolder], findings: Findings) -> tuple[Category, ...]:
    """All splits' categories; where two splits name one id differently, the first is kept and the other counted."""
    merged: dict[int, Category] = {}
    for split in opened:
        findings.add_bad(split.bad)
        for identifier, category in split.categories.items():
            if merged.setdefault(identifier, category).name != category.name:
                findings.add_warnings(["category_name_differs"])
            if isinstance(split, Annotations) and split.format is DatasetFormat.LVIS and category.frequency is None:
                findings.add_warnings(["frequency_missing"])
    return tuple(merged[identifier] for identifier in sorted(merged))


def _checked(
    root: Path, opened: list[Annotations | MaskFolder], progress: Report, stop: Callable[[], bool]
) -> Iterator[Checked]:
    total = sum(len(split.images) for split in opened)
    tasks = (task for split in opened for task in split.tasks())
    with ThreadPoolExecutor(cores(), thread_name_prefix="import") as executor:
        results = ordered_map(executor, lambda task: _check(task, root), tasks, ahead=_AHEAD_PER_THREAD * cores(), stop=stop)
        for done, checked in enumerate(results, start=1):
            yield checked
            progress(done, total)


def _check(task: ImageTask | MaskTask, root: Path) -> Checked:
    return task.check(root)


def _kept(results: Iterator[Checked], rule: SplitRule | None, findings: Findings) -> Iterator[ImageRow]:
    """Rows in their final splits. A picture that is already in another split is left out: it would leak."""
    split_by_picture: dict[bytes, str] = {}
    for checked in results:
        findings.add_bad(checked.bad)
        if checked.row is None:
            continue
        row = _placed(checked.row, rule)
        first = split_by_picture.setdefault(bytes.fromhex(row.sha256), row.split)
        if first != row.split:
            detail = f"{row.file} holds the same picture as an image of split {first!r}"
            findings.add_bad([bad_row(row.split, "image_in_two_splits", detail, image_id=row.image_id)])
            continue
        findings.add_warnings(checked.warnings)
        findings.count(row)
        yield row


def _placed(row: ImageRow, rule: SplitRule | None) -> ImageRow:
    if rule is None or row.split != rule.from_split:
        return row
    return msgspec.structs.replace(row, split=split_of(rule, row.image_id))


def _refuse_if_empty(findings: Findings, report: DatasetReport) -> None:
    if findings.images == 0:
        first = f"; the first problem: {report.bad_rows[0].detail}" if report.bad_rows else ""
        raise ImportRefused(f"no image of the dataset can be used ({sum(report.problems.values())} bad rows{first})")
