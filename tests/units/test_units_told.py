"""What an archive says of its source: as it is written, and as it is read from whoever wrote it."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.told import Told, parse_told, tell

SECRET = "of the archive root"  # noqa: S105  (of this test)
TOLD = Told(PurePosixPath("2026/06/30/REO_front_20260630081500.mp4"), "5" * 64, 1000, 1_700_000_000_123_456_789)


@pytest.mark.parametrize(
    "name", ["REO_front_20260630081500.mp4", "REO_T\udcfcr \n\x1b[31m_20260630081500.mp4", "前門_20260630081500.mp4"]
)
def test_what_is_told_is_read_again(name: str) -> None:
    told = Told(PurePosixPath("2026/06/30", name), "0123456789abcdef" * 4, 0, -1)
    assert tell(told, SECRET).isascii()
    assert parse_told(tell(told, SECRET), SECRET) == told


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
    assert parse_told(json.dumps({**json.loads(tell(TOLD, SECRET)), **changes}), SECRET) is None


@pytest.mark.parametrize("key", ["v", "source", "sha256", "size", "mtime_ns", "seal"])
def test_text_that_lacks_something_is_no_word_of_ours(key: str) -> None:
    values = json.loads(tell(TOLD, SECRET))
    del values[key]
    assert parse_told(json.dumps(values), SECRET) is None


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"text"', "{", "[" * 100_000, "\0"])
def test_text_of_another_kind_is_no_word_of_ours(text: str) -> None:
    assert parse_told(text, SECRET) is None


@given(st.one_of(st.text(), st.builds(json.dumps, st.dictionaries(st.text(), st.integers() | st.text() | st.none()))))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert parse_told(text, SECRET) is None


@given(st.text(alphabet=st.sampled_from("ab./\0\udcff\ud800 "), min_size=1), st.integers(), st.integers())
def test_source_that_is_read_always_lies_below_the_root(source: str, size: int, mtime_ns: int) -> None:
    told = parse_told(tell(Told(PurePosixPath(source), "a" * 64, size, mtime_ns), SECRET), SECRET)
    if told is not None:
        assert not told.source.is_absolute()
        assert not {"..", "."} & set(told.source.parts)


@pytest.mark.parametrize("secret", ["", "of another root"])
def test_text_that_is_sealed_with_another_secret_is_no_word_of_ours(secret: str) -> None:
    assert parse_told(tell(TOLD, secret), SECRET) is None
    assert parse_told(tell(TOLD, SECRET), secret) is None
    assert parse_told(tell(TOLD, ""), "") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "2026/06/30/x.mp4"},
        {"sha256": "6" * 64},
        {"size": 1001},
        {"mtime_ns": 7},
        {"seal": "0" * 64},
        {"seal": 7},
    ],
)
def test_text_that_was_changed_after_it_was_sealed_is_no_word_of_ours(changes: dict[str, Any]) -> None:
    assert parse_told(json.dumps({**json.loads(tell(TOLD, SECRET)), **changes}), SECRET) is None
