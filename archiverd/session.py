"""Session: one stretch of a daemon's life, from locked roots to threads that have ended.

The roots are locked, the catalog is open, and three threads are at work: the worker, the timer, and the observer that
the timer's lookout owns. Where a root is lost, or the catalog turns out to be damaged, the session ends; the next one
begins as a start does, with everything that a start mends.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from archiverd.assembly import Assembly
from archiverd.cleanup_pass import Caution
from archiverd.cleanup_timer import CleanupTimer
from archiverd.concerns import Concerns
from archiverd.config import Config, Order
from archiverd.errors import ArchiverError, InternalError, Interrupted, ResourceError
from archiverd.intake import Intake, SourceRoot
from archiverd.ladder import Ladder
from archiverd.live import LiveFile, LiveState
from archiverd.lookout import Lookout
from archiverd.media.process import find_program, see_launcher
from archiverd.policy.admission import Patience
from archiverd.policy.arrival import Settling
from archiverd.policy.live import Phase
from archiverd.policy.model import Tree
from archiverd.policy.planning import follows_after_s
from archiverd.policy.problems import ProblemKind
from archiverd.policy.stop import StopToken
from archiverd.policy.watching import Observing
from archiverd.problems import Problems
from archiverd.processor import FileProcessor
from archiverd.rebuilder import tell_of
from archiverd.scanner import Scanner
from archiverd.service.heartbeat import BeatingStop, Bell, Ending, Heartbeat
from archiverd.service.inbox import Inbox
from archiverd.storage.catalog import SOURCE_ROOT, Catalog, CatalogLostError
from archiverd.storage.file_manager import FileManager
from archiverd.storage.roots import Roots, disks_of, see_disks
from archiverd.timer import Steppers, Timer
from archiverd.worker import Tools, Worker

log = logging.getLogger(__name__)

_TIMER_ENDS_S = 10.0
_WAYS = {Observing.INOTIFY: "by events", Observing.POLL: "by looking"}


class Current:
    """The configuration that holds now. Swapped by one thread, read by all; a job reads it once."""

    def __init__(self, config: Config) -> None:
        self.config = config


@dataclass(slots=True)
class Memory:
    """What one session leaves to the next."""

    disks: Mapping[Path, int] = field(default_factory=dict)  # see `disks_of`
    thoroughly: bool = False  # the catalog is to be examined row by row: one made no sense


@dataclass(slots=True)
class _Member:
    """One thread of a session."""

    thread: threading.Thread
    heartbeat: Heartbeat


class Session:
    """Begins with `start`, ends with `end` and the `with`. Belongs to the main thread.

    `news` is called, on any thread, when there is something for the main thread to look at. `over` tells that the
    session has ended by itself, and `error` why, where that was not asked for.
    """

    def __init__(
        self, current: Current, stop: StopToken, problems: Problems, live: LiveState, news: Callable[[], None],
        memory: Memory, *,
        clock: Callable[[], float] = time.time, assemble: Callable[[Config, StopToken], Assembly] = Assembly,
    ) -> None:  # fmt: skip
        self._current = current
        self._problems = problems
        self._live = live
        self._news = news
        self._memory = memory
        self._clock = clock
        self._assemble = assemble
        self._ending = Ending(stop)
        self._inbox = Inbox()
        self._worker_bell, self._timer_bell = Bell(), Bell()
        self._members: dict[str, _Member] = {}
        self._recovered = threading.Event()
        self._watching = threading.Event()
        self._roots: Roots | None = None
        self._timer: Timer | None = None
        self._scanner: Scanner | None = None
        self._stack = ExitStack()
        self.error: BaseException | None = None
        self.lost_root = False
        self.over = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for part in (self._ending, self._inbox, self._worker_bell, self._timer_bell):
                stack.enter_context(part)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        # A thread that hangs in the kernel still waits on these: they go with the process.
        if not any(member.thread.is_alive() for member in self._members.values()):
            self._stack.close()

    # -- for the main thread ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin. Returns at once; `ready` tells when all has been mended and is watched."""
        self._begin("timer", self._time)  # first: it waits for the worker, which waits for its end
        self._begin("worker", self._work)

    @property
    def ready(self) -> bool:
        """Whether what a dead process left is mended, and new files are noticed."""
        return self._recovered.is_set() and self._watching.is_set()

    def renew(self) -> None:
        """Go by another configuration: the worker from its next job on, the timer at once."""
        if self._timer is not None:
            self._timer.renew()
        self._worker_bell.ring()

    def rescan(self) -> None:
        """Look through the whole source tree now."""
        if self._scanner is not None:
            self._scanner.request()
        self._timer_bell.ring()

    def silent(self, for_s: float) -> list[str]:
        """The threads that have ended, or shown no sign of life for so long."""
        return [
            name
            for name, member in self._members.items()
            if not member.thread.is_alive() or member.heartbeat.age_s() > for_s
        ]

    def end(self) -> None:
        """Have all its threads end."""
        self._ending.end()

    def join(self, deadline: float) -> list[str]:
        """Wait for its threads until that moment of the monotonic clock; returns the names of those that go on."""
        for member in self._members.values():
            member.thread.join(max(0.0, deadline - time.monotonic()))
        return [name for name, member in self._members.items() if member.thread.is_alive()]

    # -- threads ------------------------------------------------------------------------------------------

    def _begin(self, name: str, body: Callable[[StopToken, Heartbeat], None]) -> None:
        heartbeat = Heartbeat()
        # A thread that hangs in the kernel must not keep the process from its end.
        thread = threading.Thread(target=self._run, args=(name, body, heartbeat), name=name, daemon=True)
        self._members[name] = _Member(thread, heartbeat)
        thread.start()

    def _run(self, name: str, body: Callable[[StopToken, Heartbeat], None], heartbeat: Heartbeat) -> None:
        """The life of a thread: whatever ends it ends the session."""
        try:
            body(BeatingStop(self._ending, heartbeat), heartbeat)
        except Interrupted:
            log.debug("the %s thread ends, as asked", name)
        except ArchiverError as error:
            self._fail(error)
        except Exception as error:  # a bug of ours: the process ends, and is started anew
            log.exception("the %s thread has died of an internal error", name)
            self._fail(InternalError(f"internal error in the {name} thread: {type(error).__name__}: {error}"))
        finally:
            self.over = True
            self._ending.end()
            self._news()

    def _fail(self, error: ArchiverError) -> None:
        if self.error is None:
            self.error = error

    # -- the worker ---------------------------------------------------------------------------------------

    def _work(self, stop: StopToken, _heartbeat: Heartbeat) -> None:
        parts = self._assemble(self._current.config, stop)
        if self._live.value.phase is not Phase.CUT_OFF:
            self._live.enter(Phase.STARTING, "taking up what was left")
        see_disks(self._memory.disks)
        with parts.opened(thoroughly=self._memory.thoroughly) as (catalog, files, roots):
            rebuilder = parts.rebuilder(catalog, files)
            if rebuilder.needed:
                tell_of(rebuilder.rebuild(lambda *_: nullcontext(self._live)))
            parts.recoverer(catalog, files).recover()
            see_launcher()
            toolbox = _Toolbox(
                self._current, self._assemble, stop, catalog, files, roots, inbox=self._inbox, live=self._live
            )  # fmt: skip
            toolbox.make()  # what does not work is to be told now
            self._memory.disks = disks_of([*parts.roots.values(), parts.config.state_dir])
            self._memory.thoroughly = False
            self._roots = roots
            self._recovered.set()
            self._live.enter(Phase.WORKING)
            self._problems.found(ProblemKind.PAUSED)
            self._live.pause("")
            self._timer_bell.ring()
            worker = Worker(
                catalog, self._inbox, toolbox.make, stop, self._worker_bell, self._live,
                report=self._problems.found, clock=self._clock,
            )  # fmt: skip
            try:
                worker.run()
            except ArchiverError as error:
                self._memory.thoroughly = isinstance(error, CatalogLostError)
                self._fail(error)
                raise
            finally:  # the timer looks at the roots too: it ends before they are let go of
                self._ending.end()
                self._members["timer"].thread.join(_TIMER_ENDS_S)
                # The last who leaves: till now `status` is to find what goes on.
                LiveFile(parts.config.state_dir, self._live).close(ended=self.error is None)

    # -- the timer ----------------------------------------------------------------------------------------

    def _time(self, stop: StopToken, heartbeat: Heartbeat) -> None:
        while not self._recovered.is_set():
            if stop.wait(0.1):
                return
        parts = self._assemble(self._current.config, stop)
        with Catalog(parts.catalog_path) as catalog:
            self._timer = Timer(
                lambda: self._steppers(catalog, stop), stop, heartbeat, self._timer_bell, self._clock
            )  # fmt: skip
            self._timer.run()

    @contextmanager
    def _steppers(self, catalog: Catalog, stop: StopToken) -> Iterator[Steppers]:
        """What the timer does, by the configuration that holds now."""
        assert self._roots is not None, "set before the timer begins"
        config, roots = self._current.config, self._roots
        parts = self._assemble(config, stop)
        scanner = Scanner(
            parts.finders()[Tree.SOURCE], catalog, self._inbox, config.patterns,
            verify=lambda: roots.verify(Tree.SOURCE), old_after_s=follows_after_s(config.settle),
        )  # fmt: skip
        lookout = Lookout(roots, config.observer, self._inbox, scanner, self._problems.found, self._lost_root)
        self._scanner = scanner
        live_file = LiveFile(config.state_dir, self._live)
        try:
            yield {
                "watching": _Watched(lookout, scanner, self._live, self._watched),
                "scanning": scanner,
                "looking for problems": Concerns(
                    catalog,
                    self._problems,
                    places=_places(config),
                    min_free=config.min_free,
                    heard_until=self._live.heard_until,
                ),
                "cleaning up": CleanupTimer(
                    parts.cleaner(catalog, parts.files(catalog.id, parts.modes()), roots.verify),
                    catalog,
                    Caution(config.max_removal, config.history),
                    self._problems.found,
                    self._worker_bell.ring,
                ),
                "telling of problems": _Told(self._problems, catalog),
                "telling what is done": live_file,
            }
        finally:
            lookout.close()
            with suppress(ArchiverError):
                self._problems.step(self._clock(), catalog)  # what was told a moment ago is not told again
            if self._ending.requested and self.error is None:
                self._live.enter(Phase.STOPPING)
            live_file.step(self._clock())

    def _watched(self) -> None:
        """From now on new files are noticed."""
        if not self._watching.is_set():
            self._watching.set()
            self._news()

    def _lost_root(self, error: ResourceError) -> None:
        """A root is gone, or another one: end, so that the next session may begin with what stands there."""
        self._fail(error)
        self.lost_root = True
        self._live.enter(Phase.CUT_OFF, error.message)
        self._ending.end()


