"""What a daemon does now: in one line of ASCII, and as JSON that survives anything but nonsense."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from archiverd.live import LiveState
from archiverd.policy.live import Live, Phase, Task, from_text, status_words, to_text

NOW = 1_800_000_000.0
IDLE = Live(7, 123, "1.0", NOW, Phase.WORKING)
TASK = Task("REO_front_20260630081500.mp4", 1000, NOW, "front", 10.0, "transcoding", 0.42, 3.1)
BUSY = replace(IDLE, task=TASK, waiting=3, held=2)


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (BUSY, "transcoding front 42 %, 3 waiting, 2 held"),
        (IDLE, "idle"),
        (replace(IDLE, held=2), "idle, 2 held"),
        (replace(BUSY, task=replace(TASK, stage="verifying", fraction=None), held=0), "verifying front, 3 waiting"),
        (replace(IDLE, task=replace(TASK, stage="letting go of the source", fraction=None)),
         "front: letting go of the source"),
        (replace(IDLE, task=replace(TASK, stage="", camera="", fraction=None)), f"examining {TASK.name}"),
        (replace(BUSY, paused="/camera: full"), "paused: /camera: full, 3 waiting, 2 held"),
        (replace(IDLE, phase=Phase.STARTING, about="reading the trees"), "starting: reading the trees"),
        (replace(IDLE, phase=Phase.CUT_OFF, about="/camera is not there"), "cut off: /camera is not there"),
        (replace(BUSY, phase=Phase.STOPPING), "stopping, 3 waiting, 2 held"),
        (replace(IDLE, task=replace(TASK, camera="カメラ", fraction=None)), r"transcoding \u30ab\u30e1\u30e9"),
        (replace(IDLE, paused="x" * 200), f"paused: {'x' * 117}..."),
    ],
)  # fmt: skip
def test_words_say_what_is_done_now_in_one_line_of_ascii(live: Live, words: str) -> None:
    assert status_words(live) == words
    assert words.isascii()


@pytest.mark.parametrize("live", [IDLE, BUSY, replace(BUSY, paused="because", about="x", scanned_at=NOW)])
def test_what_is_written_is_read_again(live: Live) -> None:
    assert from_text(to_text(live)) == live
    assert to_text(live).count("\n") == 1


CHANGES = {"format": 2, "pid": "x", "phase": "asleep", "task": {}, "since": float("nan"), "about": 7, "waiting": None}


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, to_text(BUSY)[:-5]])
def test_nonsense_says_nothing(text: str) -> None:
    assert from_text(text) is None


@pytest.mark.parametrize(("key", "value"), CHANGES.items())
def test_a_value_that_makes_no_sense_says_nothing(key: str, value: object) -> None:
    assert from_text(json.dumps({**BUSY.to_json(), key: value})) is None


def test_a_name_in_the_file_steers_no_terminal() -> None:
    read = from_text(json.dumps({**IDLE.to_json(), "about": "\x1b[31m\n"}))
    assert read is not None
    assert read.about == r"\x1b[31m\n"


# -- the state --------------------------------------------------------------------------------------------


def test_state_is_the_display_of_a_job() -> None:
    state = LiveState(lambda: NOW)
    state.enter(Phase.WORKING)
    state.begin("a\n.mp4", 1000, 10.0, camera="front")
    state.stage("transcoding")
    state.update(0.423, 3.14)
    state.queue(waiting=3, held=2, unread=1)
    assert status_words(state.value) == "transcoding front 42 %, 3 waiting, 2 held"
    assert state.value.task == Task(r"a\n.mp4", 1000, NOW, "front", 10.0, "transcoding", 0.42, 3.1)
    state.stage("verifying")
    assert status_words(state.value) == "verifying front, 3 waiting, 2 held"
    state.end("archived")
    assert state.value.last == r"a\n.mp4: archived"
    state.stage("late")
    state.update(0.5, None)
    assert status_words(state.value) == "idle, 3 waiting, 2 held"


@pytest.mark.parametrize(("told", "kept"), [(-1.0, 0.0), (2.0, 1.0), (float("nan"), 0.0)])
def test_a_fraction_is_one(told: float, kept: float) -> None:
    state = LiveState(lambda: NOW)
    state.begin("a", 1)
    state.update(told, None)
    assert state.value.task is not None
    assert state.value.task.fraction == kept


def test_what_was_uploaded_during_a_job_is_heard_of_after_it() -> None:
    moments = [NOW]
    state = LiveState(lambda: moments[-1])
    state.begin("a", 1)
    moments.append(NOW + 7200)
    assert state.heard_until() == NOW
    state.end()
    assert state.heard_until() == NOW + 7200


def test_what_was_uploaded_during_a_pause_is_heard_of_after_it() -> None:
    moments = [NOW]
    state = LiveState(lambda: moments[-1])
    state.pause("full")
    moments.append(NOW + 3600)
    state.pause("still full")
    assert state.heard_until() == NOW
    state.pause("")
    assert state.heard_until() == NOW + 3600
