"""What validation found, collected into the dataset's report."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shared.contracts.datasets import BadRow, DatasetReport, SplitCounts
from shared.picosam.data.manifest import ImageRow

MAX_LISTED: Final = 10_000
"""Bad rows in a report, about 2 MB of JSON; the counts go on beyond."""

_LONGEST_DETAIL: Final = 500


@dataclass(slots=True)
class Checked:
    """What became of one image: its manifest row, unless the image itself is bad; what was left out; odd things kept."""

    row: ImageRow | None = None
    bad: list[BadRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def bad_row(split: str, problem: str, detail: str, *, image_id: object = None, annotation_id: object = None) -> BadRow:
    """A row to be left out. ``detail`` may quote hostile input: it is cut and stripped of control characters."""
    printable = "".join(char if char.isprintable() else "?" for char in detail[:_LONGEST_DETAIL])
    return BadRow(split=split, problem=problem, detail=printable, image_id=_text(image_id), annotation_id=_text(annotation_id))


class Findings:
    """Collects bad rows, warnings and counts of what is kept."""

    def __init__(self, splits: Iterable[str]) -> None:
        self._counts = {split: Counter[str]() for split in splits}
        self._problems: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self._listed: list[BadRow] = []

    def add_bad(self, rows: Iterable[BadRow]) -> None:
        """Rows that are left out."""
        for row in rows:
            self._problems[row.problem] += 1
            if len(self._listed) < MAX_LISTED:
                self._listed.append(row)

    def add_warnings(self, kinds: Iterable[str]) -> None:
        """Odd things about rows that are kept."""
        self._warnings.update(kinds)

    def count(self, row: ImageRow) -> None:
        """An image that is kept."""
        crowd = sum(instance.iscrowd for instance in row.instances)
        self._counts[row.split].update(images=1, crowd=crowd, instances=len(row.instances) - crowd)

    @property
    def images(self) -> int:
        """Images kept so far, over all splits."""
        return sum(counts["images"] for counts in self._counts.values())

    def report(self) -> DatasetReport:
        """The report as it stands. ``instances`` counts prompts: crowds stand beside them."""
        return DatasetReport(
            splits={split: _split_counts(counts) for split, counts in self._counts.items()},
            problems=dict(sorted(self._problems.items())),
            warnings=dict(sorted(self._warnings.items())),
            bad_rows=self._listed,
            bad_rows_truncated=self._problems.total() > len(self._listed),
        )


def _split_counts(counts: "Counter[str]") -> SplitCounts:
    return SplitCounts(images=counts["images"], instances=counts["instances"], crowd=counts["crowd"])


def _text(identifier: object) -> str | None:
    return None if identifier is None else str(identifier)[:64]
