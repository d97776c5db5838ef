"""A cleanup that is killed, again and again: the next start leaves every file where it was, or gone and noted."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import Recording, State, Tree
from tests.holdings import House, clip_of
from tests.integrations.test_integrations_file_manager import file_system_besides
from tests.program import ARCHIVERD, unmeasured

_EACH_DAY = 30
_DAYS = (50, 51, 52)  # old, all of them
_SIZE = 16_384


class Killed:
    """A house with recordings of three days that are to go, about a hundred, and the command that has them go."""

    def __init__(self, base: Path, trash: Path | None, each_day: int = _EACH_DAY, now: float | None = None) -> None:
        self.base = base
        self.house = House(base, trash_root=trash) if trash else House(base)
        self.house.now, self.house.content = now or time.time(), clip_of
        self.config = base / "archiverd.toml"
        where = f"trash_root = '{trash}'\n" if trash else ""
        self.config.write_text(f'min_free = "none"\nclean_output = true\n{where}')
        with self.house.open() as house:
            house.archived("back", 0.1, _SIZE)  # is not to go
            self.rows = [
                house.archived("front", days + number / 100, _SIZE) for days in _DAYS for number in range(each_day)
            ]

    @property
    def arguments(self) -> tuple[str, ...]:
        return "cleanup", str(self.house.root), "--no-confirm", "--confirm-held", "--config", str(self.config)

    def clean_up(self, *options: str, killed_at: str = "") -> int:
        injected = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={killed_at}")
        command = (*(injected if killed_at else ()), *ARCHIVERD, *self.arguments, *options)
        return subprocess.run(command, capture_output=True, env=unmeasured(), timeout=120, check=False).returncode

    def start(self) -> None:
        """Begin as every start does: what a death left is mended."""
        with self.house.open() as house:
            house.parts.recoverer(house.catalog, house.files).recover()

    def assert_whole(self, where: str) -> int:
        """Each archive stands and is DONE, or is gone and REMOVED: for good, or to the trash. How many are gone."""
        house, gone = self.house, 0
        with house.open():
            assert house.catalog.claimed_removals() == []
            for row in self.rows:
                gone += self._is_gone(row, where)
        roots = {house.root, *house.roots_by_tree.values()}
        assert not [
            path for root in roots for path in root.rglob(".archiverd-*") if path.name != ".archiverd-root"
        ]  # fmt: skip
        assert run_command_line(["check", str(house.root), "--config", str(self.config), "--quiet"]) == 0
        return gone

    def _is_gone(self, row: Recording, where: str) -> bool:
        house, now = self.house, self.house.catalog.by_id(row.id)
        lies_at = PurePosixPath("archived") / row.path
        place, trashed = house.roots_by_tree[Tree.ARCHIVE] / row.path, house.roots_by_tree[Tree.TRASH] / lies_at
        stands, lies = place.exists(), trashed.exists()
        assert now.state is (State.DONE if stands else State.REMOVED)
        # Copied, and not yet removed: the copy is used again. On btrfs a power cut can leave one file both names.
        in_both = stands and lies and (where == "another disk" or place.samefile(trashed))
        assert in_both or lies == (not stands and where != "nowhere")
        assert (house.catalog.trash_at(lies_at) is not None) == lies
        return not stands


@contextmanager
def trash_of(where: str, base: Path) -> Iterator[Path | None]:
    if where != "another disk":
        yield None
        return
    with tempfile.TemporaryDirectory(dir=file_system_besides(base), prefix="archiverd-test-") as name:
        yield Path(name) / "trash"


# A death comes before the call. Commits before the 12th are those that note the plan.
POINTS = {
    "nowhere": (
        "mkdirat:when=1", "renameat2:when=1", "renameat2:when=5", "unlinkat:when=4", "fdatasync:when=12",
        "fdatasync:when=14", "fsync:when=3",
    ),
    "the same disk": (
        "renameat2:when=1", "renameat2:when=2", "renameat2:when=9", "fdatasync:when=10", "fdatasync:when=12",
        "unlinkat:when=1",
    ),
    "another disk": (
        "renameat2:when=2", "renameat2:when=7", "unlinkat:when=1", "unlinkat:when=3", "fdatasync:when=12",
        "fsync:when=9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("where", POINTS)
def test_cleanup_that_is_killed_at_any_point_is_mended_by_the_next_start(tmp_path: Path, where: str) -> None:
    """Of archives that are deleted, or moved to a trash there."""
    options = ("--delete",) if where == "nowhere" else ()
    with trash_of(where, tmp_path) as trash:
        its = Killed(tmp_path, trash)
        gone = [0]
        for point in POINTS[where]:
            call, _, when = point.partition(":")
            ended = its.clean_up(*options, killed_at=f"{call}:signal=KILL:{when}")
            assert ended == -signal.SIGKILL, f"it is over before {point}"
            its.start()
            gone.append(its.assert_whole(where))
        assert 0 < gone[-1] < len(its.rows)
        assert its.clean_up(*options) == 0
        assert its.assert_whole(where) == len(its.rows)
        assert len(list(its.house.roots_by_tree[Tree.ARCHIVE].rglob("*.mp4"))) == 1
        trashed = len(list(its.house.roots_by_tree[Tree.TRASH].rglob("*.mp4")))
        assert trashed == (0 if where == "nowhere" else len(its.rows)), "nothing lies there twice"
