"""What an archive says of its source: as it is written, and as it is read from whoever wrote it."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.told import Told, parse_told, tell

TOLD = Told(PurePosixPath("2026/06/30/REO_front_20260630081500.mp4"), "5" * 64, 1000, 1_700_000_000_123_456_789)


@pytest.mark.parametrize(
    "name", ["REO_front_20260630081500.mp4", "REO_T\udcfcr \n\x1b[31m_20260630081500.mp4", "前門_20260630081500.mp4"]
)
def test_what_is_told_is_read_again(name: str) -> None:
    told = Told(PurePosixPath("2026/06/30", name), "0123456789abcdef" * 4, 0, -1)
    assert tell(told).isascii()
    assert parse_told(tell(told)) == told


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": None},
        {"source": ""},
        {"source": "/etc/passwd"},
        {"source": "../2026/06/30/x.mp4"},
        {"source": "2026/../x.mp4"},
        {"source": "2026//x.mp4"},
        {"source": "2026/./x.mp4"},
        {"source": "2026/x\0.mp4"},
        {"source": "2026/\ud800.mp4"},
        {"source": 7},
        {"sha256": "5" * 63},
        {"sha256": "5" * 65},
        {"sha256": "G" * 64},
        {"sha256": None},
        {"size": -1},
        {"size": 1.5},
        {"size": True},
        {"size": "1000"},
        {"size": 2**63},
        {"mtime_ns": 2**63},
        {"mtime_ns": None},
    ],
)
def test_text_that_says_what_can_not_be_is_no_word_of_ours(changes: dict[str, Any]) -> None:
    assert parse_told(json.dumps({**json.loads(tell(TOLD)), **changes})) is None


@pytest.mark.parametrize("key", ["v", "source", "sha256", "size", "mtime_ns"])
def test_text_that_lacks_something_is_no_word_of_ours(key: str) -> None:
    values = json.loads(tell(TOLD))
    del values[key]
    assert parse_told(json.dumps(values)) is None


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"text"', "{", "[" * 100_000, "\0"])
def test_text_of_another_kind_is_no_word_of_ours(text: str) -> None:
    assert parse_told(text) is None


@given(st.one_of(st.text(), st.builds(json.dumps, st.dictionaries(st.text(), st.integers() | st.text() | st.none()))))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert parse_told(text) is None


@given(
    st.fixed_dictionaries(
        {
            "v": st.just(1),
            "source": st.text(alphabet=st.sampled_from("ab./\0\udcff\ud800 ")),
            "sha256": st.just("a" * 64),
            "size": st.integers(),
            "mtime_ns": st.integers(),
        }
    )
)
def test_source_that_is_read_always_lies_below_the_root(values: dict[str, object]) -> None:
    told = parse_told(json.dumps(values))
    if told is not None:
        assert not told.source.is_absolute()
        assert not {"..", "."} & set(told.source.parts)
        assert tell(told) == tell(parse_told(tell(told)) or TOLD)
