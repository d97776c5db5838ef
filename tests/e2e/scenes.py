"""What archiverd does in the tests of single errors: a recording, a cleanup, a restore."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

from archiverd.cli import run_command_line
from archiverd.policy.model import Recording, State, Tree
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.erring import CHANGES, LOOKS, Call, erring, injected, listed, listening
from tests.e2e.forking import Forks
from tests.e2e.invariants import contents, traces
from tests.e2e.rig import START, Rig, content
from tests.holdings import House, clip_of

_OURS = (FILE_NAME, f"{FILE_NAME}-journal", "reserve", "")


class Scene(ABC):
    """One command of archiverd's over trees that are made anew for each run."""

    forks: Forks
    base: Path
    camera: Path
    state: Path
    config: Path
    arguments: tuple[str, ...]
    dates: PurePosixPath  # the directories of the day
    names: tuple[str, ...]  # of the files it is about

    @abstractmethod
    def make(self) -> None:
        """Make the trees anew."""

    @abstractmethod
    def run(self) -> int:
        """The same without an error; the exit code."""

    @abstractmethod
    def assert_kept(self) -> None:
        """Nothing is lost, whatever has happened."""

    @abstractmethod
    def assert_done(self) -> None:
        """All is done, once, and nothing is left over."""


def roots(scene: Scene) -> dict[Tree, Path]:
    camera = scene.camera
    return {Tree.SOURCE: camera, Tree.ARCHIVE: camera / "archived", Tree.TRASH: camera / ".deleted"}


def paths(scene: Scene) -> list[Path]:
    """All that archiverd looks at on its way: files, and the directories that files of any name are made in."""
    retired = PurePosixPath("archived") / scene.dates
    found = [scene.config, scene.camera / "archiver.log", *(scene.state / name for name in _OURS)]
    for tree, root in roots(scene).items():
        found += [root, root / ".archiverd-root"]
        for day in (scene.dates, retired) if tree is Tree.TRASH else (scene.dates,):
            found += [root / day, *(root / above for above in day.parents if above.parts)]
            found += [root / day / name for name in scene.names]
    return found


def every_call(scene: Scene) -> list[Call]:
    """The calls of a run to its end; those to its own standard output are left out."""
    calls = []
    for names in (CHANGES, (*LOOKS, "unlink")):
        scene.make()
        about = paths(scene) if names is not CHANGES else ()
        code = _run(scene, listening(scene.base / "record", names, about))
        assert code == 0, (scene.base / "output").read_text()
        found = listed(scene.base / "record", scene.base, scene.state / f"{FILE_NAME}-journal")
        calls += [call for call in found if names is CHANGES or call.is_look]
    return [call for call in calls if "ROOT/output" not in call.what]


class Met:
    """A run that met an error, and what was to be seen after it."""

    def __init__(self, scene: Scene, call: Call, error: str, *, lasting: bool = False) -> None:
        scene.make()
        self.code = _run(scene, erring(scene.base / "record", call, error, paths(scene), lasting=lasting))
        at = injected(scene.base / "record", scene.base)
        assert at[:1] == [call.what], f"struck at {at}"
        log = scene.camera / "archiver.log"
        told = (scene.base / "output").read_text() + (log.read_text() if log.exists() else "")
        self.told = told.replace(str(scene.base), "ROOT")
        self.rows = rows(scene)


def _run(scene: Scene, strace: Sequence[str]) -> int:
    output = scene.base / "output"
    output.unlink(missing_ok=True)
    return scene.forks.run(strace, scene.arguments, output, {"PATH": os.environ["PATH"]})


def rows(scene: Scene) -> list[Recording]:
    with Catalog.to_read(scene.state / FILE_NAME) as catalog:
        return catalog.recordings()


def quietly(*arguments: str | Path) -> tuple[int, str]:
    """A command line in this process: its exit code, and what it told."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        return run_command_line([str(argument) for argument in arguments]), told.getvalue()


def assert_proven(scene: Scene, level: str = "--full") -> None:
    """`check` finds nothing wrong, and nothing of archiverd's is left over but what belongs there."""
    code, told = quietly("check", scene.camera, "--config", scene.config, *([level] if level else []))
    assert code == 0, told
    left = {path.name for path in scene.state.iterdir()} - {FILE_NAME, "reserve"}
    assert not left, left


