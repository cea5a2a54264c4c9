"""What a job said and the jobs service has not acknowledged yet."""

import threading
from collections import deque
from typing import Final

from shared.contracts.jobs import Progress
from shared.contracts.worker import LogLine, ReportIn

_LINE_LIMIT: Final = 8192
_LINES_PER_REPORT: Final = 500


class Outbox:
    """Keeps the newest progress and all log lines (up to ``line_limit``) until a report with them was acknowledged.

    A report that was not acknowledged is made again with the same number and content: the service stores it once.
    """

    def __init__(self, token: int, *, line_limit: int = 20_000) -> None:
        self._token = token
        self._lock = threading.Lock()
        self._lines: deque[LogLine] = deque(maxlen=line_limit)
        self._dropped = 0
        self._progress: Progress | None = None
        self._run_id: str | None = None
        self._report_no = 0
        self._open: ReportIn | None = None

    def progress(self, progress: Progress) -> None:
        """Replace the progress that waits."""
        with self._lock:
            self._progress = progress

    def log(self, message: str, level: str = "info") -> None:
        """Add a line; the oldest ones go when too many wait."""
        with self._lock:
            self._dropped += len(self._lines) == self._lines.maxlen
            self._lines.append(LogLine(level=level, message=message[:_LINE_LIMIT]))

    def run(self, run_id: str) -> None:
        """Name the MLflow run."""
        with self._lock:
            self._run_id = run_id

    def next_report(self) -> ReportIn | None:
        """The report to send now: the open one again, else a new one, or None if there is nothing to say."""
        with self._lock:
            if self._open is None and (self._progress or self._lines or self._run_id):
                self._report_no += 1
                self._open = ReportIn(
                    token=self._token,
                    report_no=self._report_no,
                    progress=self._progress,
                    logs=self._take_lines(),
                    mlflow_run_id=self._run_id,
                )
                self._progress = self._run_id = None
            return self._open

    def acknowledge(self) -> None:
        """The open report has arrived."""
        with self._lock:
            self._open = None

    def _take_lines(self) -> list[LogLine]:
        lines = [self._lines.popleft() for _ in range(min(len(self._lines), _LINES_PER_REPORT))]
        if self._dropped:
            note = f"{self._dropped} log lines were dropped here: the jobs service was away too long."
            lines.insert(0, LogLine(level="warning", message=note))
            self._dropped = 0
        return lines
