"""The questions of `config init`: what is suggested and why, what is no answer, what goes into the file."""

from __future__ import annotations

from datetime import date
from pathlib import PurePosixPath

import pytest

from archiverd.policy.machine import Day, FileSystem, RenderNode, Survey, Uploads
from archiverd.policy.setup import (
    Answer,
    Key,
    Setting,
    clips_in_words,
    doubts,
    fault,
    hardware_in_words,
    how_long_in_the_trash,
    settings,
    what_becomes_of_originals,
    what_gives_way,
    where_archives_go,
    where_cameras_upload,
    where_the_trash_is,
    who_may_read,
)

TODAY = date(2026, 7, 10)
YESTERDAY = date(2026, 7, 9)
CAMERA = PurePosixPath("/camera")


def fs(point: str, kind: str = "ext4", free: int | None = 100, *, read_only: bool = False) -> FileSystem:
    return FileSystem(PurePosixPath(point), kind, point, read_only, 1000, free)


def uploads(path: str, day: date = YESTERDAY, size: int = 10, **changes: object) -> Uploads:
    fields: dict[str, object] = {"days": (Day(day, 1, size),), "cameras": ("front",), "first": date(2026, 7, 1)}
    return Uploads(PurePosixPath(path), **(fields | changes))  # type: ignore[arg-type]  # fields by name


def survey(*found: Uploads, **changes: object) -> Survey:
    return Survey(TODAY, uploads=found, **changes)  # type: ignore[arg-type]  # fields by name


def answered(**values: str) -> dict[Key, Answer]:
    return {Key(key): Answer(value, f"why {key}") for key, value in values.items()}


# --- suggestions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "suggestion", "why"),
    [
        (survey(), "", "No clips below YYYY/MM/DD were found on the disks of this machine."),
        (survey(camera=CAMERA), "/camera", "/camera is there, and is the default."),
        (survey(uploads("/a"), camera=CAMERA), "/a", "The newest clips lie in /a."),
        (survey(uploads("/old", date(2020, 1, 1), 999), uploads("/new")), "/new", "The newest clips lie in /new."),
        (survey(uploads("/less", size=1), uploads("/more", size=9)), "/more", "The newest clips lie in /more."),
        (survey(uploads("/empty", days=()), uploads("/b")), "/b", "The newest clips lie in /b."),
        (survey(uploads("/odd\udcff")), "", "No clips"),
    ],
)
def test_directory_suggested_is_the_one_with_the_newest_clips(seen: Survey, suggestion: str, why: str) -> None:
    question = where_cameras_upload(seen)
    assert (question.key, question.suggestion) == (Key.DIRECTORY, suggestion)
    assert why in question.why


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (uploads("/a"), "Clips of 1 camera were found, 2026-07-01 to 2026-07-09."),
        (uploads("/a", cameras=("a", "b"), first=YESTERDAY), "Clips of 2 cameras were found, 2026-07-09."),
        (uploads("/a", cameras=("a", "b"), first=None), "Clips of 2 cameras were found, 2026-07-09."),
        (uploads("/a", days=()), "No clips below YYYY/MM/DD yet."),
        (
            uploads("/a", days=(), unknown_names=3),
            "No clips below YYYY/MM/DD yet, but 3 .mp4 files of names archiverd does not know.",
        ),
        (
            Uploads(PurePosixPath("/nas"), looked=False),
            "Not looked into: it is no disk of this machine, and looking could hang.",
        ),
    ],
)
def test_clips_found_are_told_in_words(found: Uploads, words: str) -> None:
    assert clips_in_words(found) == words


@pytest.mark.parametrize(
    ("mounts", "suggestion", "why"),
    [
        ((fs("/"),), "/camera/archived", "On the same disk as the uploads."),
        ((fs("/"), fs("/big", free=9999)), "/camera/archived", "On the same disk"),  # the owner's to choose
        ((fs("/"), fs("/camera/archived")), "/camera/archived", "A disk of its own is mounted there."),
        ((), "/camera/archived", "On the same disk"),
        ((fs("/", "vfat"), fs("/small", free=5), fs("/big", free=9)), "/big/archived", "vfat, which takes no file of"),
        ((fs("/", "nfs4", None), fs("/d")), "/d/archived", "nfs4, which lies behind another machine"),
        ((fs("/", "vfat"), fs("/d", "exfat"), fs("/r", read_only=True)), "/camera/archived", "On the same disk"),
    ],
)
def test_archives_are_suggested_beside_the_uploads_unless_that_disk_is_unfit(
    mounts: tuple[FileSystem, ...], suggestion: str, why: str
) -> None:
    question = where_archives_go(survey(file_systems=mounts), CAMERA)
    assert (question.key, question.suggestion) == (Key.OUTPUT, suggestion)
    assert why in question.why


def test_what_is_suggested_beside_can_all_be_taken_back() -> None:
    suggested = [what_becomes_of_originals(), where_the_trash_is(CAMERA), what_gives_way(), who_may_read()]
    assert [(question.key, question.suggestion) for question in suggested] == [
        (Key.DELETE, "trash"),
        (Key.TRASH_ROOT, "/camera/.deleted"),
        (Key.WHEN_FULL, "stop"),
        (Key.GROUP, "none"),
    ]