@functools.cache
def strange() -> bytes:
    """A clip whose sound nobody can decode: its own bytes become its archive, copied by archiverd itself."""
    return content("a", "aac").read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz")


class OneRecording(Scene):
    """A clip with a snapshot is archived; by a copy of its bytes, or by ffmpeg."""

    def __init__(self, base: Path, forks: Forks, clip: bytes | None = None) -> None:
        self.forks = forks
        self.base = base
        self.rig = rig = Rig(base)
        self.camera, self.state, self.config = rig.camera, rig.state, rig.config_file
        self.arguments = ("run", *rig.options, "--no-confirm", "--quiet")
        self.dates = rig.path().parent
        self.names = (rig.path().name, rig.path().with_suffix(".jpg").name)
        self._clip = content("a").read_bytes() if clip is None else clip
        self._begin()

    def _begin(self) -> None:
        """The beginning of each run: roots that are marked, and a catalog that knows no recording."""
        self._upload()
        assert _run(self, listening(self.base / "record", ("fsync",))) == 0, (self.base / "output").read_text()
        with closing(sqlite3.connect(self.state / FILE_NAME)) as catalog:
            for table in ("snapshot", "history", "receipt", "trash", "recording"):
                catalog.execute(f"DELETE FROM {table}")  # noqa: S608  (the names are ours)
            catalog.commit()
        for root in (self.rig.archive, self.rig.trash):
            shutil.rmtree(root / self.dates.parts[0])
        (self.camera / "archiver.log").unlink()
        (self.state / "reserve").unlink()  # with it the first commits that fail on a full disk are made after all
        shutil.copytree(self.camera, self.base / "beginning", symlinks=True)

    def _upload(self) -> None:
        rig = self.rig
        rig.uploads.clear()
        upload = rig.upload_bytes(self._clip, rig.path())
        os.utime(self.camera / upload.path, (START.timestamp(), START.timestamp()))
        rig._upload_snapshot("a", upload.path, 0)
        two_hours_ago = time.time() - 7200
        os.utime(self.camera / upload.path.with_suffix(".jpg"), (two_hours_ago, two_hours_ago))

    def make(self) -> None:
        shutil.rmtree(self.camera)
        shutil.copytree(self.base / "beginning", self.camera, symlinks=True)
        self._upload()

    def run(self) -> int:
        return quietly(*self.arguments)[0]

    def assert_kept(self) -> None:
        (upload,), (picture,) = self.rig.uploads, self.rig.snapshots.values()
        standing = self._standing()
        stands = {tree for tree in Tree if upload.sha256 in standing[tree]}
        assert Tree.SOURCE in stands or (Tree.TRASH in stands and list(self.rig.archive.rglob("*.mp4")))
        assert any(picture in standing[tree] for tree in (Tree.SOURCE, Tree.TRASH))

    def assert_done(self) -> None:
        (upload,), (picture,) = self.rig.uploads, self.rig.snapshots.values()
        standing = self._standing()
        assert not standing[Tree.SOURCE]
        assert {sha256: len(places) for sha256, places in standing[Tree.TRASH].items()} == {
            upload.sha256: 1, picture: 1,
        }  # fmt: skip
        assert [path.name for path in self.rig.archive.rglob("*.*4")] == [upload.path.name]
        assert not traces(self.rig)
        (row,) = rows(self)
        assert (row.state, row.attempts, row.crashes) == (State.DONE, 0, 0)
        assert_proven(self)

    def _standing(self) -> dict[Tree, dict[str, set[PurePosixPath]]]:
        return {tree: contents(self.rig, root) for tree, root in roots(self).items()}


