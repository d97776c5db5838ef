"""archiverd killed at every single call that changes a disk, or brings something there: nothing is lost.

By default at every fourth kind of call for each thing it concerns, where it comes first; with ARCHIVERD_EVERY_POINT=1
at all of them. A death comes before its call, and so after the one before.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import Tree
from tests.e2e.forking import Forks
from tests.e2e.injecting import Call, Places, calls, listening, reachable, striking, struck
from tests.e2e.invariants import (
    assert_all_archived,
    assert_archives_sound,
    assert_checked,
    assert_no_traces,
    contents,
    probed,
)
from tests.e2e.rig import START, Rig, can_mount, sha256_of
from tests.e2e.test_e2e_killed_cleanup import Killed, trash_of
from tests.images import Kind, mounted
from tests.integrations.test_integrations_file_manager import file_system_besides
from tests.program import ARCHIVERD, environment, once, unmeasured

EVERY_POINT = os.environ.get("ARCHIVERD_EVERY_POINT") == "1"
SHARES = 16 if EVERY_POINT else 2  # one way to die is shared among that many tests
_FRAMES = 5  # of the clip


class Deed(Protocol):
    """Something archiverd does to its trees: how they stand before it, and what is to hold when it was cut short."""

    @property
    def places(self) -> Places: ...

    @property
    def arguments(self) -> tuple[str, ...]: ...

    @property
    def output(self) -> Path: ...

    @property
    def environment(self) -> dict[str, str]: ...

    def renew(self) -> None:
        """Have the trees stand as they did before."""

    def assert_nothing_lost(self) -> None:
        """Right after a death, before anybody mends anything."""

    def mend(self) -> None:
        """Start again, and see that all is done."""


# ---- what is done


class Recorded:
    """A clip and its snapshot are archived, and its source is let go of."""

    def __init__(self, rig: Rig, *options: str, known: bool = True) -> None:
        self.rig = rig
        self.output, self.environment = rig.output, path_of(rig)
        self.places = {"source": rig.camera, "archive": rig.archive, "trash": rig.trash, "state": rig.state}
        self.options = options
        self.arguments = ("run", "--no-confirm", "--quiet", *rig.options, *options)
        self._before = Copies(rig)
        if known:  # as of every start but the first: the roots are marked, and what ffmpeg can do is known
            assert rig.run_to_the_end() == 0
        self._before.take()

    @property
    def deleting(self) -> bool:
        return "--delete" in self.options

    def renew(self) -> None:
        self._before.put_back()
        self.rig.uploads.clear()
        self.rig.snapshots.clear()
        upload = self.rig.upload("a", snapshots=1)
        os.utime(self.rig.camera / upload.path, (START.timestamp(), START.timestamp()))

    def assert_nothing_lost(self) -> None:
        assert_whole_where_it_stands(self.rig, deleting=self.deleting)

    def mend(self) -> None:
        assert self.rig.run_to_the_end(*self.options) == 0
        assert_all_archived(self.rig, deleting=self.deleting)
        assert_checked(self.rig)


class Restored:
    """A source is taken back from the trash, with its snapshot."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.output, self.environment = rig.output, path_of(rig)
        self.places = {"source": rig.camera, "archive": rig.archive, "trash": rig.trash, "state": rig.state}
        self.upload = rig.upload("a", snapshots=1)
        assert rig.run_to_the_end() == 0
        where = f'output = "{rig.archive}"\ntrash_root = "{rig.trash}"\n'
        rig.config_file.write_text(rig.config_file.read_text() + where)
        options = ("--directory", str(rig.camera), "--config", str(rig.config_file))
        self.arguments = ("trash", "restore", *options, str(self.upload.path))
        self._before = Copies(rig)
        self._before.take()

    def renew(self) -> None:
        self._before.put_back()

    def assert_nothing_lost(self) -> None:
        assert_whole_where_it_stands(self.rig)

    def mend(self) -> None:
        for path in (self.upload.path, *self.rig.snapshots):
            if (self.rig.trash / path).exists():
                assert run_command_line([*self.arguments[:-1], str(path)]) == 0
        assert self.rig.run_to_the_end() == 0
        source = self.rig.camera / self.upload.path
        assert sha256_of(source) == self.upload.sha256
        assert source.with_suffix(".keep").exists()
        assert assert_archives_sound(self.rig).keys() == {self.upload.sha256}
        assert_no_traces(self.rig)
        assert_checked(self.rig)


