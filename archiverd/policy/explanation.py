"""Why a path is, or is not, a recording: what a scan would make of it, step by step, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import assert_never

from archiverd.policy.admission import Admitted, Look, Patience, Refused, Wait, admit
from archiverd.policy.model import ClipName, Tree
from archiverd.policy.name_patterns import Misfit, NamePatterns
from archiverd.policy.naming import FileKind, NotAClip, doubts, is_own_at_top


class Answer(StrEnum):
    """What a path is to archiverd."""

    RECORDING = "recording"
    SNAPSHOT = "snapshot"
    WOULD_BE_RECORDING = "would be a recording"  # nothing stands there yet
    WOULD_BE_SNAPSHOT = "would be a snapshot"
    NEITHER = "neither"

    @property
    def is_footage(self) -> bool:
        return self in (Answer.RECORDING, Answer.SNAPSHOT)


class Standing(StrEnum):
    """What stands under a path."""

    FILE = "a regular file"
    DIRECTORY = "a directory"
    SYMLINK = "a symlink"
    SPECIAL = "a FIFO, socket or device"
    NOTHING = "not there"
    UNKNOWN = "out of sight"  # behind a symlink, or in a directory that can't be searched


class Mark(StrEnum):
    """How a step weighs."""

    YES = "yes"
    NO = "no"  # it is no recording, for this
    NOTE = "note"  # it is not decided by this


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at."""

    mark: Mark
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer, and the steps that lead to it."""

    path: str
    answer: Answer
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was found out about one path. What lies in no tree, or in another than the source, needs no more."""

    path: str  # as it was asked for
    source_root: str
    tree: Tree | None  # in which tree's root it lies, the innermost
    place: PurePosixPath  # below that root
    now: float  # seconds since the epoch
    in_state: bool = False  # in the directory of the catalog
    really: str = ""  # its path without symlinks, where it was asked for through one
    above: tuple[Standing, ...] = ()  # the directories between the root and it, as far as they could be followed
    standing: Standing = Standing.NOTHING
    size: int = 0  # bytes
    mtime_ns: int = 0
    keep: PurePosixPath | None = None  # the file that protects it
    keeps: PurePosixPath | None = None  # the recording that it protects
    snapshots: tuple[PurePosixPath, ...] = ()
    belongs_to: PurePosixPath | None = None  # the recording of a snapshot
    look: Look | None = None  # at a clip


def explain(facts: Facts, names: NamePatterns, patience: Patience, snapshot_window_s: float) -> Explanation:
    """What a scan makes of a path, and why."""
    steps = list(_where(facts))
    if facts.tree is not Tree.SOURCE or not facts.place.parts or any(step.mark is Mark.NO for step in steps):
        return Explanation(facts.path, Answer.NEITHER, tuple(steps))
    steps += _way(facts)
    if facts.standing is Standing.DIRECTORY:
        steps.append(_directory(facts.place, names))
        return Explanation(facts.path, Answer.NEITHER, tuple(steps))
    name = names.parse(facts.place)
    kind = names.kind(facts.place)
    steps += [*_name(facts, names, name, kind), _type(facts)]
    if isinstance(name, ClipName) and _may_still_come(facts):
        answer = Answer.WOULD_BE_SNAPSHOT if kind is FileKind.SNAPSHOT else Answer.WOULD_BE_RECORDING
        return Explanation(facts.path, answer, tuple(steps))
    if isinstance(name, NotAClip) or any(step.mark is Mark.NO for step in steps):
        return Explanation(facts.path, Answer.NEITHER, tuple(steps))
    steps += [Step(Mark.NOTE, f"its time is doubtful: {doubt}") for doubt in doubts(name, facts.mtime_ns, facts.now)]
    if kind is FileKind.SNAPSHOT:
        steps.append(_whose(facts, name, snapshot_window_s))
        return Explanation(facts.path, Answer.SNAPSHOT, tuple(steps))
    return Explanation(facts.path, Answer.RECORDING, (*steps, *_recording(facts, patience)))


def _may_still_come(facts: Facts) -> bool:
    """Whether nothing stands there, and nothing is in the way of what would."""
    on_the_way = {Standing.DIRECTORY, Standing.NOTHING}
    return facts.standing is Standing.NOTHING and on_the_way.issuperset(facts.above)