class Restore(OneRecording):
    """A clip is archived, and is brought back from the trash with its snapshot."""

    def _begin(self) -> None:
        super()._begin()
        shutil.rmtree(self.base / "beginning")
        self.make_recording()
        shutil.copytree(self.camera, self.base / "beginning", symlinks=True)
        self.arguments = (
            "trash", "restore", str(self.rig.trash / self.rig.path()), "--config", str(self.config),
            "--directory", str(self.camera), "--quiet",
        )  # fmt: skip

    def make_recording(self) -> None:
        self._upload()
        assert self.run() == 0

    def make(self) -> None:
        shutil.rmtree(self.camera)
        shutil.copytree(self.base / "beginning", self.camera, symlinks=True)

    def run(self) -> int:
        """What is back already is not there to be brought."""
        of_snapshot = tuple(word.replace(".mp4", ".jpg") for word in self.arguments)
        answers = [quietly(*arguments) for arguments in (self.arguments, of_snapshot)]
        return 0 if all(code == 0 or "no recording lies there" in told for code, told in answers) else 1

    def assert_kept(self) -> None:
        (upload,), (picture,) = self.rig.uploads, self.rig.snapshots.values()
        standing = self._standing()
        for sha256 in (upload.sha256, picture):
            assert sha256 in standing[Tree.SOURCE] or sha256 in standing[Tree.TRASH]

    def assert_done(self) -> None:
        (upload,), (picture,) = self.rig.uploads, self.rig.snapshots.values()
        standing = self._standing()
        assert standing[Tree.SOURCE] == {
            upload.sha256: {upload.path}, picture: {upload.path.with_suffix(".jpg")},
        }  # fmt: skip
        assert not standing[Tree.TRASH]
        assert (self.camera / upload.path).with_suffix(".keep").exists()
        assert not traces(self.rig)
        (row,) = rows(self)
        assert (row.attempts, row.crashes) == (0, 0)
        assert_proven(self)


class Cleanup(Scene):
    """Old archives go to the trash, and what has lain there for long goes for good."""

    def __init__(self, base: Path, forks: Forks) -> None:
        self.forks = forks
        self.base = base
        self.camera = base / "camera"
        self.state = self.camera / ".archiverd"
        self.config = base / "archiverd.toml"
        self.config.write_text('min_free = "none"\nclean_output = true\n')
        self.arguments = (
            "cleanup", str(self.camera), "--no-confirm", "--confirm-held", "--config", str(self.config), "--quiet",
        )  # fmt: skip
        self.now = START.timestamp()  # the names are those of every run
        self.make()
        self.dates = self.old[0].path.parent
        self.names = ()

    def make(self) -> None:
        shutil.rmtree(self.camera, ignore_errors=True)
        house = House(self.base)
        house.now, house.content = self.now, clip_of
        with house.open():
            self.stays = house.archived("back", 0.1, 16_384)
            self.old = [house.archived("front", 50 + number / 1000, 16_384) for number in range(2)]
            self.trashed = [
                house.archived("front", 80 + number / 1000, 16_384, trashed_days_ago=60) for number in range(2)
            ]
        (self.state / "reserve").unlink()

    def run(self) -> int:
        return quietly(*self.arguments)[0]

    def _places(self, row: Recording) -> list[Tree]:
        assert row.archive is not None
        trees = roots(self)
        stands = (trees[Tree.ARCHIVE] / row.archive).exists()
        lies = (trees[Tree.TRASH] / "archived" / row.archive).exists()
        return [*([Tree.ARCHIVE] if stands else []), *([Tree.TRASH] if lies else [])]

    def assert_kept(self) -> None:
        assert self._places(self.stays) == [Tree.ARCHIVE]
        aside = {path.name for root in roots(self).values() for path in root.rglob(".archiverd-*.gone/*")}
        for row in (*self.old, *self.trashed):
            assert row.archive is not None
            assert self._places(row) in ([Tree.ARCHIVE], [Tree.TRASH]) or row.archive.name in aside, row.archive

    def assert_done(self) -> None:
        assert self._places(self.stays) == [Tree.ARCHIVE]
        assert [self._places(row) for row in (*self.old, *self.trashed)] == [[Tree.TRASH]] * 4
        trees = roots(self)
        assert len(list(trees[Tree.TRASH].rglob("*.mp4"))) == 4, "what had lain there for long is not gone"
        assert len(list(trees[Tree.ARCHIVE].rglob("*.mp4"))) == 1
        assert not [*self.camera.rglob(".archiverd-*.gone"), *self.camera.rglob(".archiverd-*.part")]
        assert {(row.attempts, row.crashes) for row in rows(self)} == {(0, 0)}
        assert not [row for row in rows(self) if row.job and row.id != self.stays.id], "still claimed"
        assert_proven(self, "")  # their receipts tell of no content
