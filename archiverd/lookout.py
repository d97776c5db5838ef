"""Lookout: sees that new files are noticed, and that the roots are those that were locked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from archiverd.errors import ResourceError
from archiverd.policy.machine import FileSystem, parse_mountinfo
from archiverd.policy.model import Tree
from archiverd.policy.naming import printable
from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.watching import Doubt, DoubtKind, Observer, Observing, choose_way, is_well, pause_s
from archiverd.scanner import Scanner
from archiverd.service.inbox import Inbox
from archiverd.service.watcher import Watcher
from archiverd.storage.roots import Roots

log = logging.getLogger(__name__)

_TURN_S = 5.0
_BEGINNING_S = 0.1  # until all directories are watched
_STOP_S = 5.0

MakeWatcher = Callable[[Path, Sequence[Path], Inbox], Watcher]


class Lookout:
    """Owns the Watcher of the source tree, for the thread that calls `step`, and sets the pace of the Scanner.

    `tell` takes all problems of a kind that stand now. `on_lost_root` is called once, when a root is gone or another
    stands in its place: then nothing more is done here. `make_watcher` lets a test stand its own in.
    """

    def __init__(
        self, roots: Roots, observer: Observer, inbox: Inbox, scanner: Scanner,
        tell: Callable[[ProblemKind, Sequence[Problem]], None], on_lost_root: Callable[[ResourceError], None], *,
        make_watcher: MakeWatcher = Watcher,
    ) -> None:  # fmt: skip
        self._roots = roots
        self._observer = observer
        self._inbox = inbox
        self._scanner = scanner
        self._tell = tell
        self._on_lost_root = on_lost_root
        self._make_watcher = make_watcher
        self._watcher: Watcher | None = None
        self._told: set[DoubtKind] = set()  # logged since it was well
        self._tries = 0  # at watching anew, since it was well for a while
        self._limited_tries = 0  # the same, where a limit of the kernel was in the way
        self._paused_at: float | None = None  # seconds since the epoch; None where nothing is to be tried anew
        self._pause_s = 0.0
        self._well_since: float | None = None
        self._lost = False
        self._settled = False

    @property
    def settled(self) -> bool:
        """Whether it is clear by now how new files are noticed: all is watched, or it was told why not. Any thread."""
        return self._settled

    def step(self, now: float) -> float:
        """Look once; returns when it is to be called again. Seconds since the epoch."""
        if self._lost or self._has_lost_root():
            return now + _TURN_S
        if self._watcher is None and self._is_paused(now):
            return now + min(self._pause_s, _TURN_S)
        watcher = self._watcher or self._begin()
        if watcher is None:
            return now + _TURN_S
        doubts = watcher.doubts()
        if doubts:
            return self._doubt(watcher, doubts, now)
        if not watcher.watching:
            return now + _BEGINNING_S
        self._go_on_well(now)
        return now + _TURN_S

    def close(self, timeout_s: float = _STOP_S) -> None:
        """Watch no more. The thread of `step`, or another when that has ended."""
        watcher, self._watcher = self._watcher, None
        stuck = () if watcher is None else watcher.stop(timeout_s)
        if stuck:
            log.warning(
                "%s: %s did not end in %.0f s; the disk does not answer, and they are left behind",
                printable(self._roots.paths[Tree.SOURCE]), ", ".join(stuck), timeout_s,
            )  # fmt: skip

    def _has_lost_root(self) -> bool:
        for tree in Tree:
            try:
                self._roots.verify(tree)
            except ResourceError as error:
                self._lost = True
                self._on_lost_root(error)
                return True
        return False

    def _is_paused(self, now: float) -> bool:
        """Whether it is not yet time to watch anew; never longer for a clock that was set back."""
        return self._paused_at is not None and 0 <= now - self._paused_at < self._pause_s

    def _pause(self, now: float, *, limited: bool) -> None:
        if limited:
            self._limited_tries += 1
        else:
            self._tries += 1
        self._paused_at = now
        self._pause_s = pause_s(self._limited_tries if limited else self._tries, limited=limited)

    def _begin(self) -> Watcher | None:
        """Begin to watch; None where the file system does not tell, or is not to be asked."""
        root = self._roots.paths[Tree.SOURCE]
        exclude = [path for path in (*self._roots.paths.values(), self._roots.state_dir) if path != root]
        way = choose_way(self._observer, _mounts(), PurePosixPath(root), map(PurePosixPath, exclude))
        if way.observing is Observing.POLL:
            if not self._settled:
                log.info("%s: new files are found by scans alone: %s", printable(root), way.reason)
            self._scanner.observe(Observing.POLL)
            self._tell(ProblemKind.WATCHING, ())
            self._settled = True
            return None
        self._paused_at = None
        self._watcher = self._make_watcher(root, exclude, self._inbox)
        self._watcher.start()
        return self._watcher

    def _go_on_well(self, now: float) -> None:
        if self._well_since is None:
            self._well_since = now
            self._scanner.observe(Observing.INOTIFY)
            self._scanner.request()  # what came before all was watched
            if self._told:
                log.info("%s: is watched again", printable(self._roots.paths[Tree.SOURCE]))
            self._told.clear()
            self._tell(ProblemKind.WATCHING, ())
            self._settled = True
        elif is_well(self._well_since, now):
            self._tries = self._limited_tries = 0

    def _doubt(self, watcher: Watcher, doubts: Sequence[Doubt], now: float) -> float:
        """Trust the watcher no more; of a limit, in part."""
        self._say(doubts)
        self._well_since = None
        self._scanner.observe(Observing.POLL)
        limited = all(doubt.kind in (DoubtKind.WATCH_LIMIT, DoubtKind.NOT_STARTED) for doubt in doubts)
        if limited and watcher.watching:
            return self._go_on_in_part(now)
        self.close()
        self._pause(now, limited=limited)
        return now + min(self._pause_s, _TURN_S)

    def _go_on_in_part(self, now: float) -> float:
        """Keep what is told of some directories, and try now and then whether all may be watched by now."""
        if self._paused_at is None:
            self._pause(now, limited=True)
            self._scanner.request()
        elif not self._is_paused(now):
            self._tries = 0  # so long nothing else was in the way
            self.close()
            return now
        return now + _TURN_S

    def _say(self, doubts: Sequence[Doubt]) -> None:
        for doubt in doubts:
            if doubt.kind not in self._told:
                log.warning("%s", doubt)
                self._told.add(doubt.kind)
        kind = ProblemKind.WATCHING
        self._tell(kind, [Problem(kind, doubt.kind, doubt.message, doubt.remedy) for doubt in doubts])
        self._settled = True


def _mounts() -> tuple[FileSystem, ...]:
    try:
        return parse_mountinfo(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))
    except OSError as error:
        log.debug("mounts are not told: %s", error.strerror)
        return ()
