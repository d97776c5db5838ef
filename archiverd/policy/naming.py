"""Names: what the name of an archive says, how archiverd names its own files, and how a name is shown.

The canonical name of a clip is `[REO_]<camera>_<YYYYMMDDHHMMSS>[~N].mp4`: every archive has one, whatever its source
is called (`name_patterns`), and Reolink cameras upload under such names. Camera names hold spaces, underscores and
dots, so that names are read from the right. `~N` (N of 2 or more) is archiverd's own mark on a file whose name was
taken by other content.

Names that are not UTF-8 are held as Python holds them (`surrogateescape`).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.policy.model import ClipName

MARKER_NAME = ".archiverd-root"
NAME_MAX_BYTES = 255  # the longest file name of ext4, xfs, btrfs and tmpfs
_MOST_BYTES = 4  # of one character in UTF-8
RETIRED = "archived"  # the directory at the top of the trash where archives go that were made anew
CANONICAL_STEM = r"(?:REO_)?(?P<camera>.+)_(?P<stamp>[0-9]{14})"

# What archiverd itself puts at the top of a tree: marker, state, archive, trash. The log comes with its rotations.
_OWN_AT_TOP = frozenset({MARKER_NAME, ".archiverd", "archived", ".deleted"})
_OWN_LOG = "archiver.log"

_OWN_PREFIX = ".archiverd-"  # of all that archiverd itself puts beside footage

_CLIP_ENDING = ".mp4"
_SNAPSHOT_ENDING = ".jpg"
_KEEP_ENDING = ".keep"
_ENDINGS = frozenset({_CLIP_ENDING, _SNAPSHOT_ENDING})
_PREFIX = "REO_"
_FIRST_YEAR = 2005  # no camera that uploads such names is older; clocks that lost their battery say 1970 or 2000
_TRUSTED_SPAN = timedelta(days=1)  # covers time zones, summer time and a late upload

_COPY = r"(?:[2-9]|[1-9][0-9]{1,8})"
_CANONICAL = re.compile(CANONICAL_STEM, re.DOTALL)
_AS_UPLOADED = re.compile(rf"{CANONICAL_STEM}\.(?:mp4|jpg)", re.DOTALL)  # without a mark: most names of a tree
_COPY_AT_END = re.compile(rf"~({_COPY})\Z")
_STAMP_AT_END = re.compile(r"(.*)(_[0-9]{14})", re.DOTALL)
_PART = re.compile(r"\.archiverd-([0-9A-Za-z][0-9A-Za-z-]*)-([0-9A-Za-z]+)\.part")
_GONE = re.compile(r"\.archiverd-([0-9A-Za-z]+)\.gone")


class FileKind(StrEnum):
    """What a file is, by its name alone."""

    CLIP = "clip"
    SNAPSHOT = "snapshot"
    KEEP = "keep"  # stands beside a clip and protects it
    PART = "part"  # output being written
    GONE = "gone"  # a source being disposed of
    MARKER = "marker"  # names the catalog a root belongs to
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class NotAClip:
    """Why a name is not that of a clip or snapshot, in words that follow on "not a clip: "."""

    reason: str
    impossible_date: bool = False  # the form is right, the stamp is no moment in time


@dataclass(frozen=True, slots=True)
class PartName:
    """Whose output a `.part` is."""

    catalog: str
    job: str


NO_ENDING = NotAClip("its name does not end in .mp4 or .jpg")
_NOT_CANONICAL = NotAClip("its name is not <camera>_<YYYYMMDDHHMMSS>")


def parse_clip_name(filename: str) -> ClipName | NotAClip:
    """What a canonical name of a clip or snapshot says; the extension counts in any case, the rest exactly."""
    plain = _AS_UPLOADED.fullmatch(filename)
    if plain is not None:
        camera, stamp = plain.groups()
        taken_at = _moment(stamp)
        return _impossible(stamp) if taken_at is None else ClipName(camera, taken_at)
    parts = stem_and_copy(filename)
    if parts is None:
        return NO_ENDING
    match = _CANONICAL.fullmatch(parts[0])
    if match is None:
        return _NOT_CANONICAL
    return name_at(match["camera"], match["stamp"], parts[1])


def stem_and_copy(filename: str) -> tuple[str, int] | None:
    """The name of a clip or snapshot without extension and mark, and the mark's number; None for other extensions."""
    if filename[-4:].lower() not in _ENDINGS:
        return None
    stem = filename[:-4]
    mark = _COPY_AT_END.search(stem) if "~" in stem else None
    return (stem, 1) if mark is None else (stem[: mark.start()], int(mark[1]))


