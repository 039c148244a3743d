"""Reading JSON: what parsers disagree on, and what could hurt, is refused."""

from __future__ import annotations

import tracemalloc

import pytest

from freehold.errors import InvalidRequestError
from freehold.serve.body import parse_object


def test_an_object_is_read() -> None:
    raw = '{"a": [1, -2.5, true, null, "ä😀", {"b": {}}], "c": 18446744073709551615}'.encode()
    assert parse_object(raw, 8) == {"a": [1, -2.5, True, None, "ä😀", {"b": {}}], "c": 2**64 - 1}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"5", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a": NaN}', "NaN is not"),
        (b'{"a": -Infinity}', "-Infinity is not"),
        (b'{"a": 1e309}', "too large"),
        (b'{"a": -1e999999}', "too large"),
        (b'{"a": 18446744073709551616}', "64 bits"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "64 bits"),
        (b'{"a": 1, "a": 2}', "given twice"),
        (b'{"a": {"b": 1, "b": 1}}', "given twice"),
        (b"{" + b",".join(b'"%d": 1' % number for number in range(4097)) + b"}", "at most 4096"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not valid UTF-8"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"a": ' + b"[" * 8 + b"]" * 8 + b"}", "deep"),
        (b'{"a":' * 100_000, "deep"),
        (b"[" * 1_000_000, "deep"),
    ],
)
def test_what_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why) as caught:
        parse_object(raw, 8)
    assert len(str(caught.value)) < 200


def test_the_deepest_that_is_allowed() -> None:
    assert parse_object(b'{"a": ' + b"[" * 7 + b"]" * 7 + b"}", 8)


def test_checking_a_body_takes_no_memory_of_its_own_for_each_value() -> None:
    raw = b'{"a":[' + b"1," * 500_000 + b"1]}"
    tracemalloc.start()
    try:
        parse_object(raw, 8)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(raw)
    finally:
        tracemalloc.stop()
