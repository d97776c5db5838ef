"""What became of a clip after an accident, in one word of a few: decided from facts, without a look at any disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """From good to bad, as they are told. "Told" is by the log, the queue or the history, and names the clip."""

    WHOLE = "archived whole"
    KEPT_TOLD = "kept, told"
    KEPT_SILENT = "kept, not told"
    STUCK = "stuck"
    BESIDE_TOLD = "kept, with a short archive beside it, told"
    BESIDE_SILENT = "kept, with a short archive beside it, not told"
    SHORT_TOLD = "archived cut short, told"
    SHORT_SILENT = "archived cut short, not told"
    LOST = "lost"


_KEPT = "the uploaded bytes are still there, and nothing passes for their archive"
_BESIDE = "the uploaded bytes are still there, and so is an archive with fewer frames under a final name"
_SHORT = "the uploaded bytes are gone, and an archive with fewer frames stands under a final name"
MEANINGS = {
    Outcome.WHOLE: "every frame of the clip stands in an archive under its final name, and decodes without an error",
    Outcome.KEPT_TOLD: f"{_KEPT}; the log, the queue or the history names the clip",
    Outcome.KEPT_SILENT: f"{_KEPT}; nothing names the clip",
    Outcome.STUCK: "the footage is there, and a good clip that comes later is not archived any more",
    Outcome.BESIDE_TOLD: f"{_BESIDE}; the log, the queue or the history names the clip",
    Outcome.BESIDE_SILENT: f"{_BESIDE}; nothing names the clip",
    Outcome.SHORT_TOLD: f"{_SHORT}; the log, the queue or the history names the clip",
    Outcome.SHORT_SILENT: f"{_SHORT}; nothing names the clip",
    Outcome.LOST: "neither the uploaded bytes nor any frame of them can be found",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of a tree, as `ffprobe` and its SHA-256 tell of it."""

    path: str  # below the directory of the accident
    sha256: str
    frames: int  # that can be decoded; 0 where it is no clip
    codec: str = ""
    clean: bool = True  # decodes without an error
    archive: bool = False  # under a final name where archives stand


@dataclass(frozen=True, slots=True)
class Content:
    """What a camera sent."""

    name: str  # of the file, without its suffix
    sha256: str  # of the bytes as they stood at last
    frames: int  # of the whole clip, as it was recorded; 0 where it is none
    complete: bool = True  # all of it was sent


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one content after an accident."""

    frames: int  # of the whole clip
    original: bool  # its bytes are there, under whatever name
    most: int  # frames of the best of its archives; 0 where there is none
    whole: bool  # that has all frames, and is clean
    told: bool
    goes_on: bool  # a good clip that came later was archived


def outcome(facts: Facts) -> Outcome:
    """The word for it."""
    short = facts.most > 0 and not facts.whole
    if facts.whole:
        return Outcome.WHOLE if facts.goes_on else Outcome.STUCK
    if not facts.original:
        return _worse(short, facts)
    if short:
        return Outcome.BESIDE_TOLD if facts.told else Outcome.BESIDE_SILENT
    if not facts.goes_on:
        return Outcome.STUCK
    return Outcome.KEPT_TOLD if facts.told else Outcome.KEPT_SILENT


def _worse(short: bool, facts: Facts) -> Outcome:
    if not short:
        return Outcome.LOST
    return Outcome.SHORT_TOLD if facts.told else Outcome.SHORT_SILENT


def facts_of(content: Content, files: Iterable[File], others: Iterable[Content], *, told: bool, goes_on: bool) -> Facts:
    """What the trees say of a content; `others` are those that came beside it, whose archives are not its own.

    An archive is taken for that of a content by its name, and by having no more frames than it: no two contents of
    an accident have the same number of them.
    """
    everything = list(files)
    theirs = {other.frames for other in others}
    mine = [
        file for file in everything
        if file.archive and file.path.rpartition("/")[2].startswith(content.name)
        and 0 < file.frames <= content.frames and file.frames not in theirs and file.sha256 != content.sha256
    ]  # fmt: skip
    originals = [file for file in everything if file.sha256 == content.sha256]
    if content.complete and content.frames:
        mine += [file for file in originals if file.archive]  # a copy, byte for byte
    best = max(mine, key=lambda file: file.frames, default=None)
    whole = any(file.frames == content.frames and file.clean for file in mine)
    return Facts(content.frames, bool(originals), 0 if best is None else best.frames, whole, told, goes_on)


def together(outcomes: Iterable[Outcome]) -> str:
    """The words for all clips of an accident: one where they are the same, else each with its number of clips."""
    counted: dict[Outcome, int] = {}
    for each in outcomes:
        counted[each] = counted.get(each, 0) + 1
    if len(counted) == 1:
        return str(next(iter(counted)))
    worst_first = sorted(counted, key=list(Outcome).index, reverse=True)
    return "; ".join(f"{counted[each]} of {sum(counted.values())} {each}" for each in worst_first)