def name_at(camera: str, stamp: str, copy: int) -> ClipName | NotAClip:
    """The name of this camera at this stamp, which is to be 14 digits and a moment in time."""
    taken_at = moment(stamp)
    return _impossible(stamp) if taken_at is None else ClipName(camera, taken_at, copy)


def _impossible(stamp: str) -> NotAClip:
    return NotAClip(f"impossible date {stamp}", impossible_date=True)


def moment(stamp: str) -> datetime | None:
    """The moment of a stamp YYYYMMDDHHMMSS; None where it is none."""
    return _moment(stamp) if len(stamp) == 14 and stamp.isascii() and stamp.isdigit() else None


def _moment(stamp: str) -> datetime | None:
    """The same of 14 ASCII digits."""
    try:
        # Far quicker than strptime. Later Pythons read the hour 24 as the next day, which no camera means.
        return datetime.fromisoformat(f"{stamp[:8]}T{stamp[8:]}") if stamp[8:10] != "24" else None
    except ValueError:
        return None


def is_snapshot_name(filename: str) -> bool:
    """Whether a name that says camera and time is a snapshot's."""
    return filename[-1] in "gG"


def is_keep_name(filename: str) -> bool:
    """Whether the file protects what has its stem, if anything has."""
    return filename[-5:].lower() == _KEEP_ENDING


def may_matter(filename: str) -> bool:
    """Whether a file of this name may be a clip, a snapshot or a `.keep`, wherever it stands, and is not ours."""
    if filename.startswith(_OWN_PREFIX):
        return False
    return filename[-4:].lower() in _ENDINGS or is_keep_name(filename)


def is_own_at_top(filename: str) -> bool:
    """Whether archiverd itself puts a file or directory of this name at the top of a tree."""
    return filename in _OWN_AT_TOP or filename.startswith(_OWN_LOG)


def is_own_at_top_of_trash(filename: str) -> bool:
    """The same of the trash, where archives lie in a directory of that name."""
    return filename != RETIRED and is_own_at_top(filename)


def kind_of(filename: str, parse: Callable[[str], ClipName | NotAClip] = parse_clip_name) -> FileKind:
    """What a file is, by its name alone, where `parse` reads the names of clips.

    A `.keep` counts only with the stem of a clip, its extension in any case.
    """
    if isinstance(parse(filename), ClipName):
        return FileKind.SNAPSHOT if is_snapshot_name(filename) else FileKind.CLIP
    if is_keep_name(filename) and isinstance(parse(f"{filename[:-5]}{_CLIP_ENDING}"), ClipName):
        return FileKind.KEEP
    if parse_part_name(filename) is not None:
        return FileKind.PART
    if parse_gone_name(filename) is not None:
        return FileKind.GONE
    return FileKind.MARKER if filename == MARKER_NAME else FileKind.FOREIGN


def part_name(catalog: str, job: str) -> str:
    """The name under which a job writes its output: `.archiverd-<catalog>-<job>.part`.

    It holds nothing of the clip's name, which may be too long to take a prefix.

    Raises: ValueError where the ids do not fit: `job` ASCII letters and digits, `catalog` also hyphens.
    """
    return _own_name(f".archiverd-{catalog}-{job}.part", _PART, catalog, job)


def parse_part_name(filename: str) -> PartName | None:
    """Whose output the file is, or None where it is no `.part` of archiverd's."""
    match = _PART.fullmatch(filename)
    return PartName(match[1], match[2]) if match else None


def gone_name(job: str) -> str:
    """The name a source takes beside its place while it is disposed of: `.archiverd-<job>.gone`.

    Raises: ValueError where `job` is not of ASCII letters and digits.
    """
    return _own_name(f".archiverd-{job}.gone", _GONE, job)


def parse_gone_name(filename: str) -> str | None:
    """The job that disposes of the file, or None where it is no `.gone` of archiverd's."""
    match = _GONE.fullmatch(filename)
    return match[1] if match else None


def is_leftover(filename: str) -> bool:
    """Whether a file is a `.part` or `.gone` of archiverd's, by its name alone."""
    return _PART.fullmatch(filename) is not None or _GONE.fullmatch(filename) is not None


def _own_name(name: str, form: re.Pattern[str], *ids: str) -> str:
    match = form.fullmatch(name)
    if match is None or match.groups() != ids or len(name) > NAME_MAX_BYTES:
        raise ValueError(f"ids that cannot stand in a file name: {ids}")
    return name


def keep_name(filename: str) -> str:
    """The name of the file that protects a clip: `<stem>.keep`, shortened as `numbered` does where it is too long."""
    return _fitted(filename.rpartition(".")[0], _KEEP_ENDING)


