"""What a storm of kills is made of: moments, whom a kill hits, archives that are old enough to go, and what is left."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath

from archiverd.policy.model import ArchiveKind, FoundRecording, State, Tree
from archiverd.policy.naming import RETIRED
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.invariants import Places, children, probed
from tests.e2e.rig import Rig, sha256_of
from tests.e2e.serving import Serving
from tests.holdings import House, clip_of
from tests.recordings import receipt

CAMERA = "old"
_SIZE = 6000  # bytes of an old archive
_FRAMES = 5
_LOOK_S = 0.003
_LONGEST_S = 4.0  # from when the daemon is ready on; a moment that does not come is not waited for any longer


class Moment(StrEnum):
    """When a kill comes. What is waited for is seen in the trees; a little later, by chance, the kill follows."""

    STARTING = "while the daemon starts, and mends"
    ANY = "whatever it does"
    WORKING = "a part is being written"
    LETTING_GO = "a source stands aside"
    REMOVING = "archives stand aside, to be removed"


class Aim(StrEnum):
    """Whom a kill hits."""

    DAEMON = "the daemon alone: its ffmpeg is left"
    ALL = "all at once, as when a service manager's patience is over"


class Struck:
    """Kills daemons by chance; the same chance gives the same moments."""

    def __init__(self, rig: Rig, chance: random.Random) -> None:
        self._rig = rig
        self._chance = chance
        self.told: list[str] = []

    def strike(self, daemon: Serving) -> None:
        """Wait for a moment of a daemon that has just been started, and kill it."""
        moment, aim = self._chance.choice(list(Moment)), self._chance.choice(list(Aim))
        share = self._chance.random()
        came = self._wait(daemon, moment, share)
        assert daemon.process.poll() is None, f"it ended by itself: {daemon.log[-3000:]}"
        _kill(daemon.process.pid, aim)
        daemon.process.wait(20)
        self.told.append(f"{moment.name.lower()}{'' if came else ' (did not come)'}, {aim.name.lower()}")

    def _wait(self, daemon: Serving, moment: Moment, share: float) -> bool:
        day, old = (self._rig.camera / self._rig.path()).parent, self._rig.archive / day_of_old()
        archives = self._rig.archive / self._rig.path().parent
        match moment:
            case Moment.STARTING:
                began = f"starts as process {daemon.process.pid}:"
                return _comes(daemon, lambda: began in daemon.log[-5000:], share * 0.8)
            case Moment.ANY:
                daemon.tells("READY=1")
                _pause(share * 2.5)
                return True
            case Moment.WORKING:
                return _comes(daemon, lambda: _has(archives, ".part"), share * 0.9)
            case Moment.LETTING_GO:
                return _comes(daemon, lambda: _has(day, ".gone"), share * 0.02)
            case Moment.REMOVING:
                return _comes(daemon, lambda: _has(old, ".gone") or _has(archives, ".gone"), share * 0.02)


def _comes(daemon: Serving, condition: Callable[[], bool], then_s: float) -> bool:
    until = math.inf
    while not (came := condition()) and time.monotonic() < until and daemon.process.poll() is None:
        _pause(_LOOK_S)
        if until == math.inf and "READY=1" in daemon.messages:
            until = time.monotonic() + _LONGEST_S
    _pause(then_s)
    return came


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _has(directory: Path, end: str) -> bool:
    try:
        return any(name.startswith(".archiverd-") and name.endswith(end) for name in os.listdir(directory))
    except OSError:  # it is not there yet, or not any more
        return False


def _kill(pid: int, aim: Aim) -> None:
    below: list[int] = []
    if aim is Aim.ALL:
        os.kill(pid, signal.SIGSTOP)  # so that it sees none of them end
        below = _below(pid)
    for each in (pid, *below):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    """All descendants of a process."""
    parents: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(process.name))
    found, unread = [], [pid]
    while unread:
        theirs = parents.get(unread.pop(), [])
        found += theirs
        unread += theirs
    return found


def at_work(rig: Rig) -> list[str]:
    """The daemon's programs that are alive; an FTP server, which has the same search path, is none of them."""
    return [line for line in children(rig) if "ffmpeg" in line or "ffprobe" in line]


