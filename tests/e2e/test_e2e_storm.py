"""A storm: cameras upload, a cleanup removes, and the daemon is killed at random moments, again and again.

Each clip is archived once for all that, each archive stands or went by the rules, and nobody is blamed for the kills.
The seed is printed, and can be given as ARCHIVERD_TEST_SEED; ARCHIVERD_KILLS says how many kills there are in all.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePosixPath

import pytest

from archiverd.errors import ArchiverError
from archiverd.policy.model import State
from archiverd.policy.recovery import CRASH_LIMIT
from tests.e2e import ftp_server
from tests.e2e.invariants import assert_archives_sound, assert_no_traces, contents
from tests.e2e.rig import Rig
from tests.e2e.serving import Serving, begun, serving
from tests.e2e.storm import Old, Struck, at_work, deaths, removed, retired
from tests.e2e.uploading import Cameras, Gate, Way
from tests.program import archiverd
from tests.screen import until

SEED = int(os.environ.get("ARCHIVERD_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
KILLS = int(os.environ.get("ARCHIVERD_KILLS", "8"))  # half of them in each way
CAMERAS = ("front", "Garden Gate_01", "yard")
MOST_AT_A_TIME = 8  # clips that stand among the sources
OLD_GO = 10  # archives, with each start
PATIENCE_S = 600 + 30 * KILLS  # of the whole: a busy machine takes its time
CONFIG = """
settle = "3 seconds"
settle_closed = "0.5 seconds"
quarantine_after = "8 seconds"
codec = "h264"
preset = "ultrafast"
hardware = "software"
nice = 0
idle_io = false
min_free = "none"
max_removal = 100
delete = {delete}
"""
NEW_ONES = '[[retention]]\ncameras = ["front"]\nmax_size = "100KB"\n'  # three clips
SLOWLY = """
if transcoding:
    time.sleep(os.getpid() % 5 * 0.15)