def _where(facts: Facts) -> Iterator[Step]:
    if facts.really:
        yield Step(Mark.NOTE, f"is reached through a symlink; without it: {facts.really}")
    if facts.in_state:
        yield Step(Mark.NO, "lies in the directory of the catalog, which is never a source")
        return
    match facts.tree:
        case None:
            yield Step(Mark.NO, f"lies outside the source tree {facts.source_root}")
        case Tree.ARCHIVE | Tree.TRASH:
            yield Step(Mark.NO, f"lies in the {facts.tree} tree, which is never a source, also inside the source tree")
        case Tree.SOURCE if not facts.place.parts:
            yield Step(Mark.NOTE, "is the source tree itself")
        case Tree.SOURCE if is_own_at_top(facts.place.parts[0]):
            yield Step(Mark.NO, f"{facts.place.parts[0]} at the top of a tree is archiverd's own, and never a source")
        case Tree.SOURCE:
            yield Step(Mark.YES, f"lies in the source tree {facts.source_root}, as {facts.place}")
        case unreachable:
            assert_never(unreachable)


def _way(facts: Facts) -> Iterator[Step]:
    """Each directory on the way has to be one."""
    for depth, standing in enumerate(facts.above, 1):
        where = PurePosixPath(*facts.place.parts[:depth])
        if standing is Standing.SYMLINK:
            yield Step(Mark.NO, f"{where} is a symlink, and none is followed below the root")
        elif standing is not Standing.DIRECTORY:
            yield Step(Mark.NO, f"{where} is {standing}")


def _directory(place: PurePosixPath, names: NamePatterns) -> Step:
    folder = names.folder(place.parts)
    if folder is None:
        misfits = "; ".join(_misfit_words(place, misfit) for misfit in names.misfits(place / "*.mp4"))
        return Step(Mark.NO, f"is a directory that no pattern fits, and is not looked into: {misfits}")
    if folder.holds_files:
        return Step(Mark.NOTE, "is a directory in which recordings may stand")
    return Step(Mark.NOTE, "is a directory below which recordings may stand, and not in itself")


def _name(facts: Facts, names: NamePatterns, name: ClipName | NotAClip, kind: FileKind) -> Iterator[Step]:
    """How the path stands to each element of `names`, and what it says."""
    place = facts.place
    if facts.keeps is not None or kind is FileKind.KEEP:
        what = "a recording that is not there" if facts.keeps is None else str(facts.keeps)
        yield Step(Mark.NO, f"is named as the file that protects {what}")
        return
    if kind in (FileKind.PART, FileKind.GONE, FileKind.MARKER):
        yield Step(Mark.NO, "has a name that archiverd gives to files of its own")
        return
    misfits = {misfit.pattern.element: misfit for misfit in names.misfits(place)}
    for element in names.elements:
        misfit = misfits.get(element)
        if misfit is None:
            yield Step(Mark.YES, f"{element}: fits")
        else:
            yield Step(Mark.NOTE, _misfit_words(place, misfit))
    if isinstance(name, NotAClip):
        fits_none = "no pattern of `names` fits it" if len(misfits) == len(names.elements) else name.reason
        yield Step(Mark.NO, fits_none)
        return
    copy = f", {name.copy} by archiverd's own count of this name" if name.copy > 1 else ""
    yield Step(Mark.YES, f"its path says: camera {name.camera}, taken at {name.taken_at}{copy}")


def _misfit_words(place: PurePosixPath, misfit: Misfit) -> str:
    number = misfit.component
    component = f'component {number + 1}, "{place.parts[number]}",' if number < len(place.parts) else "it"
    expected = f": {misfit.expected}" if misfit.expected else ""
    return f"{misfit.pattern.element}: {component} {misfit.reason}{expected}"


def _type(facts: Facts) -> Step:
    match facts.standing:
        case Standing.FILE:
            return Step(Mark.YES, f"is a regular file of {facts.size} bytes")
        case Standing.SYMLINK:
            return Step(Mark.NO, "is a symlink, and none is followed")
        case other:
            return Step(Mark.NO, f"is {other}")


def _whose(facts: Facts, name: ClipName, window_s: float) -> Step:
    if facts.belongs_to is not None:
        return Step(Mark.YES, f"belongs to {facts.belongs_to}, and goes with it")
    return Step(
        Mark.NOTE, f"is an orphan: no recording of {name.camera} began within {window_s:.0f} s; it is left alone"
    )


def _recording(facts: Facts, patience: Patience) -> Iterator[Step]:
    for snapshot in facts.snapshots:
        yield Step(Mark.NOTE, f"its snapshot is {snapshot}")
    if facts.keep is not None:
        yield Step(Mark.NOTE, f"is protected by {facts.keep}: it is archived, and its source stays")
    if facts.look is None:
        yield Step(Mark.NOTE, "can't be read: no run can archive it")
        return
    match admit(facts.look, patience):
        case Admitted():
            yield Step(Mark.YES, "is whole, quiet, and nobody is seen to write it: a run takes it")
        case Wait(reason, for_s):
            yield Step(Mark.NOTE, f"a run leaves it for now: {reason}; to be looked at again in {for_s:.0f} s")
        case Refused(reason):
            yield Step(Mark.NOTE, f"a run quarantines it, and it stays where it is: {reason}")
        case unreachable:
            assert_never(unreachable)
