"""`archiverd check`: faults planted in trees that were archived by real runs, what finds them, and what mends them."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import State
from archiverd.policy.naming import MARKER_NAME, gone_name, part_name
from archiverd.policy.outcome import Result
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from archiverd.storage.roots import read_marker
from tests.e2e.invariants import assert_all_archived, assert_nothing_lost, contents, picture_of
from tests.e2e.rig import UNPRIVILEGED, Rig, content, results, sha256_of
from tests.program import typed
from tests.screen import screen_of

LEVELS = ("--quick", "", "--full")
NOBODY = "0123456789ab"  # a job no recording has


@pytest.fixture
def whole(rig: Rig) -> Rig:
    """Four recordings archived and let go of, one of them with snapshots; one that is protected."""
    for minute, name in enumerate("abcd"):
        rig.upload(name, rig.path(minute), snapshots=2 if name == "a" else 0)
    rig.keep(rig.upload("e", rig.path(9)))
    assert set(results(rig.run_inside())) == {Result.TRANSCODED}
    return rig


def check(rig: Rig, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:  # Any: parsed JSON
    code = run_command_line(["check", *rig.options, "--quiet", "--json", *filter(None, options)])
    said = capsys.readouterr()
    assert said.err == "" or "--repair" in options, said.err
    return code, json.loads(said.out)


def troubles(report: Any) -> list[tuple[str, str, str]]:
    """What was found and is no note: severity, place, and the words."""
    return [
        (found["severity"], f"{found['tree']} {found['path']}", found["what"])
        for found in report["findings"]
        if found["severity"] != "note"
    ]


def sql(rig: Rig, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(rig.state / FILE_NAME)) as connection:
        connection.execute(statement, values)
        connection.commit()


def flip(path: Path, at: float = 0.6) -> None:
    """Change one byte, and nothing that `stat` tells."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x40
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def catalog_id(rig: Rig) -> str:
    marker = read_marker(rig.camera)
    assert marker is not None
    return marker.catalog


# ---- the faults


@dataclass(frozen=True)
class Fault:
    """A fault: how it is planted, the first level that finds it, and what is found."""

    plant: Callable[[Rig], object]
    level: str  # of LEVELS
    severity: str
    where: str  # with the path of `minute`, or as it is
    words: str
    minute: int = 0


def take_archive(rig: Rig) -> None:
    (rig.archive / rig.path()).unlink()


def take_archive_and_trash(rig: Rig) -> None:
    take_archive(rig)
    (rig.trash / rig.path()).unlink()


def cut_archive(rig: Rig) -> None:
    os.truncate(rig.archive / rig.path(), 3000)


def flip_archive(rig: Rig) -> None:
    flip(rig.archive / rig.path())


def break_boxes(rig: Rig) -> None:
    path = rig.archive / rig.path()
    status = path.stat()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"moov", b"moof", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_archives(rig: Rig) -> None:
    """Put another recording's archive in the place of one, and tell the catalog the size it has."""
    archive = rig.archive / rig.path()
    mtime_ns = archive.stat().st_mtime_ns
    shutil.copyfile(rig.archive / rig.path(1), archive)
    os.utime(archive, ns=(mtime_ns, mtime_ns))
    size = archive.stat().st_size
    path = os.fsencode(rig.path())
    sql(rig, "UPDATE recording SET archive_size = ? WHERE path = ?", size, path)
    sql(
        rig, "UPDATE receipt SET body = json_set(body, '$.archive.size', ?)"
        " WHERE recording = (SELECT id FROM recording WHERE path = ?)", size, path,
    )  # fmt: skip


def link_archive(rig: Rig) -> None:
    path = rig.archive / rig.path()
    kept = rig.base / "kept.mp4"
    path.rename(kept)
    path.symlink_to(kept)


