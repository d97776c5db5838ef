"""`archiverd cleanup` and `run --cleanup`, as their users meet them: shown, asked, held, confirmed, told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiverd.policy.model import Tree
from tests.holdings import House
from tests.program import ARCHIVERD, Ran, archiverd, environment, standing, typed
from tests.screen import until

ROOM = 'min_free = "none"\n'


class Trees:
    """A house whose trees nobody holds, and the program over them."""

    def __init__(self, base: Path, *, old: int, young: int) -> None:
        self.house = House(base, min_free=None)
        self.house.now = time.time()
        self.root = self.house.root
        self.config = base / "archiverd.toml"
        self.config.write_text(ROOM)
        with self.house.open():
            for number in range(old):
                self.house.archived(f"cam{number}", 40 + number / 100)
            for number in range(young):
                self.house.archived(f"cam{number}", 2 + number / 100)

    def call(self, verb: str, *options: str) -> Ran:
        return archiverd(verb, self.root, *options, config=self.config)

    def cleanup(self, *options: str) -> Ran:
        return self.call("cleanup", "--clean-output", *options)

    @property
    def archives(self) -> int:
        return len(self.house.standing(Tree.ARCHIVE))


@pytest.fixture
def few(tmp_path: Path) -> Trees:
    """Of ten archives one is too old."""
    return Trees(tmp_path, old=1, young=9)


@pytest.fixture
def much(tmp_path: Path) -> Trees:
    """Of four archives two are too old."""
    return Trees(tmp_path, old=2, young=2)


def test_dry_run_shows_what_would_go_and_changes_nothing(few: Trees) -> None:
    before = standing(few.root)
    ran = few.cleanup("--dry-run", "-v")
    assert ran.code == 0
    assert "To go from the archive: 1 file" in ran.out
    assert "archive 2026/" in ran.out
    assert "older than 30 days" in ran.out
    assert "Stays in the archive, too young, or within the sizes: 9 files" in ran.out
    assert ran.out.endswith("Nothing was changed (--dry-run).\n")
    assert standing(few.root) == before


def test_dry_run_for_programs_has_the_files_where_they_are_asked_for(few: Trees) -> None:
    plan = few.cleanup("--dry-run", "--json").json["plan"]
    assert plan["totals"]["archive"]["going"]["files"] == 1
    assert "files" not in plan
    (file,) = few.cleanup("--dry-run", "--json", "-v").json["plan"]["files"]
    assert (file["tree"], file["cause"], file["to_trash"]) == ("archive", "age", True)


def test_rule_for_a_camera_that_nobody_knows_is_told(few: Trees) -> None:
    few.config.write_text(f'{ROOM}[[retention]]\ncameras = ["fornt*"]\nage = "9 days"\n')
    assert "retention[1]: no camera that is known fits fornt*." in few.cleanup("--dry-run").out


def test_without_a_terminal_it_does_not_begin_unless_it_may_go_ahead_unasked(few: Trees) -> None:
    ran = few.cleanup()
    assert (ran.code, few.archives) == (2, 10)
    assert "--no-confirm" in ran.err


def test_what_is_due_goes_and_the_owner_is_told_where_to(few: Trees) -> None:
    ran = few.cleanup("--no-confirm")
    assert (ran.code, few.archives, len(few.house.standing(Tree.TRASH))) == (0, 9, 1)
    assert "Gone from the archive to the trash, older than 30 days: 1 file" in ran.out
    assert "archiverd trash restore" in ran.out
    assert "goes from the archive to the trash: older than 30 days" in (few.root / "archiver.log").read_text()


def test_much_at_once_is_held_told_by_status_and_goes_when_it_is_confirmed(much: Trees) -> None:
    held = much.cleanup("--no-confirm")
    assert (held.code, much.archives) == (1, 4)
    assert "Held: nothing was cleaned up here before, and 50 % of the archive (to the trash) would go" in held.out
    status = much.call("status")
    assert "A cleanup of 2 files" in status.out
    assert much.call("status", "--json").json["cleanup_held"]["files"] == 2
    confirmed = much.cleanup("--no-confirm", "--confirm-held")
    assert (confirmed.code, much.archives) == (0, 2)
    assert much.call("status", "--json").json["cleanup_held"] is None


def test_size_that_cannot_be_reached_is_told_and_exits_with_1(few: Trees) -> None:
    few.cleanup("--no-confirm")
    few.config.write_text(f'{ROOM}[[retention]]\nmax_size = "1kB"\nkeep = "30 days"\n')
    ran = few.cleanup("--no-confirm")
    assert (ran.code, few.archives) == (1, 9)
    assert "Not reached: the archive may hold 1 kB" in ran.out


def test_without_a_catalog_nothing_is_cleaned_up(tmp_path: Path) -> None:
    ran = archiverd("cleanup", tmp_path, "--no-confirm")
    assert ran.code == 69
    assert "there is no catalog yet, and without one nothing is cleaned up" in ran.err
    assert {path.name for path in tmp_path.iterdir()} <= {"archiver.log"}


@pytest.mark.parametrize(("answer", "left"), [("y", 2), ("n", 4)])
def test_held_plan_is_asked_about_as_such_on_a_terminal(much: Trees, answer: str, left: int) -> None:
    with typed("cleanup", much.root, "--clean-output") as program:
        until(lambda: program.shows("Remove these 2 files all the same? [y/N]"), 60)
        program.type(f"{answer}\n")
        code = program.end()
    assert "It is held, for the reason above." in program.output
    assert (code, much.archives) == (0 if answer == "y" else 1, left)


def test_run_cleans_up_when_its_work_is_done(few: Trees) -> None:
    ran = few.call("run", "--no-confirm", "--cleanup", "--clean-output", "--hardware", "software", "--json")
    assert (ran.code, few.archives) == (0, 9)
    (removed,) = ran.json["cleanup"]["removed"]
    assert (removed["tree"], removed["files"], removed["to_trash"]) == ("archive", 1, True)


@pytest.fixture
def served(much: Trees) -> Iterator[Trees]:
    """The same trees with a daemon, which holds its first cleanup."""
    much.config.write_text(f'{ROOM}clean_output = true\nhardware = "software"\n')
    command = (*ARCHIVERD, "daemon", much.root, "--config", much.config)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as process:
        until(lambda: much.call("status", "--json").json["cleanup_held"] is not None, 60)
        yield much
        process.terminate()
        assert process.wait(30) == 0


def test_beside_a_daemon_it_says_who_cleans_up_and_confirms_what_that_holds(served: Trees) -> None:
    refused = served.cleanup("--no-confirm")
    assert (refused.code, served.archives) == (75, 4)
    assert "a daemon serves it, and cleans up by itself" in refused.err
    assert "Held: " in served.cleanup("--dry-run").out
    confirmed = served.cleanup("--confirm-held")
    assert confirmed.code == 0
    assert confirmed.out.startswith("The daemon goes ahead with 2 files")
    until(lambda: served.archives == 2, 60)
    assert served.cleanup("--confirm-held").out == "Nothing is held.\n"