@pytest.mark.parametrize(
    ("free", "day_bytes", "days"),
    [
        (None, None, "30 days"), (None, 1, "30 days"), (10**12, None, "30 days"), (10**12, 0, "30 days"),
        (60, 1, "30 days"), (59, 1, "29 days"), (3, 1, "1 day"), (0, 1, "1 day"),
    ],
)  # fmt: skip
def test_trash_is_suggested_to_keep_no_more_than_half_of_its_disk_takes(
    free: int | None, day_bytes: int | None, days: str
) -> None:
    question = how_long_in_the_trash(free, day_bytes)
    assert (question.key, question.suggestion) == (Key.AGE, days)
    assert ("half of what is free" in question.why) is (days != "30 days")


# --- answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "is_root", "words"),
    [
        (Key.DIRECTORY, "/camera", False, ""),
        (Key.DIRECTORY, "/caméra", False, ""),
        (Key.DIRECTORY, "/camera\udcff", False, r"/camera\xff is not UTF-8, which the file can't hold"),
        (Key.DELETE, "trash", False, ""),
        (Key.DELETE, "delete", False, ""),
        (Key.DELETE, "yes", False, "write trash or delete"),
        (Key.DELETE, "", False, "write trash or delete"),
        (Key.GROUP, "none", False, ""),
        (Key.GROUP, "video", False, ""),
        (Key.GROUP, "adm", False, "you are not in a group adm, and could give it nothing; yours: video, users"),
        (Key.GROUP, "adm", True, ""),
    ],
)
def test_fault_of_an_answer_is_told(key: Key, value: str, is_root: bool, words: str) -> None:
    told = fault(key, value, survey(groups=("video", "users"), is_root=is_root))
    assert told.startswith(words)
    assert bool(told) is bool(words)


MOUNTS = (fs("/"), fs("/usb", "vfat"), fs("/nas", "nfs4", None), fs("/d"))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (Key.OUTPUT, "/camera/archived", []),
        (Key.OUTPUT, "/d/archived", []),
        (Key.OUTPUT, "/usb/archived", ["vfat on /usb: it takes no file", "vfat on /usb: it may know no owners"]),
        (Key.OUTPUT, "/nas/archived", ["nfs4 on /nas: it lies behind another machine"]),
        (Key.TRASH_ROOT, "/camera/.deleted", []),
        (Key.TRASH_ROOT, "/d/trash", ["Another disk than that of the uploads"]),
        (Key.DIRECTORY, "/camera", []),
        (Key.DIRECTORY, "/d", []),  # not looked at
        (
            Key.DIRECTORY,
            "/e",
            ["/e: No clips below YYYY/MM/DD yet. Only Reolink's layout was looked for: other makes are a matter"],
        ),
        (Key.DIRECTORY, "/f", ["/f: 2 .mp4 files have names archiverd does not know", "/f: This user may not write"]),
        (Key.GROUP, "video", []),
        (Key.DELETE, "delete", []),
    ],
)
def test_doubts_of_an_answer_are_told(key: Key, value: str, words: list[str]) -> None:
    found = (uploads("/camera"), uploads("/e", days=()), uploads("/f", unknown_names=2, writable=False))
    told = doubts(key, value, survey(*found, file_systems=MOUNTS), answered(directory="/camera"))
    assert len(told) == len(words)
    assert all(line.startswith(word) for line, word in zip(told, words, strict=True))


# --- the lines of the file -----------------------------------------------------------------------------------


def test_settings_mark_what_only_says_the_default() -> None:
    given = answered(
        directory="/camera", output="/camera/archived", delete="trash", trash_root="/camera/.deleted",
        age="30 days", when_full="stop", group="none",
    )  # fmt: skip
    assert settings(given) == [
        Setting(Key.DIRECTORY, "/camera", "why directory", True),
        Setting(Key.OUTPUT, "/camera/archived", "why output", True),
        Setting(Key.DELETE, False, "why delete", True),
        Setting(Key.TRASH_ROOT, "/camera/.deleted", "why trash_root", True),
        Setting(Key.AGE, "30 days", "why age", True),
        Setting(Key.WHEN_FULL, "stop", "why when_full", True),
        Setting(Key.GROUP, "none", "why group", True),
    ]


def test_settings_put_in_force_what_differs_and_leave_out_what_was_not_asked() -> None:
    given = answered(
        directory="/srv/cams", output="/camera/archived", delete="delete", when_full="oldest", group="video"
    )
    assert [(setting.key, setting.value, setting.is_default) for setting in settings(given)] == [
        (Key.DIRECTORY, "/srv/cams", False),
        (Key.OUTPUT, "/camera/archived", False),  # the default of another directory
        (Key.DELETE, True, False),
        (Key.WHEN_FULL, "oldest", False),
        (Key.GROUP, "video", False),
    ]


def test_hardware_is_told_as_it_is() -> None:
    node = RenderNode(PurePosixPath("/dev/dri/renderD128"), "0x8086")
    assert hardware_in_words([]) == "No device that encodes was seen; software does it."
    assert hardware_in_words([node]) == (
        "Seen: /dev/dri/renderD128 (Intel, open to this user). `archiverd probe` tells what works."
    )