def put_symlink(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def forget_one(rig: Rig) -> None:
    sql(rig, "DELETE FROM recording WHERE path = ?", os.fsencode(rig.path()))


def share_archive(rig: Rig) -> None:
    sql(
        rig, "UPDATE recording SET archive = ? WHERE path = ?", os.fsencode(rig.path(1)), os.fsencode(rig.path())
    )  # fmt: skip


def touch_archive(rig: Rig) -> None:
    os.utime(rig.archive / rig.path(), (1_700_000_000, 1_700_000_000))


def foreign_part(rig: Rig) -> None:
    (rig.archive / rig.path()).with_name(part_name("other", NOBODY)).write_bytes(b"x")


def nameless_source(rig: Rig) -> None:
    day = (rig.camera / rig.path()).parent
    day.mkdir(parents=True, exist_ok=True)
    shutil.copy(content("z"), day / gone_name(NOBODY))


def unmark(tree: str) -> Callable[[Rig], None]:
    def plant(rig: Rig) -> None:
        ({"archive": rig.archive, "trash": rig.trash, "source": rig.camera}[tree] / MARKER_NAME).unlink()

    return plant


def mark_of_another(rig: Rig) -> None:
    path = rig.archive / MARKER_NAME
    path.write_text(path.read_text().replace(catalog_id(rig), "deadbeef"))


def other_source_root(rig: Rig) -> None:
    path = rig.camera / MARKER_NAME
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "nonce": "another"}))


def lose_catalog(rig: Rig) -> None:
    (rig.state / FILE_NAME).unlink()


def damage_catalog(rig: Rig) -> None:
    os.truncate(rig.state / FILE_NAME, 8192)


FAULTS = {
    "archive gone, source in the trash": Fault(
        take_archive, "--quick", "broken", "archive {}", "is not there; its source lies in the trash as {}"
    ),
    "archive and source gone": Fault(
        take_archive_and_trash, "--quick", "lost", "archive {}", "is not there, and neither is its source"
    ),
    "archive cut short": Fault(cut_archive, "--quick", "broken", "archive {}", "holds 3000 bytes, and was committed"),
    "archive with a byte changed": Fault(flip_archive, "--full", "broken", "archive {}", "its bytes have changed"),
    "archive whose boxes are broken": Fault(break_boxes, "", "broken", "archive {}", "is not whole"),
    "archive of another source": Fault(swap_archives, "", "broken", "archive {}", "names another source"),
    "archive replaced by a symlink": Fault(link_archive, "--quick", "broken", "archive {}", "is no regular file"),
    "archive nobody knows": Fault(forget_one, "--quick", "doubt", "archive {}", "no recording knows it"),
    "archive that stands for two": Fault(
        share_archive, "--quick", "broken", "archive {}", "stands for 2 sources of different content", minute=1
    ),
    "archive written to": Fault(touch_archive, "--quick", "doubt", "archive {}", "was written to, or given another"),
    "part of another catalog": Fault(foreign_part, "--quick", "doubt", "archive ", "a part of another catalog"),
    "source set aside by nobody": Fault(
        nameless_source, "--quick", "doubt", "source ", "was set aside by a job nobody knows"
    ),
    "archive root without its marker": Fault(unmark("archive"), "--quick", "broken", "archive None", "has no marker"),
    "trash root without its marker": Fault(unmark("trash"), "--quick", "broken", "trash None", "has no marker"),
    "root of another catalog": Fault(
        mark_of_another, "--quick", "broken", "archive None", "the root belongs to catalog deadbeef"
    ),
    "another source root": Fault(other_source_root, "--quick", "doubt", "source None", "the root is another than"),
    "catalog gone": Fault(lose_catalog, "--quick", "broken", "None None", "is not there"),
    "catalog damaged": Fault(damage_catalog, "--quick", "broken", "None None", "the catalog is damaged"),
}


