"""What a changed configuration means for a daemon that runs."""

from __future__ import annotations

from archiverd.config import FILE_KEYS
from archiverd.policy.reloading import NEEDS_RESTART, Change, changes, refused


def test_only_what_is_another_value_has_changed() -> None:
    assert changes({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == (Change("b", "2", "3"),)
    assert str(Change("codec", '"hevc"', '"h264"')) == 'codec: "hevc" -> "h264"'


def test_what_says_which_daemon_it_is_is_refused() -> None:
    roots = Change("output", '"/a"', '"/b"')

    assert refused((Change("codec", '"hevc"', '"h264"'), roots)) == (roots,)
    assert set(NEEDS_RESTART) <= set(FILE_KEYS)
