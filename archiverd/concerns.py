"""What the catalog and the disks tell of problems: quarantined recordings, quiet cameras, no room, fallen hardware, and
that more comes than can be archived.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from archiverd.policy.backlog import behind
from archiverd.policy.falling import STANDINGS, Footing, Standing, Standings
from archiverd.policy.model import State
from archiverd.policy.naming import printable
from archiverd.policy.problems import Course, Problem, ProblemKind
from archiverd.policy.quiet import GIVEN_UP_S, Rhythm, Upload, given_up, latest, problem_of, unusual_pause_s
from archiverd.policy.recovery import CRASH_LIMIT, Deaths
from archiverd.policy.room import cramped
from archiverd.policy.rungs import Rung
from archiverd.problems import Problems
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_connection import DEATHS
from archiverd.storage.roots import rooms_of

_WHO_KILLS = "The journal of the system tells what ends it: too little memory, the watchdog, power that fails"
_TURN_S = 2.0  # a look costs a tenth of a millisecond
_COUNT_S = 60.0  # between two counts of what waits
_BREAK_S = 900.0  # between two steps: the machine slept, the clock jumped, or nobody listened
_CHUNK = 1000  # uploads read in a step
_READ_BACK = 100_000  # uploads read at the start
_MOST_CAMERAS = 500  # whose rhythm is kept
_MOST_QUIET = 50  # that are told
_DAY_S = 86_400.0


class Concerns:
    """Reports five kinds of problems. Belongs to the thread of its catalog.

    `places`: by the word for it, the directories whose room counts. `heard_until` tells until when every upload has
    been entered in the catalog.
    """

    def __init__(
        self, catalog: Catalog, problems: Problems, *, places: Mapping[str, Path], min_free: int | None,
        heard_until: Callable[[], float],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._problems = problems
        self._places = dict(places)
        self._min_free = min_free
        self._cameras = _Cameras(catalog)
        self._heard_until = heard_until
        self._heard_since = 0.0
        self._stepped_at = 0.0
        self._counted_at = self._paused_at = -math.inf
        self._cramped: set[str] = set()

    def step(self, now: float) -> float:
        """Look once; returns when to look again. Raises: what the catalog raises."""
        if not 0 <= now - self._stepped_at <= _BREAK_S:
            self._heard_since = now
        self._stepped_at = now
        if not self._cameras.read(now):
            return now  # there is more to read, and others may want to step between
        before = self._open(ProblemKind.DISK).keys() | self._cramped
        short = cramped(rooms_of(self._places), self._min_free, before)
        self._cramped = {problem.subject for problem in short}
        self._problems.found(ProblemKind.DISK, short)
        self._problems.found(ProblemKind.QUARANTINED, [*self._quarantined(), *self._put_off()])
        self._problems.found(ProblemKind.HARDWARE, self._fallen())
        if not 0 <= now - self._counted_at < _COUNT_S:
            self._counted_at = now
            if self._open(ProblemKind.PAUSED):
                self._paused_at = now
            self._problems.found(ProblemKind.BEHIND, behind(self._catalog.backlog(now), now - self._paused_at))
        known = self._open(ProblemKind.QUIET)
        quiet = self._cameras.quiet(min(now, self._heard_until()), self._heard_since, known)
        self._problems.found(ProblemKind.QUIET, latest(quiet, _MOST_QUIET))
        return now + _TURN_S

    def _open(self, kind: ProblemKind) -> dict[str, Course]:
        """The open problems of a kind, by their subject."""
        return {course.problem.subject: course for course in self._problems.open() if course.problem.kind is kind}

    def _quarantined(self) -> list[Problem]:
        files, newest = self._catalog.newest(State.QUARANTINED)
        if newest is None:
            return []
        many = (
            f"{files} recordings are quarantined, the newest of them" if files > 1 else "one recording is quarantined,"
        )
        remedy = "`archiverd why PATH` tells what is wrong with one, `archiverd retry PATH` has it tried again"
        message = f"{many} {printable(newest.path)}: {newest.reason}"
        return [Problem(ProblemKind.QUARANTINED, "", message, remedy)]

    def _put_off(self) -> list[Problem]:
        """That the process dies again and again, and of no one recording alone: nobody is quarantined for that."""
        deaths = Deaths.from_text(self._catalog.recall(DEATHS))
        row = self._catalog.unfinished(deaths.put_off) if deaths.put_off else None
        if row is None or row.crashes < CRASH_LIMIT:
            return []
        message = f"archiverd dies again and again, {row.crashes} times while working on {printable(row.path)}"
        return [Problem(ProblemKind.QUARANTINED, "deaths", f"{message}, which waits for a while each time", _WHO_KILLS)]

    # -- hardware -----------------------------------------------------------------------------------------

    def _fallen(self) -> list[Problem]:
        """A problem for each rung that worked on this machine and does not now."""
        standings = Standings.from_text(self._catalog.recall(STANDINGS)).rungs
        by_rung: dict[Rung, list[Standing]] = {}
        for standing in standings:
            if standing.device:
                by_rung.setdefault(standing.rung, []).append(standing)
        return [_fall(fallen) for rung, of_rung in by_rung.items() for fallen in self._fallen_of(rung, of_rung)]

    def _fallen_of(self, rung: Rung, standings: list[Standing]) -> Iterator[Standing]:
        """How a rung fell, if it did: it rests, or works for nothing any more and has made archives."""
        resting = [one for one in standings if one.footing is Footing.RESTS]
        unusable = [one for one in standings if one.footing is Footing.UNUSABLE]
        if resting:
            yield resting[0]
        elif unusable and len(unusable) == len(standings) and self._catalog.has_encoded(rung):
            yield unusable[0]


def _fall(standing: Standing) -> Problem:
    message = f"{standing.rung} on {standing.device} worked and does not now, clips go on without it: {standing.reason}"
    return Problem(ProblemKind.HARDWARE, standing.rung, message, standing.breaker.remedy)


class _Cameras:
    """The rhythm of each camera, as the catalog tells it; read a little at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._rhythms: dict[str, Rhythm] = {}
        self._read_to: int | None = None
        self._told: dict[str, tuple[float, float]] = {}  # by camera: its last upload, and what would be usual

    def read(self, now: float) -> bool:
        """Read on; whether there is no more to read now."""
        if self._read_to is None:
            self._read_to = max(0, self._catalog.last_id() - _READ_BACK)
        uploads = self._catalog.uploads(self._read_to, _CHUNK)
        for upload in uploads:
            self._read_to = upload.id
            if upload.arrived_at <= now + _DAY_S:
                self._add(upload)
        return len(uploads) < _CHUNK

    def _add(self, upload: Upload) -> None:
        if upload.camera not in self._rhythms and len(self._rhythms) >= _MOST_CAMERAS:
            del self._rhythms[min(self._rhythms, key=lambda camera: self._rhythms[camera].weight)]
        self._rhythms.setdefault(upload.camera, Rhythm()).add(upload.arrived_at)

    def quiet(self, now: float, heard_since: float, known: Mapping[str, Course]) -> list[tuple[Problem, float]]:
        """The cameras that are quiet, each with its last upload. `known`: the open problems, by camera."""
        # What came while the clock was far ahead says nothing of now.
        self._rhythms = {camera: one for camera, one in self._rhythms.items() if one.last <= now + _DAY_S}
        found = []
        for camera, rhythm in self._rhythms.items():
            problem = self._problem(camera, rhythm, now, heard_since, known.get(printable(camera)))
            if problem is not None:
                found.append((problem, rhythm.last))
        # One of which the catalog tells no more was quiet for long before: it stays so until it is given up.
        unseen = known.keys() - {printable(camera) for camera in self._rhythms}
        left = (known[camera] for camera in unseen)
        return found + [(course.problem, course.since) for course in left if now - course.since < GIVEN_UP_S]

    def _problem(
        self, camera: str, rhythm: Rhythm, now: float, heard_since: float, known: Course | None
    ) -> Problem | None:  # fmt: skip
        quiet_s = now - rhythm.last
        if quiet_s >= GIVEN_UP_S:
            return None
        if known is not None and rhythm.last <= known.since:
            return given_up(known.problem, rhythm.last) if quiet_s >= GIVEN_UP_S - _DAY_S else known.problem
        last, usual_s = self._told.get(camera, (0.0, 0.0))
        if last != rhythm.last:
            unusual_s = unusual_pause_s(rhythm, now, heard_since)
            if unusual_s is None:
                return None
            self._told[camera] = (rhythm.last, unusual_s)
            usual_s = unusual_s
        return problem_of(camera, rhythm.last, usual_s)
