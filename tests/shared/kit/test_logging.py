"""Log lines, as a collector reads them. In a process of its own: logging is configured once per process."""

import json
import subprocess
import sys

SCRIPT = """
import logging
import structlog
from shared.kit.logging import configure_logging, get_logger

configure_logging(json={json})
structlog.contextvars.bind_contextvars(request_id="r1")
get_logger("a").warning("thing.broke", thing_id=7)
logging.getLogger("b").info("plain %s", "text")
logging.getLogger("httpx").info("noise")
password = "hunter2"
try:
    1 / 0
except ZeroDivisionError:
    get_logger("a").exception("thing.failed")
"""


def lines_of(as_json):
    script = SCRIPT.replace("{json}", str(as_json))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "hunter2" not in done.stderr
    return done.stderr


def test_json_lines_have_event_level_time_and_ids():
    first, second, third = map(json.loads, lines_of(True).splitlines())
    assert (first["event"], first["level"], first["thing_id"], first["request_id"]) == ("thing.broke", "warning", 7, "r1")
    assert (second["event"], second["logger"]) == ("plain text", "b")
    assert first["timestamp"].endswith("Z")
    assert third["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_a_terminal_gets_text():
    text = lines_of(False)
    assert "thing.broke" in text
    assert "noise" not in text
    assert "ZeroDivisionError" in text