class Cleaned:
    """Old archives are removed: deleted, or moved to the trash."""

    def __init__(self, base: Path, where: str, trash: Path | None) -> None:
        self._base, self._where, self._trash = base / "house", where, trash
        self.output, self.environment = base / "output", dict[str, str]()
        self.renew()
        roots = self.its.house.roots_by_tree
        self.places = {
            "source": roots[Tree.SOURCE], "archive": roots[Tree.ARCHIVE], "trash": roots[Tree.TRASH],
            "state": self.its.house.config.state_dir,
        }  # fmt: skip
        self.arguments = (*self.its.arguments, *(("--delete",) if where == "nowhere" else ()))

    def renew(self) -> None:
        for root in (self._base, *((self._trash,) if self._trash else ())):
            shutil.rmtree(root, ignore_errors=True)
        self._base.mkdir()
        self.its = Killed(self._base, self._trash, each_day=2, now=START.timestamp())

    def assert_nothing_lost(self) -> None:
        house = self.its.house
        standing = {
            path.name: path.stat().st_size
            for tree in (Tree.ARCHIVE, Tree.TRASH)
            for path in house.roots_by_tree[tree].rglob("*.mp4")
        }
        assert set(standing.values()) == {16_384}
        assert any("back" in name for name in standing)
        if self._where != "nowhere":
            assert {row.path.name for row in self.its.rows} <= standing.keys()

    def mend(self) -> None:
        self.its.start()
        self.its.assert_whole(self._where)
        assert run_command_line(list(self.arguments)) == 0
        assert self.its.assert_whole(self._where) == len(self.its.rows)


class Copies:
    """The trees of a rig as they stood at a time."""

    def __init__(self, rig: Rig) -> None:
        self._roots = [root for root in (rig.camera, rig.archive, rig.trash) if root.is_dir()]
        self._kept = rig.base / "kept"

    def take(self) -> None:
        for number, root in enumerate(self._roots):
            shutil.copytree(root, self._kept / str(number), symlinks=True)

    def put_back(self) -> None:
        for number, root in enumerate(self._roots):
            empty(root)
            shutil.copytree(self._kept / str(number), root, symlinks=True, dirs_exist_ok=True)


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def on_software(base: Path) -> Rig:
    """A rig that looks for no device, which would take more steps than all the rest."""
    rig = Rig(base)
    rig.config_file.write_text(rig.config_file.read_text() + 'hardware = "software"\n')
    return rig


def path_of(rig: Rig) -> dict[str, str]:
    return {"PATH": f"{rig.programs}:{environment()['PATH']}"}


def assert_whole_where_it_stands(rig: Rig, *, deleting: bool = False) -> None:
    """What was uploaded stands as a source, or set aside, or its archive does, and then the source in the trash."""
    archives = list(rig.archive.rglob("*.mp4"))
    told = {probed(archive) for archive in archives}
    assert told <= {(_FRAMES, upload.sha256) for upload in rig.uploads}
    assert len(archives) == len(told)
    sources, trashed = contents(rig, rig.camera), contents(rig, rig.trash)
    for upload in rig.uploads:
        assert upload.sha256 in sources or (_FRAMES, upload.sha256) in told, "neither a source nor an archive"
        assert deleting or upload.sha256 in sources or upload.sha256 in trashed, "neither a source nor in the trash"
    for path, sha256 in rig.snapshots.items():
        assert sha256 in sources or sha256 in trashed or (deleting and archives), f"{path}: the snapshot is lost"


# ---- the ways to do it


@contextmanager
def recorded(base: Path) -> Iterator[Deed]:
    yield Recorded(on_software(base))


@contextmanager
def first_start(base: Path) -> Iterator[Deed]:
    yield Recorded(on_software(base), known=False)


@contextmanager
def deleted(base: Path) -> Iterator[Deed]:
    yield Recorded(on_software(base), "--delete")


@contextmanager
def three_disks(base: Path) -> Iterator[Rig]:
    """Source, archive and trash each on a file system of its own; who may not mount has two for the three."""
    rig = on_software(base)
    with ExitStack() as stack:
        elsewhere = stack.enter_context(
            tempfile.TemporaryDirectory(dir=file_system_besides(base), prefix="archiverd-test-")
        )
        third = stack.enter_context(mounted(Kind.TMPFS, base / "third")) if can_mount() else Path(elsewhere)
        rig.archive, rig.trash = Path(elsewhere, "archive"), third / "trash"
        rig.archive.mkdir()
        rig.trash.mkdir()
        yield rig


@contextmanager
def recorded_across(base: Path) -> Iterator[Deed]:
    with three_disks(base) as rig:
        yield Recorded(rig)


@contextmanager
def restored(base: Path) -> Iterator[Deed]:
    yield Restored(on_software(base))