# ---- archives that are old


class Old:
    """Archives of a camera that uploads no more. Its ceiling is lowered before each start, so that some have to go."""

    def __init__(self, rig: Rig, count: int) -> None:
        self._rig = rig
        self.contents: dict[PurePosixPath, str] = {}  # the oldest first
        self.ceiling = count * _SIZE
        self._enter(count)

    def _enter(self, count: int) -> None:
        """Archive so many, as a run of long ago did, but for the footage."""
        house = House(self._rig.base)
        house.now = time.time()
        begin = datetime.combine(_day(), datetime.min.time())
        with house.open():
            house.catalog._connection.execute("PRAGMA journal_mode = MEMORY")
            for number in range(count):
                taken_at = begin + timedelta(seconds=60 * number)
                house.content = functools.partial(_clip, number)
                self._archive(house, taken_at, hashlib.sha256(_clip(number, _SIZE)).hexdigest())

    def _archive(self, house: House, taken_at: datetime, sha256: str) -> None:
        path = PurePosixPath(f"{taken_at:%Y/%m/%d}/{CAMERA}_{taken_at:%Y%m%d%H%M%S}.mp4")
        source = house.file(Tree.SOURCE, path, _SIZE, taken_at)
        archive = house.file(Tree.ARCHIVE, path, _SIZE, taken_at)
        at = taken_at.timestamp()
        row = house.catalog.claim(
            house.catalog.offer(FoundRecording(source), at, reason="new"), os.urandom(6).hex(), at
        )
        told = replace(
            receipt(kind=ArchiveKind.VERBATIM, rung=""), source=source.fingerprint, source_sha256=sha256,
            archive=archive.fingerprint, archive_sha256=sha256, frames=_FRAMES,
        )  # fmt: skip
        row = house.catalog.publishing(row, path, sha256, _SIZE, told, at)
        row = house.catalog.archived(row, told, "archived", at)
        (self._rig.camera / path).unlink()
        house.catalog.done(row, None, "let go of", at)
        self.contents[path] = sha256

    def lower(self, by: int) -> str:
        """The rule by which so many more have to go."""
        self.ceiling -= by * _SIZE
        return f'[[retention]]\ncameras = ["{CAMERA}"]\nmax_size = "{self.ceiling // 1000}KB"\n'

    def assert_the_oldest_went(self, gone: set[str]) -> None:
        """So many as the rule says, and not one more."""
        left, low = len(self.contents) * _SIZE, 0.99 * self.ceiling
        expected = set()
        for sha256 in self.contents.values():
            if left <= low:
                break
            expected.add(sha256)
            left -= _SIZE
        assert gone == expected


def _clip(number: int, size: int) -> bytes:
    """One of its own number, which stands in the box at its end."""
    return clip_of(size)[:-8] + number.to_bytes(8, "big")


def _day() -> datetime:
    return datetime.now() - timedelta(days=40)


def day_of_old() -> str:
    """The directory of their day."""
    return f"{_day():%Y/%m/%d}"


# ---- what is left


def retired(rig: Rig) -> Places:
    """The archives that lie in the trash, by the content of their source."""
    found: Places = {}
    folder = rig.trash / RETIRED
    for path in folder.rglob("*.mp4"):
        sha256 = sha256_of(path) if path.name.startswith(CAMERA) else probed(path)[1]
        found.setdefault(sha256, set()).add(PurePosixPath(path.relative_to(folder)))
    return found


def removed(rig: Rig) -> list[str]:
    """The contents of which the catalog says that their archive was removed by the rules."""
    rows = [row for row in rig.rows() if row.state is State.REMOVED]
    return [row.receipt.source_sha256 for row in rows if row.receipt is not None]


def deaths(rig: Rig) -> Iterator[tuple[int, State]]:
    """What was noted of each death: of which recording, and what became of it."""
    with contextlib.closing(sqlite3.connect(rig.state / FILE_NAME)) as catalog:
        rows = catalog.execute(
            "SELECT recording, state FROM history WHERE reason LIKE 'the process died%' ORDER BY id"
        ).fetchall()
    yield from ((int(recording), State(state)) for recording, state in rows)
