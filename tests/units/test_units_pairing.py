"""Which snapshot goes with which clip."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.model import ClipName, Fingerprint, FoundFile
from archiverd.policy.naming import parse_clip_name
from archiverd.policy.pairing import Near, Pairing, pair, pair_asked

WINDOW_S = 60.0


def found(path: str) -> FoundFile:
    where = PurePosixPath(path)
    name = parse_clip_name(where.name)
    assert isinstance(name, ClipName)
    return FoundFile.at(where, Fingerprint(1, 1, 1), name)


def owner_of(snapshot: str, clips: list[str], window_s: float = WINDOW_S) -> str | None:
    """The clip that the snapshot went to."""
    pairing = pair([found(clip) for clip in clips], [found(snapshot)], window_s)
    if pairing.orphans:
        return None
    ((clip, snapshots),) = pairing.by_clip.items()
    assert [str(file.path) for file in snapshots] == [snapshot]
    return str(clip)


D = "2026/07/01"


@pytest.mark.parametrize(
    ("snapshot", "clips", "owner"),
    [
        pytest.param(f"{D}/x_20260701120000.jpg", [], None, id="no clips"),
        pytest.param(
            f"{D}/x_20260701120000.jpg", [f"{D}/x_20260701120000.mp4"], f"{D}/x_20260701120000.mp4", id="stem"
        ),
        pytest.param(
            f"{D}/x_20260701120000.JPG", [f"{D}/x_20260701120000.MP4"], f"{D}/x_20260701120000.MP4", id="stem, any case"
        ),
        pytest.param(
            f"{D}/x_20260701120000~2.jpg",
            [f"{D}/x_20260701120000.mp4", f"{D}/x_20260701120000~2.mp4"],
            f"{D}/x_20260701120000~2.mp4",
            id="the copy's own snapshot",
        ),
        pytest.param(
            f"{D}/x_20260701120000.jpg",
            ["2026/06/30/x_20260701120000.mp4", f"{D}/x_20260701120000.mp4"],
            f"{D}/x_20260701120000.mp4",
            id="stem in its own directory before one elsewhere",
        ),
        pytest.param(
            f"{D}/x_20260701120000.jpg", [f"{D}/x_20260701120008.mp4"], f"{D}/x_20260701120008.mp4", id="clip after"
        ),
        pytest.param(
            f"{D}/x_20260701120008.jpg", [f"{D}/x_20260701120000.mp4"], f"{D}/x_20260701120000.mp4", id="clip before"
        ),
        pytest.param(
            f"{D}/x_20260701120100.jpg", [f"{D}/x_20260701120000.mp4"], f"{D}/x_20260701120000.mp4", id="window's edge"
        ),
        pytest.param(f"{D}/x_20260701120101.jpg", [f"{D}/x_20260701120000.mp4"], None, id="beyond the window before"),
        pytest.param(f"{D}/x_20260701115859.jpg", [f"{D}/x_20260701120000.mp4"], None, id="beyond the window after"),
        pytest.param(f"{D}/x_20260701120000.jpg", [f"{D}/y_20260701120000.mp4"], None, id="another camera"),
        pytest.param(
            f"{D}/x_20260701120010.jpg",
            [f"{D}/x_20260701120000.mp4", f"{D}/x_20260701120015.mp4"],
            f"{D}/x_20260701120015.mp4",
            id="nearer after",
        ),
        pytest.param(
            f"{D}/x_20260701120005.jpg",
            [f"{D}/x_20260701120000.mp4", f"{D}/x_20260701120015.mp4"],
            f"{D}/x_20260701120000.mp4",
            id="nearer before",
        ),
        pytest.param(
            f"{D}/x_20260701120010.jpg",
            [f"{D}/x_20260701120020.mp4", f"{D}/x_20260701120000.mp4"],
            f"{D}/x_20260701120000.mp4",
            id="tie: the clip that began first",
        ),
        pytest.param(
            f"{D}/x_20260701120005.jpg",
            [f"{D}/x_20260701120000~3.mp4", f"{D}/x_20260701120000~2.mp4", f"{D}/x_20260701120000.mp4"],
            f"{D}/x_20260701120000.mp4",
            id="one second, before: the lowest copy",
        ),
        pytest.param(
            f"{D}/x_20260701115955.jpg",
            [f"{D}/x_20260701120000~2.mp4", f"{D}/x_20260701120000.mp4"],
            f"{D}/x_20260701120000.mp4",
            id="one second, after: the lowest copy",
        ),
        pytest.param(
            f"{D}/x_20260701120005.jpg",
            [f"{D}/x_20260701120000~10.mp4", f"{D}/x_20260701120000~9.mp4"],
            f"{D}/x_20260701120000~9.mp4",
            id="one second: copies count as numbers",
        ),
        pytest.param(
            f"{D}/x_20260701120000.jpg",
            [f"{D}/x_20260701120000.mp4", f"{D}/x_20260701120000.MP4"],
            f"{D}/x_20260701120000.MP4",
            id="one stem twice: the first path",
        ),
        pytest.param(
            f"{D}/x_20260701000003.jpg",
            ["2026/06/30/x_20260630235958.mp4"],
            "2026/06/30/x_20260630235958.mp4",
            id="across midnight",
        ),
        pytest.param(
            f"{D}/REO_x_20260701120000.jpg",
            [f"{D}/x_20260701120000.mp4"],
            f"{D}/x_20260701120000.mp4",
            id="prefix",
        ),
    ],
)
def test_snapshot_goes_to(snapshot: str, clips: list[str], owner: str | None) -> None:
    assert owner_of(snapshot, clips) == owner


def test_stem_pairs_whatever_the_window() -> None:
    assert owner_of(f"{D}/x_20260701120000.jpg", [f"{D}/x_20260701120000.mp4"], -1.0) == f"{D}/x_20260701120000.mp4"


def test_stem_wins_over_an_equal_clip_of_a_lower_copy() -> None:
    clips = ["2026/06/30/x_20260701120000.mp4", f"{D}/x_20260701120000~2.mp4"]
    assert owner_of(f"{D}/x_20260701120000~2.jpg", clips) == clips[1]


def test_clip_may_have_several_snapshots_oldest_first() -> None:
    clip = found(f"{D}/x_20260701120000.mp4")
    snapshots = [found(f"{D}/x_202607011200{second:02}.jpg") for second in (9, 0, 4)]
    assert pair([clip], snapshots, WINDOW_S) == Pairing({clip.path: (snapshots[1], snapshots[2], snapshots[0])}, ())


def test_orphans_come_oldest_first() -> None:
    snapshots = [found(f"{D}/x_202607011200{second:02}.jpg") for second in (9, 0, 4)]
    assert pair([], snapshots, WINDOW_S).orphans == (snapshots[1], snapshots[2], snapshots[0])


def test_clip_without_snapshot_is_not_listed() -> None:
    assert pair([found(f"{D}/x_20260701120000.mp4")], [], WINDOW_S) == Pairing({}, ())


START = datetime(2026, 6, 30, 23, 58, 0)


@st.composite
def trees(draw: st.DrawFn, extension: str) -> list[FoundFile]:
    """Files of two cameras within four minutes around a midnight, in the directories of two days."""
    names = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["2026/06/30", "2026/07/01"]),
                st.sampled_from(["x", "REO_x", "REO_y 01"]),
                st.integers(0, 240),
                st.sampled_from(["", "~2"]),
            ),
            max_size=25,
            unique=True,
        )
    )
    return [
        found(f"{day}/{camera}_{START + timedelta(seconds=second):%Y%m%d%H%M%S}{mark}.{extension}")
        for day, camera, second, mark in names
    ]


@given(trees("mp4"), trees("jpg"), st.integers(0, 90))
def test_every_snapshot_is_in_exactly_one_place(
    clips: list[FoundFile], snapshots: list[FoundFile], window: int
) -> None:
    pairing = pair(clips, snapshots, window)
    placed = [file for files in pairing.by_clip.values() for file in files] + list(pairing.orphans)
    assert sorted(str(file.path) for file in placed) == sorted(str(file.path) for file in snapshots)
    assert set(pairing.by_clip) <= {clip.path for clip in clips}


@given(trees("mp4"), trees("jpg"), st.integers(0, 90))
def test_each_snapshot_is_where_the_rule_puts_it(
    clips: list[FoundFile], snapshots: list[FoundFile], window: int
) -> None:
    """Against the rule spelled out clip by clip: own stem, else the nearest of the camera, within the window."""
    pairing = pair(clips, snapshots, window)
    owners = {file.path: clip for clip, files in pairing.by_clip.items() for file in files}
    for snapshot in snapshots:
        own = [clip for clip in clips if clip.path.with_suffix("") == snapshot.path.with_suffix("")]

        def distance(clip: FoundFile, snapshot: FoundFile = snapshot) -> tuple[timedelta, datetime, int, str]:
            return abs(clip.name.taken_at - snapshot.name.taken_at), clip.name.taken_at, clip.name.copy, str(clip.path)

        near = sorted((clip for clip in clips if clip.name.camera == snapshot.name.camera), key=distance)
        near = [clip for clip in near if distance(clip)[0] <= timedelta(seconds=window)]
        expected = next((clip.path for clip in own + near), None)
        assert owners.get(snapshot.path) == expected


@given(trees("mp4"), trees("jpg"), st.randoms(use_true_random=False))
def test_order_of_the_input_changes_nothing(clips: list[FoundFile], snapshots: list[FoundFile], random: object) -> None:
    expected = pair(clips, snapshots, WINDOW_S)
    random.shuffle(clips)  # type: ignore[attr-defined]  # hypothesis' own Random
    random.shuffle(snapshots)  # type: ignore[attr-defined]  # as above
    assert pair(clips, snapshots, WINDOW_S) == expected


def test_snapshots_of_all_contents_of_a_path_go_with_the_path() -> None:
    path = PurePosixPath(f"{D}/x_20260701120000.mp4")
    contents = [FoundFile.at(path, Fingerprint(n, 1, 1), ClipName(f"x{n}", datetime(2026, 7, 1, 12))) for n in (1, 2)]
    pictures = [
        FoundFile.at(PurePosixPath(f"{D}/{n}.jpg"), Fingerprint(n + 2, 1, 1), contents[n - 1].name) for n in (1, 2)
    ]
    assert pair(contents, pictures, WINDOW_S) == Pairing({path: tuple(pictures)}, ())


def test_work_grows_little_faster_than_the_files() -> None:
    moments = [datetime(2026, 1, 1) + timedelta(seconds=7 * (i * 7919 % 20_000)) for i in range(20_000)]

    def files(extension: str) -> list[FoundFile]:
        return [
            FoundFile.at(PurePosixPath(f"{extension}/{i:05}.{extension}"), Fingerprint(1, 1, 1), ClipName("x", moment))
            for i, moment in enumerate(moments)
        ]

    clips, snapshots = files("mp4"), files("jpg")
    began = time.process_time()
    pairing = pair(clips, snapshots, WINDOW_S)
    assert time.process_time() - began < 10  # half a second; comparing each with each takes a minute and more
    assert len(pairing.by_clip) == len(clips)


def test_what_is_asked_about_is_paired_as_among_all_from_what_is_near_it() -> None:
    start = datetime(2026, 7, 1, 23, 50)
    clips = [found(f"{D}/x_{start + timedelta(seconds=50 * n):%Y%m%d%H%M%S}.mp4") for n in range(40)]
    snapshots = [found(f"{D}/x_{start + timedelta(seconds=37 * n):%Y%m%d%H%M%S}.jpg") for n in range(60)]
    everything = pair(clips, snapshots, WINDOW_S)
    for asked in (*clips, *snapshots):
        near = Near([asked], WINDOW_S)
        near_clips, near_snapshots = ([file for file in files if near.holds(file.name)] for files in (clips, snapshots))
        pairing = pair_asked([asked], near_clips, near_snapshots, WINDOW_S)
        if asked in clips:
            assert pairing.by_clip.get(asked.path, ()) == everything.by_clip.get(asked.path, ())
        else:
            owners = [clip for clip, theirs in everything.by_clip.items() if asked in theirs]
            assert list(pairing.by_clip) == owners
            assert pairing.orphans == (() if owners else (asked,))


def test_near_are_moments_of_the_same_camera_and_spans_of_all_lie_a_day_apart() -> None:
    near = Near([found(f"{D}/x_20260701120000.mp4"), found("2026/06/01/y_20260601000100.mp4")], WINDOW_S)
    said = {
        name: near.holds(found(f"{D}/{name}.jpg").name)
        for name in ("x_20260701120200", "x_20260701120201", "x_20260601000100", "y_20260531235900", "z_20260701120000")
    }
    assert list(said.values()) == [True, False, False, True, False]
    assert [(first.day, last.day) for first, last in near.spans] == [(31, 1), (1, 1)]
    assert len(Near([found(f"{D}/x_20260701120000.mp4"), found(f"{D}/x_20260702100000.mp4")], WINDOW_S).spans) == 1


def test_near_the_ends_of_the_calendar_is_no_error() -> None:
    for stamp in ("00010101000000", "99991231235959"):
        asked = found(f"{D}/x_{stamp}.mp4")
        assert Near([asked], WINDOW_S).holds(asked.name)