@contextmanager
def restored_across(base: Path) -> Iterator[Deed]:
    with three_disks(base) as rig:
        yield Restored(rig)


@contextmanager
def cleaned(base: Path, where: str) -> Iterator[Deed]:
    with trash_of(where, base) as trash:
        yield Cleaned(base, where, trash)


DEEDS: dict[str, Callable[[Path], AbstractContextManager[Deed]]] = {
    "recording": recorded,
    "first start": first_start,
    "recording, source deleted": deleted,
    "recording across file systems": recorded_across,
    "restoring": restored,
    "restoring across file systems": restored_across,
    "cleanup, deleting": partial(cleaned, where="nowhere"),
    "cleanup to the trash": partial(cleaned, where="the same disk"),
    "cleanup to a trash elsewhere": partial(cleaned, where="another disk"),
}


# ---- where it dies


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a deed is when nobody disturbs it: its calls in order, and the names that stand when all is done."""

    calls: list[Call]
    names: list[str]


def undisturbed(factory: pytest.TempPathFactory, name: str) -> Undisturbed:
    def build(folder: Path) -> None:
        with in_memory() as base, DEEDS[name](base) as deed, Forks() as forks:
            record = folder / "record"
            deed.renew()
            assert forks.run(listening(record), deed.arguments, deed.output, deed.environment) == 0
            made = calls(record, deed.places)
            deed.mend()
            told = {"calls": [asdict(call) for call in made], "names": names(deed)}
            (folder / "told").write_text(json.dumps(told))

    told = json.loads((once(factory, f"undisturbed {name}", build) / "told").read_text())
    return Undisturbed([Call(**call) for call in told["calls"]], told["names"])


def names(deed: Deed) -> list[str]:
    """Everything that stands in the trees, by the place it is in."""
    return sorted({
        f"<{place}>/{path.relative_to(root)}" for place, root in deed.places.items() for path in root.rglob("*")
    })  # fmt: skip


def points(factory: pytest.TempPathFactory, name: str) -> list[Call]:
    """Where to kill. By default of every fourth kind the first, and none that "recording" is killed at."""
    every = list(reachable(undisturbed(factory, name).calls))
    if EVERY_POINT:
        return every
    elsewhere = set() if name == "recording" else {kind(call) for call in undisturbed(factory, "recording").calls}
    first = {kind(call): call for call in reversed(every)}
    return [call for call in first.values() if kind(call) not in elsewhere][::4]


def kind(call: Call) -> tuple[str, str]:
    return call.name, call.what


@contextmanager
def in_memory() -> Iterator[Path]:
    """A directory whose syncs cost no time: it is the process that dies here, and not the machine."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="archiverd-test-") as path:
        yield Path(path)


@pytest.fixture
def forks() -> Iterator[Forks]:
    with Forks() as process:
        yield process


@pytest.mark.parametrize("name", ["recording across file systems", "restoring across file systems"])
def test_program_makes_the_very_calls_of_the_fork_that_is_killed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    with in_memory() as base, DEEDS[name](base) as deed:
        deed.renew()
        record = tmp_path / "record"
        command = (*listening(record), *ARCHIVERD, *deed.arguments)
        done = subprocess.run(command, env=unmeasured() | deed.environment, capture_output=True, cwd="/", timeout=120)
        assert done.returncode == 0
        assert calls(record, deed.places) == undisturbed(tmp_path_factory, name).calls


@pytest.mark.usefixtures("replayed")
@pytest.mark.timeout(7200 if EVERY_POINT else 900)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", DEEDS)
def test_death_at_any_call_loses_nothing_and_is_mended_by_the_next_start(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, forks: Forks, name: str, share: int
) -> None:
    to_stand = undisturbed(tmp_path_factory, name).names
    found = []
    with in_memory() as base, DEEDS[name](base) as deed:
        chosen = points(tmp_path_factory, name)[share::SHARES]
        print(f"{len(chosen)} points")
        for point in chosen:
            try:
                die(deed, forks, point, tmp_path / "record")
                deed.assert_nothing_lost()
                deed.mend()
                assert names(deed) == to_stand
            except AssertionError as error:
                found.append(f"killed at {point}: {error}")
    assert not found, "\n\n".join(found)


def die(deed: Deed, forks: Forks, point: Call, record: Path) -> None:
    deed.renew()
    code = forks.run(striking(point, deed.places, record), deed.arguments, deed.output, deed.environment)
    assert code == -signal.SIGKILL, f"it was over before, with {code}"
    where = struck(record, deed.places)
    assert where is not None
    assert str(where) == str(point)
