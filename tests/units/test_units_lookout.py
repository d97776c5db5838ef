"""What the lookout does about doubts, by an invented clock, with a watcher that tells what the test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from archiverd.errors import ResourceError
from archiverd.lookout import Lookout
from archiverd.policy.model import Tree
from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.watching import Doubt, DoubtKind, Observer, Observing
from archiverd.service.inbox import Inbox
from archiverd.service.watcher import Watcher

ROOTS = {Tree.SOURCE: Path("/camera"), Tree.ARCHIVE: Path("/archive"), Tree.TRASH: Path("/trash")}
NOW = 1_782_900_000.0
OVERFLOW = Doubt(DoubtKind.OVERFLOW, "too much at once", "")
LIMIT = Doubt(DoubtKind.WATCH_LIMIT, "3 directories are not watched", "Run: sysctl")
NOTHING = Doubt(DoubtKind.NOT_STARTED, "nothing is watched", "Run: sysctl")


@dataclass
class FakeWatcher:
    world: World
    watching: bool = False
    stopped: bool = False

    def start(self) -> None:
        self.watching = NOTHING not in self.world.doubts

    def stop(self, timeout_s: float) -> tuple[str, ...]:
        assert timeout_s > 0
        self.stopped = True
        return self.world.stuck

    def doubts(self) -> tuple[Doubt, ...]:
        return self.world.doubts


@dataclass
class World:
    """All that the lookout deals with."""

    doubts: tuple[Doubt, ...] = ()
    stuck: tuple[str, ...] = ()
    lost: Tree | None = None
    watchers: list[FakeWatcher] = field(default_factory=list)
    requests: int = 0
    pace: Observing | None = None
    problems: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    now: float = NOW
    paths: dict[Tree, Path] = field(default_factory=lambda: dict(ROOTS))
    state_dir: Path = Path("/state")

    def lookout(self, observer: Observer = Observer.AUTO) -> Lookout:
        roots = scanner = cast(Any, self)  # Any: in the stead of a Roots and of a Scanner
        return Lookout(
            roots, observer, Inbox(), scanner, self._tell, lambda error: self.losses.append(error.message),
            make_watcher=self._make,
        )  # fmt: skip

    def verify(self, tree: Tree) -> None:
        if tree is self.lost:
            raise ResourceError(f"the {tree} root is gone")

    def observe(self, observing: Observing) -> None:
        self.pace = observing

    def request(self) -> None:
        self.requests += 1

    def _make(self, root: Path, exclude: Sequence[Path], _inbox: Inbox) -> Watcher:
        assert (str(root), [str(path) for path in exclude]) == ("/camera", ["/archive", "/trash", "/state"])
        assert all(watcher.stopped for watcher in self.watchers)
        self.watchers.append(FakeWatcher(self))
        watcher: Any = self.watchers[-1]  # Any: in the stead of a Watcher
        return cast("Watcher", watcher)

    def _tell(self, kind: ProblemKind, problems: Sequence[Problem]) -> None:
        assert kind is ProblemKind.WATCHING
        self.problems = [problem.message for problem in problems]

    def turn(self, lookout: Lookout, for_s: float = 0.0) -> None:
        """Call it as often as it wants to be, for so long; never is it away for more than five seconds."""
        until = self.now + for_s
        while self.now <= until:
            next_at = lookout.step(self.now)
            assert self.now <= next_at <= self.now + 5
            self.now = max(next_at, self.now + 0.01)


def test_while_all_is_well_one_watcher_goes_on_and_all_is_looked_through_once() -> None:
    world = World()
    lookout = world.lookout()
    before = lookout.settled
    world.turn(lookout, 3600)
    assert (before, lookout.settled) == (False, True)
    assert (len(world.watchers), world.requests, world.pace, world.problems) == (1, 1, Observing.INOTIFY, [])
    lookout.close()
    assert world.watchers[0].stopped


def test_a_doubt_is_answered_at_once_by_a_new_watcher_and_a_look_through_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world = World()
    lookout = world.lookout()
    world.turn(lookout, 10)
    world.doubts = (OVERFLOW,)
    world.turn(lookout)
    assert (world.pace, world.problems) == (Observing.POLL, ["too much at once"])
    world.doubts = ()
    world.turn(lookout, 5)
    assert (len(world.watchers), world.requests, world.pace, world.problems) == (2, 2, Observing.INOTIFY, [])
    assert [record.message for record in caplog.records] == ["too much at once", "/camera: is watched again"]


def test_a_doubt_that_stays_makes_no_storm_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(doubts=(OVERFLOW,))
    lookout = world.lookout()
    world.turn(lookout, 3600)
    assert 10 < len(world.watchers) < 20
    assert len(caplog.records) == 1
    assert world.pace is Observing.POLL


def test_each_accident_is_logged_with_its_end(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    lookout = world.lookout()
    for _ in range(3):
        world.turn(lookout, 1200)
        world.doubts = (OVERFLOW,)
        world.turn(lookout)
        world.doubts = ()
    assert [record.message for record in caplog.records] == ["too much at once"] * 3


def test_after_it_was_well_for_a_while_the_next_doubt_is_an_accident_again() -> None:
    world = World(doubts=(OVERFLOW,))
    lookout = world.lookout()
    world.turn(lookout, 3600)
    world.doubts = ()
    world.turn(lookout, 1200)
    tried = len(world.watchers)
    world.doubts = (OVERFLOW,)
    world.turn(lookout)
    world.doubts = ()
    world.turn(lookout, 0.1)
    assert len(world.watchers) == tried + 1


def test_at_the_limit_what_is_told_in_part_is_kept_and_all_is_tried_now_and_then() -> None:
    world = World(doubts=(LIMIT,))
    lookout = world.lookout()
    world.turn(lookout, 290)
    assert (len(world.watchers), world.requests, world.pace) == (1, 1, Observing.POLL)
    assert not world.watchers[0].stopped
    world.turn(lookout, 20)
    assert (len(world.watchers), world.requests) == (2, 2)
    world.turn(lookout, 86400 - 310)
    assert 20 < len(world.watchers) < 30
    world.doubts = ()
    world.turn(lookout, 3600)
    assert (world.pace, world.problems) == (Observing.INOTIFY, [])


def test_another_doubt_at_the_limit_is_answered_at_once() -> None:
    world = World(doubts=(LIMIT,))
    lookout = world.lookout()
    world.turn(lookout, 20)
    world.doubts = (OVERFLOW, LIMIT)
    world.turn(lookout)
    world.doubts = (LIMIT,)
    world.turn(lookout, 10)
    assert len(world.watchers) == 2
    assert world.pace is Observing.POLL


def test_a_limit_that_is_met_later_is_told_and_when_it_is_raised_all_is_looked_through() -> None:
    world = World()
    lookout = world.lookout()
    world.turn(lookout, 60)
    world.doubts = (LIMIT,)
    world.turn(lookout, 60)
    assert (len(world.watchers), world.requests, world.pace) == (1, 2, Observing.POLL)
    world.doubts = ()
    world.turn(lookout, 300)
    assert (world.requests, world.pace, world.problems) == (3, Observing.INOTIFY, [])


def test_where_nothing_can_be_watched_it_is_tried_seldom() -> None:
    world = World(doubts=(NOTHING,))
    lookout = world.lookout()
    world.turn(lookout, 3600)
    assert lookout.settled
    assert 3 <= len(world.watchers) <= 5
    assert world.problems == ["nothing is watched"]


def test_as_configured_nothing_is_watched_and_the_scanner_goes_at_its_pace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world = World()
    lookout = world.lookout(Observer.POLL)
    world.turn(lookout, 60)
    assert (world.watchers, world.pace, lookout.settled) == ([], Observing.POLL, True)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("tree", list(Tree))
def test_a_lost_root_is_told_once_and_then_nothing_more_is_done(tree: Tree) -> None:
    world = World()
    lookout = world.lookout()
    world.turn(lookout, 10)
    world.lost = tree
    world.doubts = (OVERFLOW,)
    world.turn(lookout, 60)
    assert world.losses == [f"the {tree} root is gone"]
    assert len(world.watchers) == 1


def test_threads_that_do_not_end_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    world = World(stuck=("watcher-read",))
    lookout = world.lookout()
    world.turn(lookout, 10)
    lookout.close(1.0)
    assert "/camera: watcher-read did not end in 1 s" in caplog.text
