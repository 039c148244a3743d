from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.engine.stops import StopFilter

letters = st.text(alphabet="ab<", max_size=30)
stops = st.lists(st.text(alphabet="ab<", min_size=1, max_size=4), max_size=3)


def expected(text: str, stop_strings: list[str]) -> tuple[str, bool]:
    """The text character by character: it ends where a stop string is first complete, before the longest of those."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stop_strings if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


@settings(deadline=None, derandomize=True, database=None)
@given(text=letters, stop_strings=stops, data=st.data())
def test_the_result_is_the_same_however_the_text_is_cut(
    text: str, stop_strings: list[str], data: st.DataObject
) -> None:
    wanted, stopped = expected(text, stop_strings)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stop_filter = StopFilter(stop_strings)
    shown = ""
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        shown += stop_filter.push(text[start:end])
        assert wanted.startswith(shown)
        assert stop_filter.released == len(shown)
    shown += stop_filter.flush()
    assert (shown, stop_filter.stopped) == (wanted, stopped)


@settings(deadline=None, derandomize=True, database=None)
@given(text=letters, stop_strings=stops)
def test_only_what_may_begin_a_stop_string_is_held_back(text: str, stop_strings: list[str]) -> None:
    stop_filter = StopFilter(stop_strings)
    shown = stop_filter.push(text)
    if not stop_filter.stopped:
        held = text[len(shown) :]
        assert held == "" or any(stop.startswith(held) for stop in stop_strings)


def test_nothing_comes_after_a_stop() -> None:
    stop_filter = StopFilter(["END"])
    assert stop_filter.push("one END two") == "one "
    assert stop_filter.push("three") == ""
    assert stop_filter.flush() == ""
