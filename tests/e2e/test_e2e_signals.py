"""A run that is told to stop: it ends soon, with the signal's number, and leaves nothing half done."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from archiverd.policy.model import State
from tests.e2e.invariants import (
    assert_all_archived,
    assert_no_traces,
    assert_nothing_lost,
    children,
    contents,
    picture_of,
    traces,
)
from tests.e2e.rig import Rig
from tests.screen import until

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AT_ONCE_S = 1.0

# ffmpeg at work, so slow that it has not begun to be done.
SLOW = 'if transcoding and first_time(): arguments[0:0] = ["-readrate", "0.01"]'
# A program in ffmpeg's place that hears no SIGTERM.
DEAF = """
if transcoding and first_time():
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(target, "r+b") as output:
        output.write(b"half of an archive")
    with open({log!r}, "a") as log:
        log.write("deaf\\n")
    signal.pause()
"""


@contextlib.contextmanager
def transcoding(rig: Rig, body: str, said: str) -> Iterator[subprocess.Popen[str]]:
    """A run whose ffmpeg, a fake that does `body`, is in the middle of a transcode."""
    rig.fake_ffmpeg(body)
    with rig.started("--no-confirm") as process:
        until(lambda: rig.ffmpeg_runs(said) == 1 or process.poll() is not None)
        assert process.poll() is None, rig.output.read_text()
        until(lambda: len(traces(rig)) == 1)
        yield process


@pytest.mark.parametrize("signum", SIGNALS)
def test_signal_during_a_transcode_ends_the_run_and_counts_against_nothing(rig: Rig, signum: signal.Signals) -> None:
    uploads = [rig.upload(name, rig.path(minute), snapshots=1) for minute, name in enumerate("ab")]
    with transcoding(rig, SLOW, "transcode") as process:
        until(lambda: any("readrate" in child for child in children(rig)))
        process.send_signal(signum)

        assert process.wait(10) == 128 + signum

    assert_no_traces(rig)
    assert [(row.path, row.state, row.attempts, row.crashes) for row in rig.rows()] == [
        (uploads[0].path, State.WAITING, 0, 0)
    ]  # the second was not begun
    assert not list(rig.archive.rglob("*.mp4"))
    assert rig.run() == 0
    assert_all_archived(rig)


def test_signal_ends_an_ffmpeg_that_hears_none_within_the_stop_timeout(rig: Rig) -> None:
    rig.upload("a")
    with rig.config_file.open("a") as config:
        config.write('stop_timeout = "1 s"\n')
    with transcoding(rig, DEAF.format(log=str(rig.ffmpeg_log)), "deaf") as process:
        process.terminate()
        began = time.monotonic()

        assert process.wait(10) == 128 + signal.SIGTERM
        assert time.monotonic() - began >= 1.0

    assert_no_traces(rig)
    assert rig.run() == 0
    assert_all_archived(rig)


@pytest.mark.parametrize("second", SIGNALS)
def test_second_signal_ends_the_run_at_once_and_the_next_one_cleans_up(rig: Rig, second: signal.Signals) -> None:
    upload = rig.upload("a", snapshots=1)
    with transcoding(rig, DEAF.format(log=str(rig.ffmpeg_log)), "deaf") as process:
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):  # it waits for ffmpeg
            process.wait(0.5)
        process.send_signal(second)

        assert process.wait(AT_ONCE_S) == 128 + second

    until(lambda: not children(rig), within_s=AT_ONCE_S)
    assert [path.suffix for path in traces(rig)] == [".part"]
    assert contents(rig, rig.camera).keys() == {upload.sha256, *rig.snapshots.values()}
    assert rig.run() == 0
    assert_all_archived(rig)


def test_signal_between_two_recordings_leaves_the_first_done_and_the_second_as_it_was(rig: Rig) -> None:
    done, left = rig.upload("a"), rig.upload("b", rig.path(1))
    rig.fake_ffmpeg("""
        if transcoding and not first_time():
            import signal
            os.kill(os.getppid(), signal.SIGTERM)
        """)

    assert rig.run() == 143

    assert (rig.row(done).state, rig.row(left).state) == (State.DONE, State.WAITING)
    assert_nothing_lost(rig)
    assert_no_traces(rig)
    rig.fake_ffmpeg()
    assert rig.run() == 0
    assert_all_archived(rig)


def test_interrupt_at_the_question_changes_nothing(rig: Rig) -> None:
    """Control-C on the terminal that the question stands on."""
    upload = rig.upload("a", snapshots=1)
    day = (rig.camera / upload.path).parent
    before = picture_of(day)
    master, slave = os.openpty()
    # setsid makes the terminal the controlling one, as a shell has it: it is the terminal that sends the signal.
    with rig.started(wrapper=("setsid", "--ctty"), stdin=slave) as process:
        os.close(slave)
        until(lambda: "Go ahead" in rig.output.read_text() or process.poll() is not None)
        os.write(master, b"\x03")

        assert process.wait(10) == 130
    os.close(master)

    assert picture_of(day) == before
    assert rig.rows() == []
    assert contents(rig, rig.archive) == contents(rig, rig.trash) == {}
    assert not children(rig)
    assert rig.run() == 0
    assert_all_archived(rig)


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"], ids=["no", "nothing", "end-of-file"])
def test_other_answers_than_yes_change_nothing(rig: Rig, answer: str) -> None:
    upload = rig.upload("a")
    day = (rig.camera / upload.path).parent
    before = picture_of(day)
    master, slave = os.openpty()
    with rig.started(stdin=slave) as process:
        os.close(slave)
        os.write(master, answer.encode())

        assert process.wait(20) == 0
    os.close(master)

    assert picture_of(day) == before
    assert rig.rows() == []


def test_second_process_on_the_same_tree_is_refused_and_touches_nothing(rig: Rig) -> None:
    rig.upload("a")
    with transcoding(rig, SLOW, "transcode") as first:
        before, parts = picture_of(rig.camera), traces(rig)

        assert rig.run() == 75

        after = picture_of(rig.camera)
        first.terminate()
        assert first.wait(10) == 143
    changing = {"archiver.log", *(str(path.relative_to(rig.camera)) for path in parts)}  # by the first one
    assert after.keys() == before.keys()
    assert {path for path, what in after.items() if what != before[path]} <= changing
    assert rig.run() == 0
    assert_all_archived(rig)


@pytest.mark.parametrize("shared", ["output", "trash_root"])
def test_second_archiverd_with_one_tree_in_common_is_refused(rig: Rig, shared: str) -> None:
    """Two cameras' trees, two catalogs, one archive or trash."""
    upload = rig.upload("a")
    assert rig.run() == 0
    (rig.base / "second").mkdir()
    other = Rig(rig.base / "second")
    theirs = other.upload("b")
    before = picture_of(rig.camera)
    if shared == "output":
        other.archive = rig.archive
    else:
        other.trash = rig.trash

    assert other.run() == 75

    assert picture_of(rig.camera) == before
    assert (other.camera / theirs.path).is_file()
    assert rig.row(upload).state is State.DONE
