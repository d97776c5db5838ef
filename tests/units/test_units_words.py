"""Sizes and spans in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.words import days_words, size_words

DAY = 86_400.0


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (999.6, "1 kB"),
        (1000, "1 kB"),
        (1024, "1.02 kB"),
        (999_900, "999.9 kB"),
        (999_999, "1 MB"),
        (2**20, "1.05 MB"),
        (200 * 10**9, "200 GB"),
        (1250 * 10**9, "1.25 TB"),
        (12_345 * 10**12, "12345 TB"),
        (-2500, "-2.5 kB"),
    ],
)
def test_size_in_words(size: float, words: str) -> None:
    assert size_words(size) == words


@given(st.integers(0, 2**60))
def test_size_is_short_and_near(size: int) -> None:
    number, unit = size_words(size).split(" ")
    assert float(number) < 1000 or unit == "TB"
    scale = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}.get(unit, 1)
    assert abs(float(number) * scale - size) <= scale * 0.00501


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 hours"),
        (36 * 3600, "36 hours"),
        (2 * DAY, "2 days"),
        (36_500 * DAY, "36500 days"),
        (2.5 * DAY, "2.5 days"),
    ],
)
def test_span_in_words(seconds: float, words: str) -> None:
    assert days_words(seconds) == words
