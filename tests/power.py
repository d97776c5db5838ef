"""Power cuts: what stands on disks of which only that is left which had reached them by then.

The disks are images behind loop devices, on a `tests.recorder`, which writes down what the kernel writes to them, and
when it has them flush their caches. What is dirty in the page cache of a file system is not among it. After the power
came back a disk holds all that it had told to be flushed; of what was written to it since, all, nothing, or any part.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from tests.images import KINDS, Kind, format_image, mount_image, unmount
from tests.program import CHECKOUT
from tests.recorder import ENTRY, FLUSH
from tests.screen import until

EVERY_POINT = bool(os.environ.get("ARCHIVERD_EVERY_POINT"))
SEED = int(os.environ.get("ARCHIVERD_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
# What can be recorded here: where images can be mounted, and the kernel has FUSE.
DURABLE = tuple(kind for kind in KINDS if kind is not Kind.TMPFS) if os.access("/dev/fuse", os.W_OK) else ()

_SECTOR = 4096  # bytes that a disk writes whole


class Kept(StrEnum):
    """What a disk keeps of its cache, of what it was not told to flush."""

    ALL = "all"
    NOTHING = "nothing"
    SOME = "some"


@dataclass(frozen=True, slots=True)
class Cut:
    """The power is cut: `at` is a place in the record, an entry that is not reached. `seed` chooses what is kept."""

    at: int
    kept: Kept
    seed: int = 0

    def __str__(self) -> str:
        return f"cut at {self.at}, {self.kept} of the caches kept, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A write to a disk; a flush of its cache where `size` is 0."""

    disk: int
    offset: int
    size: int
    data_at: int  # in the record

    def sectors(self) -> Iterator[_Entry]:
        for start in range(0, self.size, _SECTOR):
            yield replace(
                self, offset=self.offset + start, size=min(_SECTOR, self.size - start), data_at=self.data_at + start
            )


