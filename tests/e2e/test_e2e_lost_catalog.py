"""Catalogs that are lost, damaged, of another version or another user's: known again, and nothing transcoded twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archiverd.cli import run_command_line
from archiverd.policy.model import ArchiveKind, Recording, State
from archiverd.policy.outcome import Result
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.invariants import assert_all_archived, assert_nothing_lost, contents, picture_of
from tests.e2e.rig import START, UNPRIVILEGED, Rig, Upload, results, sha256_of
from tools import footage


def catalog_file(rig: Rig) -> Path:
    return rig.state / FILE_NAME


def known(row: Recording) -> tuple[object, ...]:
    """What anybody would ask of a recording; of one that is done with, not in which words it came to that."""
    done = row.state is State.DONE
    return (
        row.state, row.name, row.archive, row.archive_size, row.disposed_to, "" if done else row.reason,
        tuple((snapshot.path, snapshot.disposed_to, snapshot.disposed) for snapshot in row.snapshots),
        row.receipt.source_sha256 if row.receipt and row.receipt.kind is not ArchiveKind.VERBATIM else "",
    )  # fmt: skip


def all_known(rig: Rig) -> dict[PurePosixPath, tuple[object, ...]]:
    rows = {row.path: known(row) for row in rig.rows()}
    assert len(rows) == len(rig.rows())
    return rows


def broken_catalogs(rig: Rig) -> list[Path]:
    return sorted(path for path in rig.state.iterdir() if path.name.startswith(f"{FILE_NAME}."))


# ---- ways to lose one


def delete(rig: Rig) -> None:
    catalog_file(rig).unlink()


def truncate_to(size: int) -> Callable[[Rig], None]:
    def lose(rig: Rig) -> None:
        os.truncate(catalog_file(rig), size)

    return lose


def halve(rig: Rig) -> None:
    path = catalog_file(rig)
    os.truncate(path, path.stat().st_size // 2)


def overwrite(rig: Rig) -> None:
    path = catalog_file(rig)
    path.write_bytes(random.Random(3).randbytes(path.stat().st_size))


def statement(sql: str) -> Callable[[Rig], None]:
    def lose(rig: Rig) -> None:
        with contextlib.closing(sqlite3.connect(catalog_file(rig))) as connection:
            connection.execute(sql)
            connection.commit()

    return lose


def flipped(at: int, bit: int) -> Callable[[Rig], None]:
    def lose(rig: Rig) -> None:
        data = bytearray(catalog_file(rig).read_bytes())
        data[at] ^= bit << 2
        catalog_file(rig).write_bytes(data)

    return lose


def schema_change(old: str, new: str) -> Callable[[Rig], None]:
    def lose(rig: Rig) -> None:
        data = catalog_file(rig).read_bytes()
        assert data.count(old.encode()) == 1
        catalog_file(rig).write_bytes(data.replace(old.encode(), new.encode()))

    return lose


WAYS: dict[str, Callable[[Rig], None]] = {
    "deleted": delete,
    "deleted-with-its-directory": Rig.forget,
    "emptied": truncate_to(0),
    "cut-within-its-header": truncate_to(60),
    "cut-to-a-page": truncate_to(4096),
    "halved": halve,
    "overwritten": overwrite,
    "newer": statement("PRAGMA user_version = 1000"),
    "without-its-table": statement("DROP TABLE snapshot"),
    "without-its-id": statement("DELETE FROM about WHERE key = 'id'"),
    "without-its-mark": statement("PRAGMA application_id = 7"),
    "unknown-state": statement("UPDATE recording SET state = 'dome' WHERE id = 1"),
    "unknown-state-in-the-history": statement("UPDATE history SET state = 'actove' WHERE id = 1"),
    "receipt-that-is-none": statement("UPDATE receipt SET body = '{}'"),
    "date-that-is-none": statement("UPDATE recording SET taken_at = '2026-13-01T00:00:00'"),
    "header-that-forbids-writing": flipped(18, 1),
    "column-of-another-name": schema_change("camera BLOB NOT NULL, taken_at", "cbmera BLOB NOT NULL, taken_at"),
    "path-that-leads-out": statement("UPDATE recording SET path = CAST('../../etc/x.mp4' AS BLOB) WHERE id = 1"),
}
SET_ASIDE = {way for way in WAYS if not way.startswith("deleted") and way != "emptied"}
SEEN_BY_QUESTIONS = SET_ASIDE - {
    "unknown-state",
    "unknown-state-in-the-history",
    "header-that-forbids-writing",
}  # asked for by state, and by row


@pytest.fixture
def mixed(rig: Rig) -> Rig:
    """One of each: archived and let go of, with snapshots; kept verbatim; protected; quarantined."""
    rig.fake_ffmpeg()
    rig.upload("a", rig.path(0), snapshots=2)
    rig.upload("b", rig.path(10, camera="Garden Gate_01"))
    rig.keep(rig.upload("c", rig.path(20), snapshots=1))
    whole = rig.upload("tiny", rig.path(30))
    _make_small(rig, whole)
    os.truncate(rig.camera / rig.upload("d", rig.path(40)).path, 2000)
    os.utime(rig.camera / rig.path(40), (1_700_000_000, 1_700_000_000))
    kinds = results(rig.run_inside())
    assert sorted(kinds) == ["quarantined", "transcoded", "transcoded", "transcoded", "verbatim"]
    return rig


def _make_small(rig: Rig, upload: Upload) -> None:
    """Make an upload of what no transcode makes smaller, so that its bytes are its archive."""
    clip = footage.Clip("lost-catalog-tiny", 320, 180, "10", 1.5, crf=44, preset="medium", noise=0)
    path = rig.camera / upload.path
    status = path.stat()
    footage.place(clip, path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    rig.uploads[-1] = Upload(upload.path, sha256_of(path))


# ---- known again


@pytest.mark.parametrize("way", WAYS)
def test_lost_catalog_is_known_again_without_a_transcode(mixed: Rig, way: str) -> None:
    before, transcodes = all_known(mixed), mixed.ffmpeg_runs("transcode")
    trees = contents(mixed, mixed.archive), contents(mixed, mixed.trash), contents(mixed, mixed.camera)
    lost = catalog_file(mixed).read_bytes()
    WAYS[way](mixed)
    lost = catalog_file(mixed).read_bytes() if catalog_file(mixed).exists() else lost

    summary = mixed.run_inside()

    assert sorted(results(summary)) == ["adopted", "quarantined"]  # the protected one, the cut one
    assert mixed.ffmpeg_runs("transcode") == transcodes
    assert all_known(mixed) == before
    assert (contents(mixed, mixed.archive), contents(mixed, mixed.trash), contents(mixed, mixed.camera)) == trees
    assert [path.read_bytes() for path in broken_catalogs(mixed)] == ([lost] if way in SET_ASIDE else [])
    assert results(mixed.run_inside()) == []


@pytest.mark.timeout(900)
def test_catalog_of_three_hundred_recordings_is_known_again_without_a_transcode(rig: Rig) -> None:
    """Eight cameras, three days: let go of, with and without snapshots; protected; quarantined; verbatim."""
    rig.fake_ffmpeg()
    uploads = [_nth_upload(rig, number) for number in range(300)]
    first = rig.run_inside()
    assert len(results(first)) == 300
    before, transcodes = all_known(rig), rig.ffmpeg_runs("transcode")
    states = [known[0] for known in before.values()]
    assert (states.count(State.DONE), states.count(State.ARCHIVED), states.count(State.QUARANTINED)) == (240, 30, 30)
    assert transcodes >= 240
    rig.forget()

    second = rig.run_inside()

    assert rig.ffmpeg_runs("transcode") == transcodes
    assert results(second).count(Result.ADOPTED) == 30
    assert all_known(rig) == before
    assert len(uploads) == len(before)


def _nth_upload(rig: Rig, number: int) -> Upload:
    taken_at = START + timedelta(days=number % 3 - 3, minutes=number)
    path = PurePosixPath(footage.upload_path(Path(), f"camera {number % 8}", taken_at))
    upload = rig.upload("abcdefghij"[number // 30], path, snapshots=number % 3 == 0)
    if number % 10 == 3:
        rig.keep(upload)
    if number % 10 == 7:
        os.truncate(rig.camera / path, 1500 + number)
        os.utime(rig.camera / path, (1_700_000_000 + number, 1_700_000_000))
    if number % 50 == 5:
        _make_small(rig, upload)
    return upload


def test_flipped_bits_lose_nothing_and_end_no_run_for_good(mixed: Rig, record_property: Callable[..., None]) -> None:
    """Eight bits of the catalog, anywhere, each time: used on, or set aside and known again; never in the way."""
    sound = catalog_file(mixed).read_bytes()
    trees = contents(mixed, mixed.archive), contents(mixed, mixed.trash), contents(mixed, mixed.camera)
    transcodes = mixed.ffmpeg_runs("transcode")
    seeds = [random.SystemRandom().randrange(2**32) for _ in range(12)]
    record_property("seeds", seeds)
    for seed in seeds:
        chance = random.Random(seed)
        flipped = bytearray(sound)
        for _ in range(8):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        catalog_file(mixed).write_bytes(flipped)
        code = mixed.run("--quiet")
        told = f"seed {seed}: exit {code}: {mixed.output.read_text()[-2000:]}"
        assert code in {0, 1, 75}, told  # 75: the flip made another catalog's id of it, and nothing is touched
        assert mixed.ffmpeg_runs("transcode") == transcodes, told
        assert (contents(mixed, mixed.archive), contents(mixed, mixed.trash), contents(mixed, mixed.camera)) == trees, (
            told
        )


@pytest.mark.parametrize("way", sorted(SEEN_BY_QUESTIONS))
def test_broken_catalog_is_told_of_and_left_as_it_is_by_what_only_asks(
    mixed: Rig, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    WAYS[way](mixed)
    before = picture_of(mixed.base)
    remedy = "The next run sets the file aside and makes it anew from the trees: no recording is lost by that"

    listed = run_command_line(["list", "--config", str(mixed.config_file), str(mixed.camera)])

    said = capsys.readouterr()
    assert (listed, said.out) == (69, "")
    assert str(catalog_file(mixed)) in said.err
    assert remedy in said.err
    assert mixed.run_to_the_end("--dry-run") == 0
    said = capsys.readouterr()
    assert remedy in said.out
    assert mixed.path(20).name in said.out  # planned as new, from the trees alone
    assert picture_of(mixed.base) == before


def test_rebuild_is_told(mixed: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    overwrite(mixed)
    mixed.run_to_the_end()
    said = (mixed.camera / "archiver.log").read_text()
    assert "the catalog is damaged" in said
    assert f"set aside as {broken_catalogs(mixed)[0]}, and made anew from the trees" in said
    assert "the catalog is new, and was made from the trees; archives known again: 3" in said
    assert "Note: the catalog is new" in capsys.readouterr().out


def test_database_of_another_program_is_left_alone(mixed: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    catalog_file(mixed).unlink()
    statement("CREATE TABLE accounts (id INTEGER)")(mixed)
    theirs = catalog_file(mixed).read_bytes()

    assert mixed.run_to_the_end() == 69

    assert "is the database of another program" in capsys.readouterr().err
    assert catalog_file(mixed).read_bytes() == theirs
    assert broken_catalogs(mixed) == []


# ---- read-only


def test_catalog_of_another_user_is_copied_with_all_it_knows(rig: Rig) -> None:
    rig.upload("a")
    assert rig.run(wrapper=UNPRIVILEGED) == 0
    before = {row.path: (row, rig_history(rig, row)) for row in rig.rows()}
    catalog_file(rig).chmod(0o444)

    assert rig.run(wrapper=UNPRIVILEGED) == 0

    assert {row.path: (row, rig_history(rig, row)) for row in rig.rows()} == before
    (aside,) = broken_catalogs(rig)
    assert ".unwritable-" in aside.name
    assert f"set aside as {aside}, and copied, and used on" in (rig.camera / "archiver.log").read_text()
    rig.upload("b", rig.path(10))
    assert rig.run(wrapper=UNPRIVILEGED) == 0
    assert_all_archived(rig)


def rig_history(rig: Rig, row: Recording) -> list[Any]:
    with contextlib.closing(sqlite3.connect(catalog_file(rig))) as connection:
        return connection.execute("SELECT * FROM history WHERE recording = ?", (row.id,)).fetchall()


def test_catalog_in_a_directory_that_takes_no_file_stops_the_run_and_says_so(rig: Rig) -> None:
    rig.upload("a")
    assert rig.run(wrapper=UNPRIVILEGED) == 0
    rig.upload("b")
    catalog_file(rig).chmod(0o444)
    rig.state.chmod(0o555)
    try:
        code = rig.run(wrapper=UNPRIVILEGED)
    finally:
        rig.state.chmod(0o755)

    assert code == 69
    assert f"archiverd's user needs to write in {rig.state}" in rig.output.read_text()
    assert_nothing_lost(rig)


def test_catalog_that_may_not_even_be_read_stays_where_it_is(rig: Rig) -> None:
    rig.upload("a")
    assert rig.run(wrapper=UNPRIVILEGED) == 0
    before = catalog_file(rig).read_bytes()
    catalog_file(rig).chmod(0o000)

    code = rig.run(wrapper=UNPRIVILEGED)

    assert code == 69
    assert "may neither be written nor read by this user\n  Run archiverd as the user whose file it is" in (
        rig.output.read_text()
    )
    assert broken_catalogs(rig) == []
    assert catalog_file(rig).read_bytes() == before


def test_another_state_directory_makes_no_second_master(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.upload("a")
    rig.run_inside()
    rig.upload("b", rig.path(1))
    other = rig.base / "other"

    assert rig.run_to_the_end("--state-dir", str(other)) == 75

    said = capsys.readouterr().err
    assert f"which stands in {rig.state}" in said
    assert not (other / FILE_NAME).exists()
    shutil.move(catalog_file(rig), other / FILE_NAME)
    assert rig.run_to_the_end("--state-dir", str(other)) == 0


@pytest.mark.parametrize("verb", ["status", "list"])
def test_catalog_that_is_gone_is_told_as_such(mixed: Rig, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    delete(mixed)
    assert run_command_line([verb, "--config", str(mixed.config_file), str(mixed.camera)]) == 69
    said = capsys.readouterr().err
    assert "the catalog is not there any more\n  The next run makes it anew from the trees" in said
    assert mixed.run_to_the_end("--dry-run") == 0
    assert "Note: the catalog is not there any more" in capsys.readouterr().out


@pytest.mark.parametrize("tree", ["archive", "trash"])
def test_dry_run_without_the_disk_of_a_tree_is_refused_as_a_run_is(
    mixed: Rig, tree: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = {"archive": mixed.archive, "trash": mixed.trash}[tree]
    root.rename(mixed.base / "away")
    said = []
    for options in (("--dry-run",), ()):
        assert mixed.run_to_the_end(*options) == 69
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert f"the {tree} root has no marker" in said[0]
    assert f"mkdir '{root}' && touch '{root}/.archiverd-root'" in said[0]
    assert not root.exists()  # nothing is made where its disk is to be mounted


# ---- what else stood in the trees


def gone_file(rig: Rig) -> Path:
    """The clip that is set aside now: its name holds no snapshot's mark."""
    (path,) = [path for path in rig.camera.rglob(".archiverd-*.gone") if "s" not in path.name.split("-")[1]]
    return path


