"""The file that tells what a daemon does: whole at any moment, found by those who ask, believed only of its process."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from archiverd.live import LiveFile, LiveState, find_daemon
from archiverd.policy.live import LIVE_NAME, Live, Phase, status_words, to_text

NOW = 1_800_000_000.0


@pytest.fixture
def state() -> LiveState:
    return LiveState(time.time)


def test_what_the_daemon_does_is_found_beside_it_and_not_after_it(tmp_path: Path, state: LiveState) -> None:
    file = LiveFile(tmp_path, state)
    state.enter(Phase.WORKING)
    assert file.step(NOW) == NOW + 1
    found = find_daemon(tmp_path)
    assert (found.running, found.live) == (True, state.value)
    assert found.live is not None
    assert found.live.pid == os.getpid()
    file.close(ended=True)
    file.close(ended=True)
    assert find_daemon(tmp_path) == find_daemon(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_daemon_that_is_cut_off_leaves_word_of_it(tmp_path: Path, state: LiveState) -> None:
    file = LiveFile(tmp_path, state)
    file.step(NOW)
    state.enter(Phase.CUT_OFF, "/camera is not there")
    file.close(ended=False)
    found = find_daemon(tmp_path)
    assert found.running
    assert found.live is not None
    assert status_words(found.live) == "cut off: /camera is not there"


def test_the_file_is_written_only_where_something_changed(tmp_path: Path, state: LiveState) -> None:
    file = LiveFile(tmp_path, state)
    file.step(NOW)
    first = (tmp_path / LIVE_NAME).stat().st_ino
    file.step(NOW + 1)
    assert (tmp_path / LIVE_NAME).stat().st_ino == first
    state.pause("full")
    file.step(NOW + 2)
    assert (tmp_path / LIVE_NAME).stat().st_ino != first
    assert [path.name for path in tmp_path.iterdir()] == [LIVE_NAME]
    assert stat.S_IMODE((tmp_path / LIVE_NAME).stat().st_mode) == 0o640


def test_what_a_death_left_half_written_is_written_over(tmp_path: Path, state: LiveState) -> None:
    (tmp_path / f"{LIVE_NAME}.new").write_text("x" * 5000)
    LiveFile(tmp_path, state).step(NOW)
    assert find_daemon(tmp_path).live == state.value


def test_a_link_planted_under_its_name_is_not_followed(tmp_path: Path, state: LiveState) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    (state_dir / LIVE_NAME).symlink_to(precious)
    (state_dir / f"{LIVE_NAME}.new").symlink_to(precious)
    file = LiveFile(state_dir, state)
    file.step(NOW)
    (state_dir / f"{LIVE_NAME}.new").unlink()
    assert find_daemon(state_dir).live is None
    file.step(NOW + 1)
    assert find_daemon(state_dir).live == state.value
    assert precious.read_text() == "precious"


def test_a_disk_that_fails_stops_nothing_and_is_told_once(
    tmp_path: Path, state: LiveState, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = LiveFile(tmp_path / "gone", state)
    file.step(NOW)
    file.step(NOW + 1)
    assert len(caplog.records) == 1
    (tmp_path / "gone").mkdir()
    file.step(NOW + 2)
    assert find_daemon(tmp_path / "gone").running


def test_a_process_that_is_no_more_or_another_of_its_number_does_not_run(tmp_path: Path, state: LiveState) -> None:
    LiveFile(tmp_path, state).step(NOW)
    values = json.loads((tmp_path / LIVE_NAME).read_text())
    (tmp_path / LIVE_NAME).write_text(json.dumps({**values, "start_ticks": values["start_ticks"] + 1}))
    assert not find_daemon(tmp_path).running
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / LIVE_NAME).write_text(json.dumps({**values, "pid": ended.pid}))
    assert not find_daemon(tmp_path).running
    (tmp_path / LIVE_NAME).write_text(json.dumps({**values, "pid": 2**70}))
    assert not find_daemon(tmp_path).running


def test_a_process_whose_name_looks_like_numbers_is_known_by_its_begin(tmp_path: Path) -> None:
    fields = " ".join(["S", *map(str, range(1, 19)), "4711", "0"])
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "stat").write_text(f"42 (a) b) 1 2 (3) {fields}\n")
    (tmp_path / LIVE_NAME).write_text(to_text(Live(42, 4711, "1", NOW)))
    assert find_daemon(tmp_path, proc=tmp_path).running