class Disks:
    """File systems, mounted each at its place, of which every write is recorded.

    Used in this order: `record`, within it what is to be cut short; then `cuts`, and `after` for each.
    """

    def __init__(self, base: Path, places: Sequence[tuple[Kind, Path]]) -> None:
        self.places = tuple(places)
        self._images, self._fuse, self._first = base / "images", base / "fuse", base / "first"
        self._record = base / "record"
        self._entries: list[_Entry] = []
        self._begin = 0
        self.end = 0  # the place in the record to which power cuts are looked at

    @contextmanager
    def recording(self) -> Iterator[None]:
        """With fresh file systems, mounted and recorded."""
        self._images.mkdir()
        self._fuse.mkdir()
        for number, (kind, place) in enumerate(self.places):
            format_image(kind, self._image(number))
            place.mkdir(parents=True, exist_ok=True)
        command = (sys.executable, "-m", "tests.recorder", self._fuse, self._images, self._record)
        with ExitStack() as stack:
            process = stack.enter_context(subprocess.Popen(command, cwd=CHECKOUT))
            until(lambda: os.path.ismount(self._fuse) or process.poll() is not None)
            stack.callback(unmount, self._fuse)  # which ends it
            for number, (kind, place) in enumerate(self.places):
                mount_image(kind, self._fuse / str(number), place)
                stack.callback(unmount, place)
            yield
        self._entries = list(self._read())
        self.end = self.end or len(self._entries)

    def begin(self) -> None:
        """From now on the power may fail. All that was written before is flushed."""
        for _, place in self.places:
            subprocess.run(("sync", "--file-system", place), check=True)
        self._begin = self._recorded_bytes()
        self._first.mkdir()
        for number in range(len(self.places)):
            _copy(self._image(number), self._first / str(number))

    def told(self) -> None:
        """What was begun is told as done: the last moment to look at. What unmounting writes comes after it."""
        self.end = self.now()

    def now(self) -> int:
        """A place in the record: what was written by now, and what was flushed, is before it."""
        return sum(1 for _ in self._read())

    def cuts(self, every: int = 1) -> list[Cut]:
        """The moments right before a cache is flushed, and the end: each with all, nothing and some of it kept.

        What is the same as one before is left out; and so are, by chance, of `every` so many all but one, and those at
        the end, unless ARCHIVERD_EVERY_POINT is set. The seed of the chance is printed, and can be given as
        ARCHIVERD_TEST_SEED.
        """
        found, seen = [], set()
        for at in [*(at for at, entry in enumerate(self._entries[: self.end]) if not entry.size), self.end]:
            for kept in Kept:
                cut = Cut(at, kept, SEED + at)
                state = tuple(self._written(cut))
                if state not in seen or (at == self.end and kept is Kept.NOTHING):
                    seen.add(state)
                    found.append(cut)
        chosen = found
        if not EVERY_POINT:
            last = [cut for cut in found if cut.at == self.end]
            before = found[: -len(last)]
            chosen = before[SEED % min(every, len(before)) :: every] + last
        disks = "+".join(kind for kind, _ in self.places)
        print(f"ARCHIVERD_TEST_SEED={SEED}: {len(chosen)} of {len(found)} power cuts, on {disks}")
        return chosen

    @contextmanager
    def after(self, cut: Cut) -> Iterator[None]:
        """With the file systems mounted at their places as they are once the power is there again."""
        with ExitStack() as stack:
            # Where a flush costs nothing: nothing is to be recorded any more.
            copies = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="archiverd-test-")))
            handles = []
            for number in range(len(self.places)):
                _copy(self._first / str(number), copies / str(number))
                handles.append(os.open(copies / str(number), os.O_WRONLY))
            with self._record.open("rb") as record:
                for entry in self._written(cut):
                    record.seek(entry.data_at)
                    os.pwrite(handles[entry.disk], record.read(entry.size), entry.offset)
            for handle in handles:
                os.close(handle)
            for number, (kind, place) in enumerate(self.places):
                mount_image(kind, copies / str(number), place)
                stack.callback(unmount, place)
            yield

    def _written(self, cut: Cut) -> Iterator[_Entry]:
        """What the disks have written after a power cut, in order."""
        chance = random.Random(cut.seed)
        flushed = dict.fromkeys(range(len(self.places)), -1)
        for number, entry in enumerate(self._entries[: cut.at]):
            if not entry.size:
                flushed[entry.disk] = number
        kept = dict.fromkeys(flushed, cut.kept)
        if cut.kept is Kept.SOME and len(kept) > 1:
            kept = {disk: chance.choice([Kept.ALL, Kept.NOTHING, Kept.SOME, Kept.SOME]) for disk in kept}
        for number, entry in enumerate(self._entries[: cut.at]):
            if number <= flushed[entry.disk] or kept[entry.disk] is Kept.ALL:
                yield entry
            elif kept[entry.disk] is Kept.SOME:
                yield from (sector for sector in entry.sectors() if chance.random() < 0.5)

    def _read(self) -> Iterator[_Entry]:
        position, end = self._begin, self._recorded_bytes()
        with self._record.open("rb") as record:
            while position < end:
                record.seek(position)
                disk, offset, size = ENTRY.unpack(record.read(ENTRY.size))
                position += ENTRY.size
                yield _Entry(disk & ~FLUSH, offset, size, position)
                position += size

    def _recorded_bytes(self) -> int:
        with suppress(FileNotFoundError):
            return self._record.stat().st_size
        return 0

    def _image(self, number: int) -> Path:
        return self._images / str(number)


@contextmanager
def disks(*places: tuple[Kind, Path]) -> Iterator[Disks]:
    """Disks whose images lie in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="archiverd-test-") as name:
        yield Disks(Path(name), places)


def _copy(image: Path, to: Path) -> None:
    subprocess.run(("cp", "--reflink=auto", "--sparse=always", image, to), check=True)