"""


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("way", ["to the trash", "deleting"])
def test_storm_of_kills_loses_nothing_makes_nothing_twice_and_blames_nobody(rig: Rig, way: str) -> None:
    print(f"ARCHIVERD_TEST_SEED={SEED}")
    chance, deleting = random.Random(f"{SEED} {way}"), way == "deleting"
    kills = KILLS // 2
    rig.config_file.write_text(CONFIG.format(delete=str(deleting).lower()))
    old = Old(rig, OLD_GO * (kills + 2))
    struck = Struck(rig, chance)
    with (
        ftp_server.serving("pyftpdlib", rig.camera, rig.base) as port,
        uploading(rig, Cameras(rig, port, Gate(rig, SLOWLY, patience_s=PATIENCE_S)), chance) as upload,
    ):
        for _ in range(kills):
            upload()
            set_rules(rig, old, deleting=deleting)
            with begun(rig, settings="") as daemon:
                struck.strike(daemon)
            if chance.random() < 0.7:  # else the next one meets what is just about to end
                until(lambda: not at_work(rig))
        print(*struck.told, sep="\n")
        set_rules(rig, old, deleting=deleting)
        with serving(rig, settings="") as daemon:
            upload.all_done()
            settle(rig, upload.cameras, daemon)
            assert daemon.stop() == 0
    assert_no_traces(rig)
    assert_each_is_archived_once(rig, upload.cameras, old, deleting=deleting)
    checked = archiverd("check", "--full", rig.camera, config=rig.config_file)
    assert checked.code == 0, checked.out
    assert_nobody_is_blamed_for_what_hit_others_too(rig)


class Uploading:
    """Lets the cameras upload a few clips now and then, in all the ways there are."""

    def __init__(self, rig: Rig, cameras: Cameras, chance: random.Random, pool: ThreadPoolExecutor) -> None:
        self._rig = rig
        self.cameras = cameras
        self._chance = chance
        self._pool = pool
        self._running: list[Future[None]] = []
        self._minute = 0

    def __call__(self) -> None:
        """Begin some uploads, unless many are waited for."""
        for upload in self._running:
            if upload.done():
                upload.result()
        self._running = [upload for upload in self._running if not upload.done()]
        standing = sum(1 for _ in (self._rig.camera / self._rig.path()).parent.glob("REO_*.mp4"))
        room = MOST_AT_A_TIME - max(0, standing - len(self.cameras.partial)) - len(self._running)
        for _ in range(min(room, self._chance.randint(1, 3))):
            self._minute += 1
            path = self._rig.path(self._minute, self._chance.choice(CAMERAS))
            way = self._chance.choice(list(Way))
            self._running.append(self._pool.submit(self.cameras.upload, way, path))

    def all_done(self) -> None:
        for upload in self._running:
            upload.result()


@contextmanager
def uploading(rig: Rig, cameras: Cameras, chance: random.Random) -> Iterator[Uploading]:
    with ThreadPoolExecutor(MOST_AT_A_TIME, "camera") as pool:
        yield Uploading(rig, cameras, chance, pool)


def set_rules(rig: Rig, old: Old, *, deleting: bool) -> None:
    rig.config_file.write_text(CONFIG.format(delete=str(deleting).lower()) + NEW_ONES + old.lower(OLD_GO))


def settle(rig: Rig, cameras: Cameras, daemon: Serving) -> None:
    """Wait until what came whole is archived and gone. What waits long, for it died often, is tried now, as asked."""

    def settled() -> bool:
        assert daemon.process.poll() is None, daemon.log[-3000:]
        try:
            rows = rig.rows()
        except ArchiverError:  # a commit is going on
            return False
        for row in rows:
            put_off = row.state is State.WAITING and row.not_before > time.time() + 60
            if row.crashes >= CRASH_LIMIT - 1 and (put_off or row.state is State.QUARANTINED):
                asked = archiverd("retry", rig.camera / row.path, "--directory", rig.camera, config=rig.config_file)
                assert asked.code == 0, asked.err
        standing = {path for path in (rig.camera / rig.path()).parent.glob("REO_*.mp4") if not path.is_symlink()}
        quarantined = {row.path for row in rows if row.state is State.QUARANTINED}
        return standing == {rig.camera / path for path in cameras.partial} and quarantined == cameras.partial.keys()

    until(settled, PATIENCE_S)


def assert_each_is_archived_once(rig: Rig, cameras: Cameras, old: Old, *, deleting: bool) -> None:
    """Of each content one archive stands, or went by the rules; its source lies in the trash once, or was deleted."""
    standing, sources, in_trash = assert_archives_sound(rig), contents(rig, rig.camera), contents(rig, rig.trash)
    went, gone = retired(rig), removed(rig)
    assert deleting or sorted(gone) == sorted(sha256 for sha256, places in went.items() for _ in places)
    assert not (deleting and went)
    whole = [upload.sha256 for upload in rig.uploads if upload.sha256 not in cameras.overwritten]
    for sha256 in (*whole, *old.contents.values()):
        made = (len(standing.get(sha256, ())), gone.count(sha256))
        assert sum(made) == 1, f"{named(rig, sha256)}: standing and removed are {made}"
    assert {*standing, *gone} <= {*whole, *cameras.overwritten, *old.contents.values()}
    for sha256 in whole:
        lies = {path for path in in_trash.get(sha256, set()) if path.parts[0] != "archived"}
        assert len(lies) == (0 if deleting else 1), f"{named(rig, sha256)}: its source lies at {lies}"
    partial = dict(cameras.partial)
    assert {path for places in sources.values() for path in places if path.suffix == ".mp4"} == partial.keys()
    for path, sha256 in partial.items():
        assert path in sources[sha256]
    for path, sha256 in rig.snapshots.items():
        places = len(sources.get(sha256, ())) + len(in_trash.get(sha256, ()))
        assert places == 1 or (deleting and not places and path.with_suffix(".mp4") not in partial), path
    old.assert_the_oldest_went({*gone} & {*old.contents.values()})
    rig.assert_bystanders_untouched()


def assert_nobody_is_blamed_for_what_hit_others_too(rig: Rig) -> None:
    """A kill may by chance hit the same clip five times, and none between: that is quarantined, and was asked for."""
    told = list(deaths(rig))
    for at, (recording, state) in enumerate(told):
        if state is State.QUARANTINED:
            assert {one for one, _ in told[max(0, at + 1 - CRASH_LIMIT) : at + 1]} == {recording}, told


def named(rig: Rig, sha256: str) -> PurePosixPath | str:
    return next((upload.path for upload in rig.uploads if upload.sha256 == sha256), sha256)
