"""Reader of server-sent events (WHATWG HTML, section 9.2), for a stream that is already split into lines."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. ``id`` is empty if the stream has not set one yet."""

    name: str
    data: str
    id: str


def server_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Complete events of a stream; comments and an unfinished last event are dropped, as the standard says."""
    name, data, last_id = "", list[str](), ""
    for line in lines:
        if not line:
            if data:
                yield ServerEvent(name=name or "message", data="\n".join(data), id=last_id)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value
