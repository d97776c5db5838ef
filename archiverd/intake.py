"""Intake: what was seen in the source tree becomes rows of the catalog."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from archiverd.errors import ArchiverError, Interrupted
from archiverd.policy import naming
from archiverd.policy.arrival import NEW, Hasten, Nothing, Offer, Settling, TakeUpAgain, missed, on_sight
from archiverd.policy.model import FoundFile, FoundRecording, Recording, Sighting, State, Tree
from archiverd.policy.pairing import Near
from archiverd.policy.planning import Manner, follows_after_s
from archiverd.service.inbox import Inbox, Seen
from archiverd.storage.catalog import Catalog, ClaimLostError
from archiverd.storage.discovery import FileDiscovery
from archiverd.storage.file_manager import FileManager

log = logging.getLogger(__name__)

BATCH = 2000  # paths that are looked at, and entered, in one go
_FOUND = 10_000  # clips that are entered as they were found
_UNSEEN_S = 60.0  # between two looks into a directory that can't be read; at first, and at the longest
_LONGEST_UNSEEN_S = 3600.0
_ARCHIVED = (State.ARCHIVED, State.DONE)


@dataclass(frozen=True, slots=True)
class SourceRoot:
    """Whether what is missing in the source tree is gone."""

    verify: Callable[[], None]  # raises ResourceError where it is not the root that was locked
    is_known: bool  # it is the one the catalog began with: in another one nothing follows from what is missing


class Intake:
    """Empties the inbox into the catalog. Belongs to the thread that owns the catalog connection."""

    def __init__(
        self, catalog: Catalog, files: FileManager, finder: FileDiscovery, inbox: Inbox, manner: Manner,
        settling: Settling, *, root: SourceRoot, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._files = files
        self._finder = finder
        self._inbox = inbox
        self._manner = manner
        self._settling = settling
        self._clock = clock
        self._root = root
        self._unseen: dict[PurePosixPath, float] = {}  # directories that can't be read, and the latest pause of each

    def take(self) -> bool:
        """Enter some of what waits in the inbox; tells whether there was anything.

        Raises: ResourceError where the catalog can't be written; what was taken is then in the inbox again.
        """
        now = self._clock()
        seen, found = self._inbox.take(BATCH), self._inbox.take_found(_FOUND)
        if not (seen or found):
            return False
        try:
            self._enter_found(found, now)
            self._enter(seen, now)
        except (ArchiverError, Interrupted):
            for one in seen:
                self._inbox.put(one.path, closed=one.closed, directory=one.directory)
            self._inbox.put_found(found)  # what was entered of them is known by the next time
            raise
        except Exception:  # one of them can't be looked at: the others can
            log.debug("a batch could not be entered as one", exc_info=True)
            for clip in found:
                self._inbox.put(clip.path)
            for one in seen:
                self._enter_alone(one, now)
        return True

    def _enter_alone(self, seen: Seen, now: float) -> None:
        try:
            self._enter([seen], now)
        except ArchiverError:
            self._inbox.put(seen.path, closed=seen.closed, directory=seen.directory)
            raise
        except OSError as error:
            log.warning("%s: can't be looked at: %s", naming.printable(seen.path), error.strerror)
        except Exception:  # a bug of ours must not keep the others from being seen
            log.exception("%s: internal error; it is passed over till the next scan", naming.printable(seen.path))

    def look_again(self, row: Recording) -> Recording | None:
        """A row that is due, with the snapshots that stand in the tree by now; None where it is not due any more.

        Where its source is another by now, or is gone, that is entered.
        """
        if row.state is State.ARCHIVED:
            return row
        sighting = self._look([row.path])
        clip = next(iter(sighting.clips), None)
        if clip is None or clip.fingerprint != row.fingerprint:
            self._follow(row, sighting)
            return None
        self._unseen.pop(row.path.parent, None)
        return self._with_snapshots(row, clip)

    def with_snapshots(self, row: Recording) -> Recording:
        """The row of a clip that stands, with the snapshots that stand in the tree by now and belong to it."""
        clip = next(iter(self._finder.look([row.path]).clips), None)
        return row if clip is None or clip.fingerprint != row.fingerprint else self._with_snapshots(row, clip)

    def _with_snapshots(self, row: Recording, clip: FoundFile) -> Recording:
        theirs = self._finder.pairs([clip], self._done_near([clip])).by_clip.get(clip.path, ())
        known = {(snapshot.path, snapshot.fingerprint) for snapshot in row.snapshots}
        fresh = [snapshot for snapshot in theirs if (snapshot.path, snapshot.fingerprint) not in known]
        return self._catalog.attach(row, fresh) if fresh else row

    def _follow(self, row: Recording, sighting: Sighting) -> None:
        """Enter what stands in the place of a row that was due; where that can't be told, look again later."""
        now = self._clock()
        self._enter_clips({row.path: False}, sighting, now)
        row = self._catalog.reload(row)
        if row.state is not State.WAITING:
            return
        if sighting.clips:
            if row.fingerprint != sighting.clips[0].fingerprint:  # of that all is done that is to be done
                self._gone(row, now, "another content stands at its path")
        elif row.path in sighting.missing:  # and its root is another one, so that says nothing
            self._catalog.make_due(row, now + _LONGEST_UNSEEN_S)
        else:
            self._put_off_all_in(row.path.parent, now)

    def _put_off_all_in(self, directory: PurePosixPath, now: float) -> None:
        """Of what is due in a directory that can't be read nothing is due for a while, each time a longer one."""
        pause_s = min(max(_UNSEEN_S, 2 * self._unseen.get(directory, 0.0)), _LONGEST_UNSEEN_S)
        self._unseen[directory] = pause_s
        files = self._catalog.put_off(directory, now, now + pause_s)
        log.warning(
            "%s: can't be read, and the %d recordings that are due there wait for %.0f s", naming.printable(directory),
            files, pause_s,
        )  # fmt: skip

    def _look(self, paths: Collection[PurePosixPath]) -> Sighting:
        """What stands there now. What is missing is so in the root that was locked: it was there before and after."""
        self._root.verify()
        sighting = self._finder.look(paths)
        self._root.verify()
        return sighting

    # -- one batch ----------------------------------------------------------------------------------------

    def _enter_found(self, found: Sequence[FoundFile], now: float) -> None:
        """Enter clips that a scan found unknown. They are looked at when their turn comes."""
        if found:
            self._root.verify()
            due = ((clip, self._settling.due(clip, now, closed=False)) for clip in found)
            for clip in self._catalog.enter_found(list(due), NEW, now):
                self._inbox.put(clip.path)

    def _enter(self, seen: Collection[Seen], now: float) -> None:
        for one in seen:
            if one.directory:  # what it holds comes when its turn comes, in batches like all else
                self._look_into(one.path)
        closed = {one.path: one.closed for one in seen if not one.directory}
        if not closed:
            return
        sighting = self._look(closed)
        self._enter_clips(closed, sighting, now)
        if sighting.snapshots:
            self._enter_snapshots(sighting.snapshots, now)

    def _look_into(self, directory: PurePosixPath) -> None:
        """Have all that stands in and below a directory that came whole looked at."""
        sighting = self._finder.look((), [directory])
        for file in (*sighting.clips, *sighting.snapshots):
            self._inbox.put(file.path)

    def _enter_clips(self, closed: Mapping[PurePosixPath, bool], sighting: Sighting, now: float) -> None:
        offers = []
        for clip in sighting.clips:
            rows = self._catalog.standing_at(clip.path)
            protected = any(row.state in _ARCHIVED for row in rows) and self._is_protected(clip)
            match on_sight(
                clip, rows, self._settling, now, closed=closed.get(clip.path, False), protected=protected
            ):  # fmt: skip
                case Offer(reason, due):
                    offers.append((FoundRecording(clip), reason, due))
                case Hasten(row, due):
                    self._catalog.make_due(row, due)
                case TakeUpAgain(row):
                    self._take_up_again(row, "its source stands again", now)
                case Nothing():
                    pass
        if offers:
            self._catalog.offer_all(offers, now)
        for path in sighting.missing if self._root.is_known else ():
            for row in missed(self._catalog.standing_at(path)):
                self._gone(row, now)

    def _is_protected(self, clip: FoundFile) -> bool:
        return self._files.keep_beside(Tree.SOURCE, clip.path) is not None

    def _gone(self, row: Recording, now: float, reason: str = "the source is not there any more") -> None:
        try:
            self._catalog.gone(row, reason, now)
        except ClaimLostError as error:  # somebody has asked something of it a moment ago
            log.debug("%s", error)

    def _take_up_again(self, row: Recording, reason: str, now: float) -> None:
        try:
            self._catalog.take_up_again(row, reason, now)
        except ClaimLostError as error:
            log.debug("%s", error)

    def _done_near(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        """The clips that were let go of and may have a say in what belongs to these."""
        spans = Near(files, self._manner.snapshot_window_s).spans
        cameras = {file.name.camera for file in files}
        return [clip for first, last in spans for clip in self._catalog.done_between(first, last, cameras)]

    def _enter_snapshots(self, snapshots: Sequence[FoundFile], now: float) -> None:
        """Have them follow a recording that is done with; what stands beside a clip goes with that."""
        done = self._done_near(snapshots)
        if not done:
            return
        for owner, theirs in self._finder.pairs(snapshots, done).by_clip.items():
            row = next((row for row in self._catalog.standing_at(owner) if row.state is State.DONE), None)
            if row is not None:
                self._follow_up(row, theirs, now)

    def _follow_up(self, row: Recording, snapshots: Sequence[FoundFile], now: float) -> None:
        """Let go of snapshots that came late, once they are old enough; the scanner tells of them again then."""
        old_at = now - follows_after_s(self._manner.patience.settle_s)
        settled = [snapshot for snapshot in snapshots if snapshot.fingerprint.mtime_ns / 1e9 <= old_at]
        if settled:
            self._take_up_again(self._catalog.attach(row, settled), "its snapshot came later", now)