@pytest.mark.parametrize("snapshots", [0, 2])
def test_source_set_aside_by_a_job_nobody_knows_is_named_by_its_archive(rig: Rig, snapshots: int) -> None:
    rig.fake_ffmpeg()
    rig.upload("a", snapshots=snapshots)
    rig.run_until_killed("trash:before" if snapshots == 0 else "trash:before#2")
    assert gone_file(rig).is_file()
    rig.forget()

    rig.run_inside()

    assert rig.ffmpeg_runs("transcode") == 1
    assert_all_archived(rig)


def test_source_set_aside_whose_archive_is_its_bytes_is_named_too(rig: Rig) -> None:
    _make_small(rig, rig.upload("tiny"))
    rig.run_until_killed("trash:before")
    rig.forget()

    assert results(rig.run_inside()) == [Result.ADOPTED]

    assert_all_archived(rig)


def test_source_set_aside_that_no_archive_tells_of_is_left_and_named(rig: Rig) -> None:
    rig.upload("a")
    rig.run_until_killed("trash:before")
    aside = gone_file(rig)
    rig.forget()
    (rig.archive / rig.path()).unlink()
    content = sha256_of(aside)

    rig.run_to_the_end()

    assert sha256_of(aside) == content
    assert aside.name in (rig.camera / "archiver.log").read_text()