def found(rig: Rig, fault: Fault, report: Any) -> bool:
    path = str(rig.path(fault.minute))
    where, words = fault.where.format(path), fault.words.format(path)
    return any(
        severity == fault.severity and place.startswith(where) and words in said
        for severity, place, said in troubles(report)
    )


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found_from_its_level_on_and_nothing_is_changed(
    whole: Rig, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = FAULTS[name]
    fault.plant(whole)
    before = picture_of(whole.base)

    codes = {}
    for level in LEVELS:
        code, report = check(whole, level, capsys=capsys)
        codes[level] = code
        expected = LEVELS.index(level) >= LEVELS.index(fault.level)
        written_to = name == "archive written to" and level == "--full"  # its content was compared, and is what it was
        assert found(whole, fault, report) == (expected and not written_to), f"{level}: {troubles(report)}"

    assert picture_of(whole.base) == before
    assert codes[fault.level] == 1
    assert codes["--quick"] == (0 if fault.level != "--quick" else 1)


def test_ten_faults_in_one_tree_are_all_found(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    plants: list[tuple[str, Callable[[Path], object]]] = [
        ("is not there; its source lies in the trash", Path.unlink),
        ("holds 3000 bytes", lambda path: os.truncate(path, 3000)),
        ("its bytes have changed", flip),
        ("is no regular file any more", put_symlink),
        ("was written to", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x")),
    ]
    for minute in range(len(plants) + 2):
        rig.upload("abcdefg"[minute], rig.path(minute))
    rig.run_inside()
    for minute, (_, plant) in enumerate(plants):
        plant(rig.archive / rig.path(minute))
    forgotten, lost = rig.path(len(plants)), rig.path(len(plants) + 1)
    sql(rig, "DELETE FROM recording WHERE path = ?", os.fsencode(forgotten))
    (rig.archive / lost).unlink()
    (rig.trash / lost).unlink()
    foreign_part(rig)
    nameless_source(rig)
    other_source_root(rig)

    code, report = check(rig, "--full", capsys=capsys)

    said = "\n".join(" ".join(trouble) for trouble in troubles(report))
    assert code == 1
    for words, _ in plants[:-1]:
        assert words in said
    assert said.count("its bytes have changed") == 2
    assert f"lost archive {lost} is not there, and neither is its source" in said
    assert f"doubt archive {forgotten} no recording knows it" in said
    assert f"doubt trash {forgotten} no recording knows it" in said
    assert "a part of another catalog" in said
    assert "was set aside by a job nobody knows" in said
    assert "the root is another than the one the catalog knows" in said
    assert len(troubles(report)) == 11


@pytest.mark.parametrize("deleting", [False, True])
def test_archive_that_was_made_anew_is_not_missed(rig: Rig, deleting: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """The same clip uploaded twice, and archived again: the first recording's archive was retired for the second's."""
    rig.upload("a")
    rig.run_inside(delete=deleting)
    rig.upload("a")
    rig.run_inside(delete=deleting, no_skip=True)
    code, report = check(rig, "", capsys=capsys)
    assert (code, troubles(report)) == (0, [])


@pytest.mark.parametrize("level", LEVELS)
def test_sound_trees_have_no_fault(whole: Rig, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = check(whole, level, capsys=capsys)
    assert (code, troubles(report)) == (0, [])
    assert report["looked_at"]["archives"] == report["looked_at"]["recordings"] == 5
    assert report["looked_at"]["in_trash"] == 4


def test_original_bytes_that_do_not_decode_are_no_fault(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    upload = rig.upload("a")
    rig.fake_ffmpeg("if transcoding or strictly_decoding: print('broken', file=sys.stderr); sys.exit(1)")
    assert results(rig.run_inside()) == [Result.VERBATIM]

    code, report = check(rig, "--full", capsys=capsys)

    assert (code, troubles(report)) == (0, [])
    assert (rig.archive / upload.path).is_file()


def test_check_before_the_first_run_says_where_to_begin(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", *rig.options]) == 69
    assert "there is no catalog yet\n  Begin with: archiverd run" in capsys.readouterr().err


def test_what_could_not_be_read_is_a_doubt(whole: Rig) -> None:
    day = (whole.trash / whole.path()).parent
    archive = whole.archive / whole.path(1)
    day.chmod(0o000)
    archive.chmod(0o000)
    try:
        with whole.started_verb("check", wrapper=UNPRIVILEGED) as process:
            code = process.wait(60)
    finally:
        day.chmod(0o750)
        archive.chmod(0o640)
    said = whole.output.read_text()
    assert code == 1
    assert "doubt   trash: not everything could be read" in said
    assert f"doubt   archive {whole.path(1)}: could not be looked at: Permission denied (I2)" in said


# ---- snapshots beside their archives, and disks that are away


@pytest.fixture
def pictured(rig: Rig) -> Rig:
    """A recording whose snapshots were put beside its archive: they stand nowhere else."""
    rig.upload("a", snapshots=3)
    rig.run_inside(snapshots="archive")
    return rig


def test_snapshots_beside_the_archive_are_held_against_what_was_put_there(
    pictured: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, cut, touched = sorted((pictured.archive / pictured.path()).parent.glob("*.jpg"))
    assert troubles(check(pictured, "--full", capsys=capsys)[1]) == []
    gone.unlink()
    os.truncate(cut, 10)
    os.utime(touched, (1_700_000_000, 1_700_000_000))

    code, report = check(pictured, "--quick", capsys=capsys)

    assert code == 1
    found_by_name = {Path(place).name: (severity, words) for severity, place, words in troubles(report)}
    assert found_by_name[gone.name] == ("lost", "the snapshot is not there")
    assert found_by_name[cut.name][0] == "broken"
    assert found_by_name[cut.name][1].startswith("the snapshot holds 10 bytes, and was put there with ")
    assert found_by_name[touched.name][0] == "doubt"
    assert len(found_by_name) == 3


@pytest.mark.parametrize("deleting", [False, True])
def test_archive_disk_that_is_away_is_told_once_and_not_for_each_archive(
    rig: Rig, deleting: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for minute in range(3):
        rig.upload("abc"[minute], rig.path(minute))
    rig.run_inside(delete=deleting)
    away = rig.base / "away"
    rig.archive.rename(away)
    rig.archive.mkdir()

    code, report = check(rig, "", capsys=capsys)

    assert code == 1
    assert [(severity, words) for severity, _, words in troubles(report)] == [
        ("broken", "the root has no marker, so nothing is removed there"),
        ("doubt", "its disk is not there, so it seems: 3 archives were not looked at"),
    ]
    rig.archive.rmdir()
    away.rename(rig.archive)
    assert check(rig, "", capsys=capsys)[0] == 0


def test_progress_never_passes_its_end(whole: Rig) -> None:
    lose_catalog(whole)
    with typed("check", whole.camera, "--full") as session:
        session.end()
    counts = re.findall(r"(\d+)/(\d+) files", session.output)
    assert counts
    assert all(int(done) <= int(total) for done, total in counts), counts


# ---- beside a run


def test_check_beside_a_run_takes_what_it_does_for_no_fault(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """At each step of a run somebody checks: a job at work is a note, and never a fault."""
    rig.upload("a", snapshots=1)
    rig.upload("b", rig.path(5))
    seen: set[str] = set()

    def look(_step: str) -> None:
        _, report = check(rig, "", capsys=capsys)
        assert troubles(report) == []
        seen.update(found["what"].partition(":")[0] for found in report["findings"])

    assert results(rig.run_inside(look)) == [Result.TRANSCODED, Result.TRANSCODED]

    assert "a job holds it" in seen
    capsys.readouterr()
    assert_all_archived(rig)


# ---- repair


MENDED = {
    "archive gone, source in the trash": "its source stands again as {}: the next run archives it",
    "archive nobody knows": "entered into the catalog",
    "another source root": "taken for the source root from now on",
    "catalog gone": "made anew from the trees",
    "catalog damaged": "made anew from the trees",
}


@pytest.mark.parametrize("name", MENDED)
def test_repair_mends_what_is_safe(whole: Rig, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    fault = FAULTS[name]
    fault.plant(whole)

    code, report = check(whole, "--repair", capsys=capsys)

    mended = {found["what"]: found["outcome"] for found in report["findings"] if found["mended"]}
    assert any(MENDED[name].format(whole.path()) in words for words in mended.values()), report
    assert code == 0
    whole.run_inside()
    code, report = check(whole, "--full", capsys=capsys)
    assert (code, troubles(report)) == (0, [])
    assert_nothing_lost(whole)


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - MENDED.keys()))
def test_repair_leaves_to_the_owner_what_only_the_owner_can_decide(
    whole: Rig, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    FAULTS[name].plant(whole)
    trees = contents(whole, whole.archive), contents(whole, whole.trash), contents(whole, whole.camera)

    code = run_command_line(["check", *whole.options, "--quiet", "--full", "--repair"])

    assert code != 0 or name == "archive written to"
    capsys.readouterr()
    assert (contents(whole, whole.archive), contents(whole, whole.trash), contents(whole, whole.camera)) == trees


def test_repair_clears_away_what_a_kill_left(whole: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    whole.upload("f", whole.path(20))
    whole.run_until_killed("finish_part:after")
    stray = (whole.archive / whole.path()).with_name(part_name(catalog_id(whole), NOBODY))
    stray.write_bytes(b"x")
    _, report = check(whole, "", capsys=capsys)
    said = [found["what"] for found in report["findings"]]
    assert "a part of a job that is over; each start removes it" in said
    assert any(words.startswith("a job holds it") for words in said)

    code, report = check(whole, "--repair", capsys=capsys)

    assert code == 0
    assert not stray.exists()
    outcomes = [found["outcome"] for found in report["findings"]]
    assert "removed" in outcomes
    assert "it is waiting now" in outcomes
    whole.run_inside()
    assert_nothing_lost(whole)


def set_aside(rig: Rig, minute: int) -> Path:
    """Leave an archive as a removal does that is killed with it aside."""
    archive = rig.archive / rig.path(minute)
    aside = archive.with_name(gone_name(NOBODY))
    aside.mkdir(mode=0o700)
    archive.rename(aside / archive.name)
    return archive


@pytest.mark.parametrize("catalog_lost", [False, True])
def test_archive_that_a_removal_had_set_aside_stands_again_after_the_next_start(whole: Rig, catalog_lost: bool) -> None:
    """Before anything is taken for missing: nothing is archived twice, and no row says that it has gone."""
    archives = contents(whole, whole.archive)
    archive = set_aside(whole, 1)
    if catalog_lost:
        whole.forget()
    assert Result.TRANSCODED not in results(whole.run_inside())
    assert (archive.is_file(), contents(whole, whole.archive)) == (True, archives)
    assert whole.row(whole.uploads[1]).state is State.DONE
    assert_nothing_lost(whole)


@pytest.mark.parametrize("tree", ["archive", "trash"])
def test_repair_puts_back_what_a_removal_had_set_aside(
    whole: Rig, tree: str, capsys: pytest.CaptureFixture[str]
) -> None:
    day = (whole.archive if tree == "archive" else whole.trash) / whole.path().parent
    (day / gone_name(NOBODY)).mkdir()
    (day / gone_name(NOBODY) / "REO_garden_20260630111500.jpg").write_bytes(b"a picture")

    code, report = check(whole, "--quick", capsys=capsys)

    found = next(found for found in report["findings"] if gone_name(NOBODY) in str(found["path"]))
    assert (code, found["severity"], found["tree"], found["invariant"]) == (0, "note", tree, "I7")

    code, report = check(whole, "--quick", "--repair", capsys=capsys)

    found = next(found for found in report["findings"] if gone_name(NOBODY) in str(found["path"]))
    assert (code, found["outcome"]) == (0, "what it held has its names back")
    assert (day / "REO_garden_20260630111500.jpg").read_bytes() == b"a picture"
    assert not (day / gone_name(NOBODY)).exists()


def test_repair_names_a_source_that_stands_aside_by_its_archive(whole: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    whole.upload("f", whole.path(20))
    whole.run_until_killed("trash:before")
    sql(whole, "DELETE FROM recording WHERE path = ?", os.fsencode(whole.path(20)))

    code, report = check(whole, "--repair", capsys=capsys)

    assert "its archive told its name, and it was put back" in [found["outcome"] for found in report["findings"]]
    assert (whole.camera / whole.path(20)).is_file()
    assert code == 1  # its archive is nobody's until the next run has proven it
    whole.run_inside()
    code, report = check(whole, "--full", capsys=capsys)
    assert (code, troubles(report)) == (0, [])


def test_restored_source_is_archived_again_and_kept_once(whole: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    take_archive(whole)
    check(whole, "--repair", capsys=capsys)
    assert sha256_of(whole.camera / whole.path()) == whole.uploads[0].sha256

    assert Result.TRANSCODED in results(whole.run_inside())

    assert whole.row(whole.uploads[0]).state is State.DONE
    assert sha256_of(whole.trash / whole.path()) == whole.uploads[0].sha256


def test_loss_of_catalog_and_archive_comes_to_rest(whole: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    lose_catalog(whole)
    take_archive(whole)
    whole.run_inside()
    assert check(whole, "", capsys=capsys)[0] == 1
    assert check(whole, "--repair", capsys=capsys)[0] == 0
    assert Result.TRANSCODED in results(whole.run_inside())

    code, report = check(whole, "--full", capsys=capsys)

    assert (code, troubles(report)) == (0, [])


def test_file_in_the_archive_is_not_taken_for_one_of_the_same_path_in_the_trash(
    whole: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_one(whole)
    sql(
        whole,
        "UPDATE recording SET disposed_to = ? WHERE path = ?",
        os.fsencode(whole.path()),
        os.fsencode(whole.path(1)),
    )
    _, report = check(whole, "--quick", capsys=capsys)
    assert ("doubt", f"archive {whole.path()}", "no recording knows it") in troubles(report)


def test_hash_of_an_archive_known_again_is_noted(whole: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    lose_catalog(whole)
    whole.run_inside()
    code, report = check(whole, "--full", "--repair", capsys=capsys)
    assert [found["outcome"] for found in report["findings"] if found["repair"] == "hash"] == ["noted"] * 4
    assert code == 0

    flip_archive(whole)

    code, report = check(whole, "--full", capsys=capsys)
    assert [words for _, _, words in troubles(report) if words.startswith("its bytes have changed")]
    with Catalog.to_read(whole.state / FILE_NAME) as catalog:
        row = next(row for row in catalog.recordings() if row.path == whole.path(1))
    assert row.archive_sha256 == sha256_of(whole.archive / whole.path(1))


def test_repair_is_refused_while_another_is_at_work(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.upload("a")
    codes = []

    def repair(step: str) -> None:
        if step == "finish_part:before":
            codes.append(run_command_line(["check", *rig.options, "--repair", "--quiet"]))

    rig.run_inside(repair)

    assert codes == [75]
    capsys.readouterr()
    assert_all_archived(rig)


# ---- as people read it


def test_report_names_each_fault_with_what_to_do_worst_first(whole: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    take_archive_and_trash(whole)
    touch_archive_of = whole.archive / whole.path(1)
    os.utime(touch_archive_of, (1_700_000_000, 1_700_000_000))
    (whole.archive / whole.path(2)).unlink()

    code = run_command_line(["check", *whole.options, "--quiet"])

    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("note")]
    assert code == 1
    assert lines == [
        f"lost    archive {whole.path()}: is not there, and neither is its source (I1)",
        "        Look in backups, and for a disk that is not mounted.",
        f"broken  archive {whole.path(2)}: is not there; its source lies in the trash as {whole.path(2)} (I1)",
        "        archiverd check --repair mends it.",
        f"doubt   archive {whole.path(1)}: was written to, or given another time, since it was committed (I1)",
        "        `archiverd check --full` compares its content.",
        lines[-1],
    ]
    assert lines[-1].startswith("Checked (normal) 5 recordings, 3 archives of ")
    assert lines[-1].endswith(", 3 in the trash: 1 lost, 1 broken, 1 doubt, 3 notes.")
    assert PurePosixPath(lines[0].split()[2].rstrip(":")) == whole.path()


def test_progress_is_shown_on_a_terminal(whole: Rig) -> None:
    with typed("check", whole.camera, "--full") as session:
        assert session.end() == 0
    assert re.search(r"[0-5]/5 files .*━.* % ", session.output)
    assert "nothing to tell" in screen_of(session.output)[-1] or "notes" in screen_of(session.output)[-1]


def test_check_without_a_terminal_says_no_line_for_each_archive(whole: Rig) -> None:
    with whole.started_verb("check") as process:
        assert process.wait(60) == 0
    assert "files, " not in whole.output.read_text()
