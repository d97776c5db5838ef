"""Every call to the kernel that a recording, a cleanup and a restore make of their files, answered with an error.

What follows is said in a table: a fault of the machine ends the work, is told with the place it is at, and is counted
against no clip; one that can't be read is its own fault. When the fault is gone, all is done, once. By default each
kind of call gets each of its errors once; with ARCHIVERD_EVERY_POINT=1 every single call does.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from archiverd.policy.model import State
from tests.e2e.erring import Call
from tests.e2e.forking import Forks
from tests.e2e.invariants import assert_all_archived
from tests.e2e.rig import Rig
from tests.e2e.scenes import Cleanup, Met, OneRecording, Restore, Scene, every_call, strange

_EVERY = os.environ.get("ARCHIVERD_EVERY_POINT") == "1"


class Follows(StrEnum):
    """What follows on an error."""

    NOTHING = "nothing: it goes on"
    PAUSED = "the machine is at fault: the work ends, and no clip is charged"
    REFUSED = "this file waits for a right, or keeps its place: no clip is charged"
    STAYS = "it is archived, and its source stays till it can be read: no clip is charged"
    WAITS = "it waits, or all work does, till that can be read: no clip is charged"
    CHARGED = "it is the clip's own fault: one attempt"
    CONFIG = "the configuration can't be read: nothing is begun"
    LATER = "what can't be looked at, or cleared away, is told, and left to the next run"
    EITHER = "it is told, and the next run goes on, whether this one did or not"
    TOLD = "it is told, and what was not done is to be asked for again"


_CODES = {
    Follows.NOTHING: (0,), Follows.PAUSED: (69,), Follows.REFUSED: (1,), Follows.STAYS: (1, 69), Follows.WAITS: (1, 69),
    Follows.CHARGED: (1,),
    Follows.CONFIG: (78,), Follows.LATER: (0,), Follows.TOLD: (1, 69), Follows.EITHER: (0, 1, 69),
}  # fmt: skip

# The errors that are given. Of the machine: EIO, a disk that is full or read-only, no more handles. EXDEV, EPERM and
# EACCES are of one place, and EINTR is for whoever asked to ask again.
_WRITES = ("EIO", "ENOSPC", "EINTR")
_NAMES = ("EIO", "ENOSPC", "EROFS", "EACCES")
_MODES = ("EIO", "EROFS", "EPERM")
_GOES = ("EIO", "EROFS", "EACCES")
_READS = ("EIO", "EINTR")
ERRORS = {
    "pwrite64": _WRITES, "write": _WRITES, "ftruncate": _WRITES, "fallocate": _WRITES, "fsync": _WRITES,
    "fdatasync": _WRITES, "mkdir": _NAMES, "mkdirat": _NAMES, "link": (*_NAMES, "EXDEV"), "linkat": (*_NAMES, "EXDEV"),
    "renameat2": (*_NAMES, "EXDEV"), "unlink": _GOES, "unlinkat": _GOES, "rmdir": _GOES, "fchmod": _MODES,
    "fchown": _MODES, "utimensat": _MODES, "openat": ("EIO", "EACCES", "EMFILE", "EINTR"), "pread64": _READS,
    "read": _READS, "getdents64": _READS, "newfstatat": ("EIO", "EACCES"), "flock": _READS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """What follows on some errors at some calls: regular expressions of the name, the error, and a part of `what`."""

    follows: Follows
    names: str = ".*"
    what: str = ""
    errors: str = ".*"
    to_come: tuple[int, ...] = ()  # commits; none: any
    after: str = ".*"
    number: int = 0

    def fits(self, call: Call, error: str) -> bool:
        return (
            re.fullmatch(self.names, call.name) is not None
            and re.search(self.what, call.what) is not None
            and re.fullmatch(self.errors, error) is not None
            and (not self.to_come or call.to_come in self.to_come)
            and re.fullmatch(self.after, call.after) is not None
            and self.number in (0, call.number)
        )


# -- the tables: the first row that fits -------------------------------------------------------------------

_STARTING = tuple(range(5, 100))  # till the recording is claimed: claimed, published, archived, snapshot gone, done
_MAKING = (4,)
_SOURCE = r"^<ROOT/camera(?:/\d[^>]*)?>|^AT_FDCWD</>, \"ROOT/camera\""

_BEGINNING = (
    Row(Follows.CONFIG, "openat|read", r"archiverd\.toml", "EIO|EACCES|EMFILE"),
    Row(Follows.NOTHING, what=r"archiverd\.toml|archiver\.log|/reserve"),
    # How a path is to be written, by Python and SQLite: some ask on, some end there, and who opens it then is told.
    Row(Follows.EITHER, "newfstatat", r'^AT_FDCWD</>, "ROOT/camera(?:/archived|/\.deleted|/\.archiverd)?"'),
    Row(Follows.EITHER, "newfstatat", r"^<ROOT/camera(?:/archived|/\.deleted)?>, …"),  # once it is open
)

_SQLITE = (
    # SQLite gives the journal to the owner of the file, and syncs its directory, where that goes.
    Row(Follows.NOTHING, "fchown", r"catalog\.sqlite"),
    Row(Follows.NOTHING, "openat", r'"ROOT/camera/\.archiverd", O_RDONLY\|O_CLOEXEC$'),
    Row(Follows.NOTHING, "fdatasync", r"camera/\.archiverd>", after="(?!unlink).*"),
    # A journal that it can't look at counts for none; one that it reads to see whether it is hot may end it. It asks
    # again for a write, and not for a sync.
    Row(Follows.NOTHING, "newfstatat", r"catalog\.sqlite-journal"),
    Row(Follows.EITHER, "pread64", r"catalog\.sqlite-journal"),
    # Of a page that could not be read SQLite says that the file is malformed. At a start it is so twice, or not.
    Row(Follows.EITHER, "newfstatat|pread64", r"catalog\.sqlite[>\"]", "EIO|EACCES"),
    Row(Follows.NOTHING, "(?!fdatasync).*", r"catalog\.sqlite|/\.archiverd[>\"]", "EINTR"),
)

RECORDING = (
    *_BEGINNING,
    *_SQLITE,
    Row(Follows.NOTHING, "unlink|fdatasync", r"\.archiverd[>/]", number=1),  # a commit on trial, undone
    Row(Follows.PAUSED, what=r"catalog\.sqlite|/\.archiverd[>\"]"),
    # Python does not ask again. Of a root the marks are looked for, which ends it; then files, which does not.
    Row(Follows.EITHER, "getdents64", errors="EINTR"),
    Row(Follows.EITHER, "getdents64", r"^<ROOT/camera(?:/archived|/\.deleted)?>", to_come=_STARTING),
    Row(Follows.NOTHING, errors="EINTR"),
    Row(
        Follows.LATER, "openat|getdents64|newfstatat",
        r'^<ROOT/camera/\d[^>]*>|^<ROOT/camera>, "\d+"', to_come=_STARTING,
    ),
    Row(Follows.PAUSED, to_come=_STARTING),
    Row(Follows.PAUSED, what=r"\.archiverd-root"),
    Row(
        Follows.CHARGED, "openat|pread64|newfstatat", r'^<ROOT/camera/\d[^>]*(?:>, "REO[^"]*\.mp4"|\.mp4>)', "EIO",
        to_come=_MAKING,
    ),
    Row(Follows.REFUSED, "openat|pread64|newfstatat|getdents64", _SOURCE, "EIO", to_come=_MAKING),
    Row(Follows.STAYS, "openat|pread64|newfstatat|getdents64", _SOURCE, "EIO"),
    Row(Follows.WAITS, "openat|pread64|newfstatat|getdents64", r"/(?:archived|\.deleted)[/>\"]", "EIO"),
    Row(Follows.REFUSED, errors="EACCES|EPERM"),
    Row(Follows.NOTHING, "renameat2", r"/\.deleted", "EXDEV"),  # it is copied
    Row(Follows.REFUSED, "renameat2", _SOURCE, "EXDEV"),
    Row(Follows.PAUSED),
)  # fmt: skip

CLEANUP = (
    *_BEGINNING,
    *_SQLITE,
    Row(Follows.NOTHING, "unlink|fdatasync", r"\.archiverd[>/]", number=1),  # as above
    Row(Follows.PAUSED, what=r"catalog\.sqlite|/\.archiverd[>\"]"),
    Row(Follows.EITHER, "getdents64", errors="EINTR"),
    Row(Follows.NOTHING, errors="EINTR"),
    Row(Follows.PAUSED, what=r"\.archiverd-root"),
    Row(Follows.EITHER, "openat|getdents64|newfstatat"),
    Row(Follows.PAUSED, "renameat2", r"\.gone>, .*/\.deleted/", "ENOSPC"),
    Row(Follows.NOTHING, "mkdirat|renameat2", r"\.gone", "ENOSPC"),  # it goes from where it stands
    Row(Follows.LATER, "unlinkat", r"\.gone\", AT_REMOVEDIR"),
    Row(Follows.LATER, "unlinkat", "AT_REMOVEDIR", "EACCES"),
    Row(Follows.NOTHING, "renameat2", r"\.gone>, .*/\.deleted/", "EXDEV"),  # it is copied
    Row(Follows.REFUSED, "renameat2", errors="EXDEV"),
    Row(Follows.REFUSED, errors="EACCES|EPERM"),
    Row(Follows.PAUSED),
)  # fmt: skip

RESTORE = (
    *_BEGINNING,
    *_SQLITE,
    Row(Follows.TOLD, "fdatasync|getdents64", errors="EINTR"),  # neither SQLite nor Python asks again
    Row(Follows.NOTHING, errors="EINTR"),
    Row(Follows.NOTHING, errors="EXDEV"),  # it is copied
    Row(Follows.EITHER, "newfstatat", r'^AT_FDCWD</>, "ROOT/camera/\.deleted/'),  # how the path is to be written
    Row(Follows.TOLD),
)


def chosen(calls: list[Call]) -> list[tuple[Call, str]]:
    """The points of a run: each call with each of its errors, or each kind of call, once with each kind of error."""
    points, seen = [], set()
    for call in calls:
        for error in ERRORS[call.name]:
            kind = kind_of(call, error)
            if _EVERY or (kind not in seen and kind):
                points.append((call, error))
                seen.add(kind)
    return points


def kind_of(call: Call, error: str) -> tuple[object, ...]:
    """What points have in common of which one is chosen; nothing for those of which none is."""
    of_catalog = "catalog.sqlite" in call.what or "/.archiverd" in call.what
    if error == "EINTR":  # whoever is to ask again does so in one place
        return (call.name, error, of_catalog)
    starting = call.to_come > _MAKING[0]
    if call.name == "newfstatat" and error != "EIO":  # as openat
        return ()
    if call.name in ("fsync", "fdatasync") and error == "ENOSPC":  # as EIO
        return (call.name, error, of_catalog)
    if not of_catalog:
        return (error, *call.site, starting)
    commit = call.to_come if (call.name, error) == ("fdatasync", "EIO") and "sqlite>" in call.what else 0
    return (error, *call.site, call.after if call.name == "fdatasync" else "", commit)


# -- the runs ----------------------------------------------------------------------------------------------

Make = Callable[[Path, Forks], Scene]
_SCENES: dict[str, tuple[Make, tuple[Row, ...]]] = {
    "a recording, copied": (lambda base, forks: OneRecording(base, forks, strange()), RECORDING),
    "a recording, by ffmpeg": (OneRecording, RECORDING),
    "a cleanup": (Cleanup, CLEANUP),
    "a restore": (lambda base, forks: Restore(base, forks, strange()), RESTORE),
}
_THINNED = {"a recording, copied": 5, "a recording, by ffmpeg": 3, "a cleanup": 3}  # of what is chosen, one of so many
_SHARES = 4  # of each, for the tests to be spread over several processes


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Forks]:
    with Forks() as running:
        yield running


@pytest.fixture(scope="module", name="made")
def _made(running: Forks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scene]:
    return functools.cache(lambda what: _SCENES[what][0](tmp_path_factory.mktemp("scene"), running))


@pytest.fixture(name="scene_of")
def _scene_of(made: Callable[[str], Scene], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Scene]:
    def scene_of(what: str) -> Scene:
        scene = made(what)
        monkeypatch.setenv("PATH", f"{scene.base / 'programs'}:{os.environ['PATH']}")
        return scene

    return scene_of


@functools.cache
def _calls_of(scene: Scene) -> list[Call]:
    return every_call(scene)


@pytest.mark.usefixtures("replayed")
@pytest.mark.timeout(7200 if _EVERY else 300)
@pytest.mark.parametrize("share", range(_SHARES))
@pytest.mark.parametrize("what", _SCENES)
def test_an_error_at_any_call_loses_nothing_and_has_what_is_said_in_the_table_follow(
    scene_of: Callable[[str], Scene], what: str, share: int
) -> None:
    scene, table = scene_of(what), _SCENES[what][1]
    calls = _calls_of(scene)
    if (
        what == "a recording, by ffmpeg" and not _EVERY
    ):  # but for its part, and the name it gets, it is as the copied one
        calls = [call for call in calls if call.to_come in (3, 4) and "/archived" in call.what]
    points = (chosen(calls) if _EVERY else chosen(calls)[:: _THINNED.get(what, 1)])[share::_SHARES]
    wrong = 0
    for call, error in points:
        why = _meet(scene, table, call, error)
        wrong += bool(why)
        print(f"{error} at {call}: {why or 'as said'}", flush=True)
    assert not wrong, f"{wrong} of {len(points)} points of {what}"


def _meet(scene: Scene, table: tuple[Row, ...], call: Call, error: str) -> str:
    """What is not as it is said after an error; empty where all is."""
    follows = next((row.follows for row in table if row.fits(call, error)), None)
    if follows is None:
        return "the table says nothing of it"
    try:
        met = Met(scene, call, error)
        _see_told(met, follows)
        _see_charges(met, follows)
        scene.assert_kept()
        if met.code != 0 or follows in (Follows.LATER, Follows.EITHER):
            assert scene.run() == 0, "it does not go on"
        scene.assert_done()
    except AssertionError as failed:
        return f"not as said ({follows}): {failed}"
    return ""


def _see_told(met: Met, follows: Follows) -> None:
    assert met.code in _CODES[follows], f"it ended with {met.code}: {met.told[-500:]}"
    assert "Traceback" not in met.told
    assert "internal error" not in met.told
    if follows in (Follows.PAUSED, Follows.CONFIG):
        assert re.search(r"^archiverd: .*(ROOT/|memory)", met.told, re.MULTILINE), (
            f"no place is named: {met.told[-500:]}"
        )
        assert "is not a marker" not in met.told
    if met.code and follows not in (Follows.CONFIG, Follows.EITHER):
        assert re.search("ROOT/|the memory|can't be removed from the", met.told), (
            f"no place is named: {met.told[-500:]}"
        )


def _see_charges(met: Met, follows: Follows) -> None:
    charges = {(row.attempts, row.crashes) for row in met.rows}
    assert charges <= {(1, 0) if follows is Follows.CHARGED else (0, 0)}, f"charged: {met.rows}"
    assert State.QUARANTINED not in {row.state for row in met.rows}


@pytest.mark.usefixtures("replayed")
def test_a_catalog_of_which_one_page_could_not_be_read_once_is_not_taken_for_damaged(
    scene_of: Callable[[str], Scene],
) -> None:
    scene = scene_of("a recording, copied")
    first = max(call.to_come for call in _calls_of(scene))
    pages = [call for call in _calls_of(scene) if call.name == "pread64" and "catalog.sqlite>" in call.what]
    told = ""
    for call in [page for page in pages if page.to_come == first][::5]:
        met = Met(scene, call, "EIO")
        assert not list(scene.state.glob("*damaged*")), call
        told += met.told
    assert "the catalog is damaged" in told
    assert "not so when it was read again" in told


# -- what ffmpeg writes -------------------------------------------------------------------------------------

_STRUCK = """
if transcoding:
    part = os.readlink(target)
    os.execv("/usr/bin/env", ["env", "strace", "-qq", "-o", {record!r}, "-P", part, "-e", "trace=write",
                              "-e", "inject=write:error={error}:when={when}", {ffmpeg!r}, *arguments])
"""


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EROFS"])
@pytest.mark.parametrize("when", ["1", "2+"])
def test_no_clip_is_charged_for_what_ffmpeg_cannot_write(rig: Rig, error: str, when: str) -> None:
    """At the header of its output, and from the first frames on."""
    record = rig.base / "record"
    rig.fake_ffmpeg(_STRUCK.format(record=str(record), error=error, when=when, ffmpeg=rig.real_ffmpeg))
    upload = rig.upload("a")
    summary = rig.run_inside()
    assert "(INJECTED)" in record.read_text()
    assert (summary.exit_code, summary.outcomes) == (69, ())
    assert "ffmpeg was failed by the machine" in str(summary.stopped)
    assert (rig.row(upload).state, rig.row(upload).attempts) == (State.WAITING, 0)
    rig.fake_ffmpeg()
    assert rig.run_inside().exit_code == 0
    assert_all_archived(rig)
