from __future__ import annotations

import pytest

from netloom.local.runner.http1 import BadRequest
from netloom.local.runner.standins.feed import LogLine
from netloom.local.runner.streams.logs import LogWish, text_of, wish_of

NOW = 1_700_000_000.0


def test_parameters():
    query = {
        "follow": ["true"],
        "tailLines": ["5"],
        "sinceSeconds": ["60"],
        "timestamps": ["true"],
        "limitBytes": ["9"],
    }
    assert wish_of(query, now=NOW) == LogWish(follow=True, timestamps=True, tail=5, since=NOW - 60, limit=9)
    assert wish_of({"sinceTime": ["2023-11-14T22:13:20Z"], "previous": ["1"]}, now=0) == LogWish(
        previous=True, since=NOW
    )
    assert wish_of({}, now=NOW) == LogWish()


@pytest.mark.parametrize(
    "query",
    [
        {"tailLines": ["-1"]},
        {"tailLines": ["x"]},
        {"limitBytes": ["0"]},
        {"sinceTime": ["yesterday"]},
        {"sinceTime": ["2023-11-14T22:13:20"]},
        {"sinceTime": ["2023-11-14T22:13:20Z"], "sinceSeconds": ["5"]},
    ],
)
def test_parameters_out_of_range_are_refused(query: dict[str, list[str]]):
    with pytest.raises(BadRequest):
        wish_of(query, now=NOW)


def test_lines():
    lines = [LogLine(NOW + 0.5, "one"), LogLine(NOW, "two")]
    assert text_of(lines, timestamps=False) == b"one\ntwo\n"
    assert text_of(lines, timestamps=True).startswith(b"2023-11-14T22:13:20.500000000Z one\n")
