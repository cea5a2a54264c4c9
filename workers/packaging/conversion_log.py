"""What the converter says while it works (``--logger-format json``): one JSON object a line, and now and then a stack trace."""

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from shared.contracts.jobs import Progress

_CODES: Final = re.compile(r"^(?:CODE: \[\w+\] *)+")
_KEPT_LINES: Final = 200
_KEPT_ERRORS: Final = 50
_MESSAGE_LIMIT: Final = 4000

STAGES: Final = ("read", "schedule", "lower", "compile", "pack")
"""What the converter does, in this order: ONNX to its own form; place everything in the sensor's memory; layers to operations
of the signal processor; these to its code; all of it into packerOut.zip. A memory report ends after the second."""
_REPORT_STAGES: Final = 2

_PASSED_ON: Final = "URCI"
"""Code of lines that a program within the converter printed, and that are no log lines: stack traces again."""
_OUTERMOST: Final = "IMX"
"""Component that repeats no more than that another one failed."""

# (component, beginning of the message) that opens each stage but the first
_OPENING: Final = (
    ("sdspconv", "Starting SDSPconv"),
    ("convfe", "ConvFe conversion finished"),
    ("Converter-BE-Parser", ""),
    ("CfgConvManager", "Converter Backend successfully"),
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line in the converter's JSON."""

    level: str
    """trace, debug, info, warn or error."""
    component: str
    code: str | None
    """As ISM; of lines that have one."""
    message: str
    """Without the code, which it often repeats."""


def parse_line(text: str) -> LogLine | None:
    """None for whatever is no log line: stack traces, notes of the Java machine."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("message"), str):
        return None
    return LogLine(
        level=_text(found, "log.level").lower() or "info",
        component=_text(found, "component.type"),
        code=_text(found, "message.code") or None,
        message=_CODES.sub("", found["message"]).strip()[:_MESSAGE_LIMIT],
    )


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""


@dataclass(slots=True)
class Listener:
    """Follows a conversion line by line: which stage it is in, what went wrong, what was said last."""

    on_stage: Callable[[Progress], None]
    on_message: Callable[[LogLine], None]
    report_only: bool
    errors: list[LogLine] = field(default_factory=list)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    """The last lines that are no log lines."""
    _stage: int = -1

    def hear(self, text: str) -> None:
        """Take in one line of the converter's output."""
        line = parse_line(text)
        if line is None:
            if text.strip() and not text.startswith("Picked up JAVA_TOOL_OPTIONS"):
                self.tail.append(text.rstrip()[:_MESSAGE_LIMIT])
            return
        self._enter(_stage_of(line, self._stage))
        if line.code == _PASSED_ON:
            self.tail.append(line.message)
        if line.level == "error" and line not in self.errors and len(self.errors) < _KEPT_ERRORS:
            self.errors.append(line)
        self.on_message(line)

    def error(self, *codes: str) -> LogLine | None:
        """The first error with one of these codes."""
        return next((line for line in self.errors if line.code in codes), None)

    def finished(self) -> None:
        """The converter ended well."""
        self._enter(self._total)

    def mentions(self, word: str) -> bool:
        """True if a stack trace or an error has the word in it."""
        return any(word in text for text in self.tail) or any(word in line.message for line in self.errors)

    @property
    def stage(self) -> str:
        """What the converter is doing, or did last."""
        return STAGES[min(max(self._stage, 0), self._total - 1)]

    @property
    def reason(self) -> str:
        """The first error that says something; else what looks like one among the other lines; else the last of any kind."""
        errors = [line.message for line in self.errors if line.component != _OUTERMOST and not line.message.endswith(":")]
        if errors:
            return errors[0]
        telling = [text for text in self.tail if re.search(r"\b\w*(Error|Exception)\b", text)]
        anything = [*(line.message for line in self.errors), *self.tail]
        return (telling or anything or [""])[-1].strip()

    @property
    def _total(self) -> int:
        return _REPORT_STAGES if self.report_only else len(STAGES)

    def _enter(self, stage: int) -> None:
        stage = min(stage, self._total)
        if stage > self._stage:
            self._stage = stage
            self.on_stage(Progress(phase=self.stage, done=stage, total=self._total, unit="stage"))


def _stage_of(line: LogLine, now: int) -> int:
    for number, (component, beginning) in enumerate(_OPENING, start=1):
        if number > now and line.component == component and line.message.startswith(beginning):
            return number
    return max(now, 0)