def archive_path(name: ClipName, filename: str) -> PurePosixPath:
    """Where the archive of a clip belongs below the archive root: `YYYY/MM/DD/<stem>.mp4`, by the name's date.

    The stem of a source whose own name says camera and time in the canonical form stays as it is, a `~2` included;
    any other source gets a canonical name. One that is too long is shortened as `numbered` does.
    """
    day = name.taken_at
    stem = _archived_stem(name, filename)
    return PurePosixPath(f"{day.year:04}/{day.month:02}/{day.day:02}/{_fitted(stem, _CLIP_ENDING)}")


def archived_snapshot_name(name: ClipName, filename: str) -> str:
    """What a snapshot is called beside an archive: `<stem>.jpg`, its stem by the rule of `archive_path`."""
    return _fitted(_archived_stem(name, filename), _SNAPSHOT_ENDING)


def _archived_stem(name: ClipName, filename: str) -> str:
    if parse_clip_name(filename) == name:
        return filename.rpartition(".")[0]
    # What begins with the optional prefix needs it once more, or it would be taken for it when the name is read.
    prefix = _PREFIX if name.camera.startswith(_PREFIX) and name.camera != _PREFIX else ""
    mark = f"~{name.copy}" if name.copy > 1 else ""
    taken_at = name.taken_at
    return f"{prefix}{name.camera}_{taken_at.year:04}{taken_at:%m%d%H%M%S}{mark}"


def numbered(path: PurePosixPath, n: int) -> PurePosixPath:
    """The `n`-th name for a file whose own is taken: `stem~n.ext`; a stem that ends in a mark gets this one instead.

    A name over 255 bytes is shortened: whole characters go from the end of the camera's name, so that
    the stamp and the mark stay readable. The shortened name then reads as of a camera of that shorter name.

    Raises: ValueError where n is not 2 to 999,999,999, or nothing of the camera's name would be left.
    """
    if not 2 <= n <= 999_999_999:
        raise ValueError(f"not the number of a further content: {n}")
    stem, extension = path.stem, path.suffix
    return path.with_name(_fitted(_COPY_AT_END.sub("", stem), f"~{n}{extension}"))


def _fitted(stem: str, ending: str) -> str:
    """Stem and ending as one name of at most 255 bytes."""
    if _MOST_BYTES * (len(stem) + len(ending)) <= NAME_MAX_BYTES:  # asked for thousands of names at a time
        return stem + ending
    room = NAME_MAX_BYTES - len(os.fsencode(ending))
    if len(os.fsencode(stem)) <= room:
        return stem + ending
    # A stem already marked (the keep of a `~2`) is cut before its stamp too.
    mark = _COPY_AT_END.search(stem)
    tail = mark[0] if mark else ""
    stamped = _STAMP_AT_END.fullmatch(stem.removesuffix(tail))
    head, stamp = stamped.groups() if stamped else (stem.removesuffix(tail), "")
    room -= len(stamp) + len(tail)
    while len(os.fsencode(head)) > max(room, 0):
        head = head[:-1]
    if not head:
        raise ValueError(f"no room for a name that ends in {stamp}{tail}{ending}")
    return f"{head}{stamp}{tail}{ending}"


def doubts(name: ClipName, mtime_ns: int, now: float) -> tuple[str, ...]:
    """Why the time in a name is not to be trusted, in words for people; empty where nothing speaks against it.

    `now` is seconds since the epoch, `mtime_ns` the file's own time. Names carry local time without zone, so that
    both are compared in the local time of this machine. An hour that summer time repeats is no doubt.
    """
    found = []
    taken_at = name.taken_at
    if taken_at - _local(now) > _TRUSTED_SPAN:
        found.append(f"its name says {taken_at}, more than a day in the future")
    if taken_at.year < _FIRST_YEAR:
        found.append(f"its name says {taken_at}, before {_FIRST_YEAR}")
    try:
        written_at = datetime.fromtimestamp(mtime_ns // 1_000_000_000)
    except (ValueError, OverflowError, OSError):  # beyond the years Python or the C library can tell
        return (*found, "the time the file was last written is no date")
    if abs(written_at - taken_at) > _TRUSTED_SPAN:
        found.append(f"its name says {taken_at}, but it was last written {written_at}")
    return tuple(found)


@functools.lru_cache(maxsize=1)
def _local(now: float) -> datetime:
    """A moment by the clock on the wall; asked of the same one for each file of a scan."""
    return datetime.fromtimestamp(now)


def printable(path: str | os.PathLike[str]) -> str:
    """The path as text that is safe on a terminal and in a log: control and undecodable characters escaped."""
    text = os.fspath(path)
    if text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
