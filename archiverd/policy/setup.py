"""The questions that make a configuration: what is suggested and why, what is no answer, what is written.

Values in, values out: the looking is `archiverd/survey.py`, the asking `archiverd/dialogue.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.policy.machine import FileSystem, RenderNode, Survey, Uploads, file_system_of, places_for_files
from archiverd.policy.naming import printable

TRASH = "trash"
DELETE = "delete"
NO_GROUP = "none"
STOP = "stop"

_MONTH = 30  # days: for how long things stay in the trash by default

_OTHER_MAKES = (
    " Only Reolink's layout was looked for: other makes are a matter of `names` (docs/guide/cameras.md), "
    "and `archiverd discover` shows what is found by them."
)
_DEFAULT_INPUT = PurePosixPath("/camera")


class Key(StrEnum):
    """What is asked, by the key of the configuration it becomes."""

    DIRECTORY = "directory"
    OUTPUT = "output"
    DELETE = "delete"
    TRASH_ROOT = "trash_root"
    AGE = "age"
    WHEN_FULL = "when_full"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Question:
    """One question, with the answer that was found; `suggestion` is empty where none was."""

    key: Key
    asks: str
    suggestion: str
    why: str  # the reason of the suggestion, one sentence


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, as text, and why it was."""

    value: str
    why: str


Answers = Mapping[Key, Answer]


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the file to be written."""

    key: Key
    value: str | bool
    why: str
    is_default: bool


# -- what is asked ----------------------------------------------------------------------------------------


def where_cameras_upload(survey: Survey) -> Question:
    """The tree with the newest clips; of several the one that takes in most."""
    asks = "Where do the cameras upload?"
    candidates = [uploads for uploads in survey.uploads if uploads.days and _is_text(str(uploads.path))]
    if candidates:
        best = max(candidates, key=lambda uploads: (uploads.days[0].date, uploads.days[0].size, str(uploads.path)))
        return Question(Key.DIRECTORY, asks, str(best.path), f"The newest clips lie in {best.path}.")
    nothing = "No clips below YYYY/MM/DD were found on the disks of this machine"
    if survey.camera is not None:
        why = f"{nothing}; {survey.camera} is there, and is the default."
        return Question(Key.DIRECTORY, asks, str(survey.camera), why)
    return Question(Key.DIRECTORY, asks, "", f"{nothing}.")


def clips_in_words(uploads: Uploads) -> str:
    """What was found in a directory of uploads, as a sentence."""
    if not uploads.looked:
        return "Not looked into: it is no disk of this machine, and looking could hang."
    if not uploads.days:
        unknown = f", but {uploads.unknown_names} .mp4 files of names archiverd does not know"
        return f"No clips below YYYY/MM/DD yet{unknown if uploads.unknown_names else ''}."
    cameras, newest = len(uploads.cameras), uploads.days[0].date
    since = uploads.first or newest
    days = f"{newest}" if since == newest else f"{since} to {newest}"
    return f"Clips of {cameras} camera{'' if cameras == 1 else 's'} were found, {days}."


def where_archives_go(survey: Survey, directory: PurePosixPath) -> Question:
    """Beside the uploads; elsewhere only where that file system is unfit and another is not."""
    asks = "Where do the archives go?"
    here = file_system_of(survey.file_systems, directory)
    fit = [place for place in places_for_files(survey.file_systems) if not place.limits and place.free is not None]
    if here is not None and here.limits and fit:
        roomiest = max(fit, key=_free)
        why = f"The uploads lie on {here.kind}, which {here.limits[0]}; this disk has the most room of those without."
        return Question(Key.OUTPUT, asks, str(roomiest.mount_point / "archived"), why)
    there = file_system_of(survey.file_systems, directory / "archived")
    same = here is None or there is None or here.device == there.device
    why = "On the same disk as the uploads." if same else "A disk of its own is mounted there."
    return Question(Key.OUTPUT, asks, str(directory / "archived"), why)


def what_becomes_of_originals() -> Question:
    """Nothing else is safe to suggest than what can be taken back."""
    return Question(
        Key.DELETE,
        "What becomes of a clip once its archive is proven: trash, or delete?",
        TRASH,
        "From the trash a clip can be taken back, for as long as it stays there.",
    )


def where_the_trash_is(directory: PurePosixPath) -> Question:
    """On the disk of the uploads, where moving there is a rename."""
    why = "On the same disk as the uploads, so that clips are renamed there and not copied."
    return Question(Key.TRASH_ROOT, "Where is the trash?", str(directory / ".deleted"), why)


def how_long_in_the_trash(free: int | None, day_bytes: int | None) -> Question:
    """A month, or as many days as fill half of what is free on its disk. None: not known."""
    asks = "For how long does a clip stay in the trash?"
    fits = _MONTH if free is None or not day_bytes else free // (2 * day_bytes)
    if fits >= _MONTH:
        return Question(Key.AGE, asks, f"{_MONTH} days", "Then it goes for good: its archive stays.")
    days = max(1, fits)
    why = "Then it goes for good: its archive stays. More than that would take over half of what is free on that disk."
    return Question(Key.AGE, asks, f"{days} day{'' if days == 1 else 's'}", why)


def what_gives_way() -> Question:
    """No archive goes by a guess."""
    return Question(
        Key.WHEN_FULL,
        "What gives way when the disk is full and the trash is empty: stop, or oldest?",
        STOP,
        "stop: no archive goes; the work stops, and says so. oldest: the oldest archives make room for the new.",
    )


def who_may_read() -> Question:
    """Nobody is let in by a guess."""
    return Question(
        Key.GROUP, "Which group may read the archive?", NO_GROUP, "Only archiverd's own user and its group may read it."
    )


# -- what is no answer, and what speaks against one -------------------------------------------------------


def fault(key: Key, value: str, survey: Survey) -> str:
    """Why a value can't be the answer, as far as that shows without looking again; "" where it can."""
    if not _is_text(value):
        return f"{printable(value)} is not UTF-8, which the file can't hold; give it another name"
    if key is Key.DELETE and value not in (TRASH, DELETE):
        return f"write {TRASH} or {DELETE}"
    if key is Key.GROUP and value not in (NO_GROUP, *survey.groups) and not survey.is_root:
        return (
            f"you are not in a group {printable(value)}, and could give it nothing; yours: {', '.join(survey.groups)}"
        )
    return ""