def _places(config: Config) -> dict[str, Path]:
    """The directories whose room counts, by the word for each."""
    return {
        "input": config.directory, "output": config.output, "trash": config.trash_root, "state": config.state_dir,
    }  # fmt: skip


class _Toolbox:
    """Makes the worker's tools, anew where the configuration is another. Belongs to the worker's thread."""

    def __init__(
        self, current: Current, assemble: Callable[[Config, StopToken], Assembly], stop: StopToken, catalog: Catalog,
        files: FileManager, roots: Roots, *, inbox: Inbox, live: LiveState,
    ) -> None:  # fmt: skip
        self._current = current
        self._assemble = assemble
        self._stop = stop
        self._catalog = catalog
        self._files = files
        self._roots = roots
        self._inbox = inbox
        self._live = live
        self._made_for: Config | None = None
        self._ladder: tuple[object, Ladder] | None = None  # and what it was made for
        self._tools: Tools | None = None

    def make(self) -> Tools:
        """The tools of the configuration that holds now. Raises: StartupError where nothing encodes with it."""
        config = self._current.config
        if self._tools is not None and config is self._made_for:
            return self._tools
        parts = self._assemble(config, self._stop)
        ladder = self._ladder_for(parts)
        files = parts.files(self._catalog.id, parts.modes())
        nonce = self._roots.nonce(Tree.SOURCE)
        known_root = self._catalog.remember(SOURCE_ROOT, nonce) == nonce
        intake = Intake(
            self._catalog, files, parts.finders()[Tree.SOURCE], self._inbox, parts.manner(),
            Settling(config.settle, config.settle_closed), clock=parts.clock,
            root=SourceRoot(partial(self._roots.verify, Tree.SOURCE), is_known=known_root),
        )  # fmt: skip
        patience = Patience(config.settle_closed, config.quarantine_after)  # the rest was waited for in the queue
        bench = parts.workbench(
            self._catalog, files, self._roots, parts.transcoder(), ladder, self._live, patience=patience,
            with_snapshots=intake.with_snapshots,
        )  # fmt: skip
        self._tools = Tools(
            intake, FileProcessor(bench), config.order is Order.NEWEST, config.no_skip,
            partial(self._see_machine, files), parts.recoverer(self._catalog, files).take_back,
        )  # fmt: skip
        self._made_for = config
        return self._tools

    def _ladder_for(self, parts: Assembly) -> Ladder:
        """The ladder, made and probed anew where something is to be encoded, or tried, in another way."""
        config = parts.config
        way = (parts.encode_settings(), parts.limits(), config.hardware, config.device, config.device_rest)
        if self._ladder is None or way != self._ladder[0]:
            ladder = parts.ladder(self._catalog)
            ladder.start()
            self._ladder = (way, ladder)
        return self._ladder[1]

    def _see_machine(self, files: FileManager) -> None:
        """Raises: ResourceError, StartupError where a job could not be done now."""
        for tree in Tree:
            self._roots.verify(tree)
        for program in ("ffmpeg", "ffprobe"):
            find_program(program, os.environ.get("PATH", os.defpath))
        self._catalog.see_writable()
        files.see_writable(Tree.ARCHIVE)


class _Watched:
    """The lookout's steps, and word of how new files are noticed."""

    def __init__(self, lookout: Lookout, scanner: Scanner, live: LiveState, settled: Callable[[], None]) -> None:
        self._lookout = lookout
        self._scanner = scanner
        self._live = live
        self._settled = settled

    def step(self, now: float) -> float:
        again_at = self._lookout.step(now)
        if self._lookout.settled:
            self._settled()
        self._live.watch(_WAYS[self._scanner.observing])
        if self._scanner.last_full is not None:
            self._live.scanned(self._scanner.last_full.at)
        return again_at


class _Told:
    """The steps of the problems, with this thread's catalog."""

    def __init__(self, problems: Problems, catalog: Catalog) -> None:
        self._problems = problems
        self._catalog = catalog

    def step(self, now: float) -> float:
        return self._problems.step(now, self._catalog)
