"""The inbox: each path once, oldest first, and awake while something is in it."""

from __future__ import annotations

import os
import select
import threading
from pathlib import PurePosixPath

import pytest

from archiverd.policy.model import FoundFile
from archiverd.service.inbox import Inbox, Seen
from tests.recordings import MARK, PATH, name_of


def awake(inbox: Inbox) -> bool:
    return bool(select.select([inbox], [], [], 0)[0])


def test_paths_come_out_as_they_came_in_and_at_most_as_many_as_asked_for() -> None:
    inbox = Inbox()
    for name in "abc":
        inbox.put(f"2026/{name}.mp4")
    assert [seen.path.name for seen in inbox.take(2)] == ["a.mp4", "b.mp4"]
    assert len(inbox) == 1
    assert [seen.path.name for seen in inbox.take(2)] == ["c.mp4"]
    assert inbox.take(2) == []


def test_a_path_stands_once_in_its_first_place_with_all_that_was_seen() -> None:
    inbox = Inbox()
    inbox.put(PurePosixPath("a.mp4"), closed=True)
    inbox.put("b")
    inbox.put("a.mp4")
    inbox.put("b", directory=True)
    assert inbox.take(9) == [Seen(PurePosixPath("a.mp4"), closed=True), Seen(PurePosixPath("b"), False, True)]


def test_clips_that_were_found_come_out_as_they_were_unless_something_was_seen_at_their_path() -> None:
    found = [FoundFile.at(PurePosixPath(f"2026/{name}.mp4"), MARK, name_of(PATH)) for name in "abcd"]
    inbox = Inbox()
    inbox.put("2026/a.mp4", closed=True)
    inbox.put_found(found)
    inbox.put("2026/b.mp4", closed=True)
    assert len(inbox) == 4
    assert inbox.take_found(1) == [found[2]]
    assert inbox.take_found(9) == [found[3]]
    assert inbox.take(9) == [Seen(clip.path, closed=True) for clip in found[:2]]
    assert len(inbox) == 0


def test_what_was_found_wakes_once() -> None:
    with Inbox() as inbox:
        inbox.put_found(())
        assert not awake(inbox)
        inbox.put_found([FoundFile.at(PATH, MARK, name_of(PATH))])
        assert awake(inbox)
        inbox.take_found(1)
        assert not awake(inbox)


def test_a_name_that_is_not_utf_8_comes_out_as_it_came_in() -> None:
    inbox = Inbox()
    inbox.put(os.fsdecode(b"caf\xe9.mp4"))
    assert os.fsencode(inbox.take(1)[0].path) == b"caf\xe9.mp4"


def test_the_descriptor_is_readable_while_something_is_in_it() -> None:
    inbox = Inbox()
    inbox.put("before")
    with inbox:
        assert awake(inbox)
        inbox.put("after")
        inbox.take(1)
        assert awake(inbox)
        inbox.take(1)
        assert not awake(inbox)
        inbox.put("after")
        assert awake(inbox)


def test_after_its_end_what_is_put_raises_nothing() -> None:
    with Inbox() as inbox:
        pass
    inbox.put("late")
    assert len(inbox) == 1
    with pytest.raises(ValueError, match="not open"):
        inbox.fileno()


def test_nothing_is_lost_between_threads() -> None:
    taken: list[PurePosixPath] = []
    with Inbox() as inbox:

        def put(number: int) -> None:
            for count in range(2000):
                inbox.put(f"{number}/{count}")

        threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while len(taken) < 8000:
            assert select.select([inbox], [], [], 10)[0], "nobody woke"
            taken += [seen.path for seen in inbox.take(100)]
        for thread in threads:
            thread.join(10)
    assert len(set(taken)) == 8000