def test_tag_that_names_another_directory_moves_nothing_there(rig: Rig) -> None:
    """Whoever can upload can write our tag into a clip."""
    rig.upload("a")
    rig.run_until_killed("trash:before")
    aside = gone_file(rig)
    elsewhere = aside.with_name("elsewhere")
    elsewhere.mkdir()
    moved = elsewhere / aside.name
    aside.rename(moved)
    rig.forget()

    rig.run_inside()

    assert moved.is_file()
    assert not (rig.camera / rig.path()).exists()


def test_archive_that_is_not_whole_is_not_known_again(mixed: Rig) -> None:
    broken = mixed.archive / mixed.path(0)
    os.truncate(broken, 3000)
    mixed.forget()

    assert mixed.run_to_the_end() == 1

    row = next(row for row in mixed.rows() if row.path == mixed.path(0))
    assert (row.state, row.archive, row.disposed_to) == (State.GONE, None, mixed.path(0))
    assert row.reason == "it lies in the trash, and no archive of it stands"
    log = (mixed.camera / "archiver.log").read_text()
    assert f"{mixed.path(0)}: in the archive tree, is not whole" in log
    assert "archives that are not whole (`archiverd check` names them): 1" in log


def test_source_deleted_for_good_is_known_by_its_archive(rig: Rig) -> None:
    rig.upload("a")
    rig.run_inside(delete=True)
    rig.forget()

    rig.run_inside(delete=True)

    (row,) = rig.rows()
    assert (row.state, row.path, row.archive, row.disposed_to) == (State.DONE, rig.path(), rig.path(), None)
    assert_all_archived(rig, deleting=True)