def doubts(key: Key, value: str, survey: Survey, answers: Answers) -> list[str]:
    """What the owner should know of an answer that can be had, a sentence each."""
    if key not in (Key.DIRECTORY, Key.OUTPUT, Key.TRASH_ROOT):
        return []
    path = PurePosixPath(value)
    here = file_system_of(survey.file_systems, path)
    found = [f"{here.kind} on {printable(here.mount_point)}: it {limit}." for limit in here.limits] if here else []
    if key is Key.DIRECTORY:
        return found + [f"{printable(path)}: {doubt}" for doubt in _upload_doubts(path, survey)]
    source = file_system_of(survey.file_systems, PurePosixPath(answers[Key.DIRECTORY].value))
    if key is Key.TRASH_ROOT and here and source and here.device != source.device:
        found.append("Another disk than that of the uploads: each clip is copied there before it goes.")
    return found


def _upload_doubts(path: PurePosixPath, survey: Survey) -> list[str]:
    found = []
    for uploads in survey.uploads:
        if uploads.path != path:
            continue
        if not uploads.days:
            found.append(f"{clips_in_words(uploads)}{_OTHER_MAKES if uploads.looked else ''}")
        elif uploads.unknown_names:
            found.append(f"{uploads.unknown_names} .mp4 files have names archiverd does not know, and are left alone.")
        if not uploads.writable:
            found.append("This user may not write there, so that no clip could go: run archiverd as one who may.")
    return found


def _free(place: FileSystem) -> int:
    return place.free or 0


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# -- what is written --------------------------------------------------------------------------------------


def settings(answers: Answers) -> list[Setting]:
    """The lines of the file, in its order; those that only say the default are marked."""
    directory = PurePosixPath(answers[Key.DIRECTORY].value)
    defaults = {
        Key.DIRECTORY: str(_DEFAULT_INPUT),
        Key.OUTPUT: str(directory / "archived"),
        Key.DELETE: TRASH,
        Key.TRASH_ROOT: str(directory / ".deleted"),
        Key.AGE: f"{_MONTH} days",
        Key.WHEN_FULL: STOP,
        Key.GROUP: NO_GROUP,
    }
    return [_setting(key, answers[key], answers[key].value == defaults[key]) for key in Key if key in answers]


def _setting(key: Key, answer: Answer, is_default: bool) -> Setting:
    value = answer.value == DELETE if key is Key.DELETE else answer.value
    return Setting(key, value, answer.why, is_default)


def hardware_in_words(nodes: Iterable[RenderNode]) -> str:
    """What may encode, and how to learn whether it does."""
    seen = "; ".join(node.words for node in nodes)
    if not seen:
        return "No device that encodes was seen; software does it."
    return f"Seen: {seen}. `archiverd probe` tells what works."
