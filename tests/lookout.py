"""A process that only watches: `python tests/lookout.py ROOT` builds what the daemon sees with, over real trees.

Its loop is the daemon's timer in small. A line on stdin is answered by one on stdout, a JSON object: how many clips
were seen, `settled`, the problems that stand, and the processor time used. A lost root ends a session and begins
another, as in the daemon. The log goes to stderr.
"""

from __future__ import annotations

import json
import logging
import select
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from archiverd.errors import ResourceError, StartupError
from archiverd.lookout import Lookout
from archiverd.policy.model import Tree
from archiverd.policy.name_patterns import CANONICAL
from archiverd.policy.problems import Problem, ProblemKind
from archiverd.policy.watching import Observer
from archiverd.scanner import Scanner
from archiverd.service.inbox import Inbox
from archiverd.storage.catalog import Catalog
from archiverd.storage.roots import Roots
from archiverd.trees import discoveries

log = logging.getLogger("tests.lookout")


class Session:
    """What is built over roots that are locked, and ends when one is lost."""

    def __init__(self, base: Path, inbox: Inbox, problems: dict[str, list[str]]) -> None:
        self.lost = False
        self._problems = problems
        self._stack = ExitStack()
        root = base / "camera"
        paths = {Tree.SOURCE: root, Tree.ARCHIVE: base / "archived", Tree.TRASH: base / "trash"}
        with ExitStack() as stack:
            roots = stack.enter_context(Roots(paths, base / "state"))
            catalog = stack.enter_context(Catalog(base / "state" / "catalog.sqlite", new_id="c1"))
            roots.claim(catalog.id, {Tree.ARCHIVE: False, Tree.TRASH: False})
            find = discoveries(paths, base / "state", CANONICAL, 60.0, time.time)[Tree.SOURCE]
            scanner = Scanner(
                find, catalog, inbox, CANONICAL, verify=lambda: roots.verify(Tree.SOURCE), old_after_s=3600.0
            )
            self.lookout = Lookout(roots, Observer.AUTO, inbox, scanner, self._tell, self._lose)
            stack.callback(self.lookout.close)
            self._stack = stack.pop_all()
        self._due = dict.fromkeys((self.lookout.step, scanner.step), 0.0)

    def turn(self) -> float:
        """Call what is due; when to call again."""
        for step, at in self._due.items():
            if time.time() >= at and not self.lost:
                self._due[step] = step(time.time())
        return min(self._due.values())

    def end(self) -> None:
        self._stack.close()

    def _tell(self, kind: ProblemKind, problems: Sequence[Problem]) -> None:
        self._problems[kind] = [str(problem) for problem in problems]

    def _lose(self, error: ResourceError) -> None:
        log.warning("lost: %s", error)
        self.lost = True


class Process:
    """Session after session, until stdin ends."""

    def __init__(self, base: Path, inbox: Inbox) -> None:
        self._base = base
        self._inbox = inbox
        self._session: Session | None = None
        self._clips: set[str] = set()
        self._problems: dict[str, list[str]] = {}

    def run(self) -> None:
        while True:
            wait_s = self._turn()
            readable, _, _ = select.select([self._inbox, sys.stdin], [], [], wait_s)
            self._clips |= {str(seen.path) for seen in self._inbox.take(10**6) if seen.path.suffix == ".mp4"}
            self._clips |= {clip.key for clip in self._inbox.take_found(10**6)}
            if sys.stdin in readable:
                if not sys.stdin.readline():
                    break
                self._answer()
        if self._session is not None:
            self._session.end()

    def _turn(self) -> float:
        """One turn of a session, a new one where there is none; how long to wait for the next."""
        try:
            self._session = self._session or Session(self._base, self._inbox, self._problems)
            next_at = self._session.turn()
        except StartupError as error:
            log.info("no session: %s", error)
            return 0.5
        if not self._session.lost:
            return max(0.0, next_at - time.time())
        self._session.end()
        self._session = None
        return 0.0

    def _answer(self) -> None:
        settled = self._session is not None and self._session.lookout.settled
        told = {"clips": len(self._clips), "settled": settled, "problems": self._problems}
        print(json.dumps(told | {"cpu_s": time.process_time()}), flush=True)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    with Inbox() as opened:
        Process(Path(sys.argv[1]), opened).run()