def test_reupload_of_what_was_known_again_is_proven_anew(rig: Rig) -> None:
    """What a new catalog took from the trees is no evidence: a source that stands is compared with its archive."""
    rig.fake_ffmpeg()
    upload = rig.upload("a")
    rig.run_inside()
    rig.forget()
    rig.run_inside()
    trashed = rig.trash / upload.path
    shutil.move(trashed, rig.camera / upload.path)  # the very file, inode and all

    summary = rig.run_inside()

    assert results(summary) == [Result.ADOPTED]
    assert rig.ffmpeg_runs("transcode") == 1
    assert_all_archived(rig)


def test_forged_archive_of_a_reuploaded_source_lets_nothing_go(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.run_inside()
    archive = rig.archive / upload.path
    _forge(archive, rig.path(5))
    rig.forget()
    rig.run_inside()
    shutil.move(rig.trash / upload.path, rig.camera / upload.path)
    rig.strangers.add(upload.path)

    assert results(rig.run_inside()) == [Result.TRANSCODED]

    assert rig.row(upload).archive == upload.path.with_stem(f"{upload.path.stem}~2")


def _forge(archive: Path, other: PurePosixPath) -> None:
    """Put another clip in the place of an archive, with the archive's words about its source."""
    shown = ("ffprobe", "-v", "error", "-show_entries", "format_tags=archiverd", "-of", "json", f"file:{archive}")
    tag = json.loads(subprocess.run(shown, check=True, capture_output=True, text=True).stdout)["format"]["tags"][
        "archiverd"
    ]
    clip = footage.cached(footage.Clip(f"forged-{other.name}", 160, 120, "10", 0.3))
    copy = ("ffmpeg", "-v", "error", "-y", "-i", f"file:{clip}", "-c", "copy", "-movflags", "use_metadata_tags")
    subprocess.run((*copy, "-metadata", f"archiverd={tag}", f"file:{archive}"), check=True)


@pytest.mark.parametrize("closed", ["file", "directory"])
def test_rebuild_concludes_nothing_from_what_it_could_not_read(rig: Rig, closed: str) -> None:
    rig.upload("a")
    assert rig.run(wrapper=UNPRIVILEGED) == 0
    rig.forget()
    path = rig.archive / rig.path()
    path = path if closed == "file" else path.parent
    mode = path.stat().st_mode & 0o777
    path.chmod(0o000)
    rig.run(wrapper=UNPRIVILEGED)
    assert rig.rows() == []  # above all not: no archive of it stands
    path.chmod(mode)

    assert rig.run(wrapper=UNPRIVILEGED) == 0

    assert [(row.state, row.archive, row.disposed_to) for row in rig.rows()] == [(State.DONE, rig.path(), rig.path())]


def test_archive_whose_tag_is_sealed_for_another_root_is_not_adopted(rig: Rig) -> None:
    """The tag may have come with an upload: only what this archive root sealed is taken for its own."""
    rig.fake_ffmpeg()
    upload = rig.upload("a")
    rig.keep(upload)
    rig.run_inside()
    marker = rig.archive / ".archiverd-root"
    values = json.loads(marker.read_text())
    marker.write_text(json.dumps({**values, "nonce": "0123456789abcdef"}))
    rig.forget()
    rig.strangers.add(upload.path)

    assert results(rig.run_inside()) == [Result.TRANSCODED]

    assert rig.ffmpeg_runs("transcode") == 2


def test_late_snapshot_of_what_was_known_again_is_disposed_of_though_the_archive_moved_to_a_new_disk(rig: Rig) -> None:
    upload = rig.upload("a")
    rig.run_inside()
    rig.forget()
    rig.run_inside()
    archive = rig.archive / upload.path
    shutil.copy2(archive, archive.with_suffix(".new"))  # another inode, the same time
    archive.with_suffix(".new").replace(archive)
    picture = rig.camera / upload.path.with_suffix(".jpg")
    picture.write_bytes(b"late")
    os.utime(picture, (picture.stat().st_mtime - 7200,) * 2)

    summary = rig.run_inside()

    assert (results(summary), summary.exit_code) == ([Result.DISPOSED], 0)
    assert (rig.trash / upload.path.with_suffix(".jpg")).read_bytes() == b"late"
    assert rig.row(upload).reason == "its late snapshots were let go of"


# ---- cut short


@pytest.mark.parametrize("call", [1, 2, 3, 5, 8, 13, 21])
def test_rebuild_killed_at_any_sync_of_the_catalog_goes_on_at_the_next_start(mixed: Rig, call: int) -> None:
    before = all_known(mixed)
    mixed.forget()
    trace = mixed.base / "trace"
    inject = ("-e", "trace=fdatasync", "-e", f"inject=fdatasync:signal=KILL:when={call}")

    mixed.run(wrapper=("strace", "-f", "-qq", "-o", str(trace), *inject))

    assert "INJECTED" in trace.read_text() or "+++ killed by SIGKILL" in trace.read_text()
    mixed.run_inside()
    assert all_known(mixed) == before


def test_directory_that_can_not_be_read_is_read_by_a_later_start(mixed: Rig) -> None:
    before = all_known(mixed)
    day = (mixed.archive / mixed.path(0)).parent
    mixed.forget()
    day.chmod(0o000)
    try:
        mixed.run(wrapper=UNPRIVILEGED)
        assert all_known(mixed) != before
    finally:
        day.chmod(0o750)

    mixed.run(wrapper=UNPRIVILEGED)

    assert [row.archive for row in mixed.rows() if row.archive == mixed.path(0)] == [mixed.path(0)]
