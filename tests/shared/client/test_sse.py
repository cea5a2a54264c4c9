from hypothesis import given, settings
from hypothesis import strategies as st

from shared.client.sse import ServerEvent, server_events

texts = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=30)


def test_fields_comments_and_multi_line_data() -> None:
    lines = [": hello", "event: state", "id: 7", "data: one", "data: two", "", "data:bare", "", "retry: 10", ""]
    assert list(server_events(lines)) == [ServerEvent("state", "one\ntwo", "7"), ServerEvent("message", "bare", "7")]


def test_an_unfinished_event_is_not_given_out() -> None:
    assert list(server_events(["id: 1", "data: half"])) == []


@settings(deadline=None)
@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), max_size=5))
def test_what_is_written_is_read(events: list[tuple[str, list[str]]]) -> None:
    lines: list[str] = []
    for name, data in events:
        lines += [f"event: {name}", *(f"data: {line}" for line in data), ""]
    assert [(event.name, event.data) for event in server_events(lines)] == [
        (name or "message", "\n".join(data)) for name, data in events
    ]
