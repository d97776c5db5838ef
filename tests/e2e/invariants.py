"""Holds the three trees and the catalog against what was ever uploaded: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from archiverd.cli import run_command_line
from archiverd.policy.model import ArchiveKind, Place, Receipt, State, Tree
from tests.e2e.rig import Rig, sha256_of

_PROBE = ("ffprobe", "-v", "error", "-err_detect", "crccheck+explode", "-select_streams", "v:0", "-count_frames")
_ENTRIES = ("-show_entries", "stream=nb_read_frames:format_tags=archiverd", "-of", "json")

_KNOWN: dict[str, tuple[int, str]] = {}  # what was probed, by its content

Places = dict[str, set[PurePosixPath]]  # the SHA-256 of a content -> where it stands


def assert_checked(rig: Rig) -> None:
    """`archiverd check --full` has nothing to say against what stands, and knows everything that does."""
    assert run_command_line(["check", "--full", "--quiet", *rig.options]) == 0


def assert_nothing_lost(rig: Rig, *, overwritten: Collection[str] = (), deleting: bool = False) -> Places:
    """Each content ever uploaded stands as a source, or it has its one sound archive and lies in the trash.

    `overwritten` are contents the uploader itself destroyed: no trash can hold them. `deleting`: there is no trash.
    Returns the archives by the content of their source.
    """
    archives = assert_archives_sound(rig)
    sources, trashed = contents(rig, rig.camera), contents(rig, rig.trash)
    for upload in rig.uploads:
        what = f"{upload.path} ({upload.sha256[:8]})"
        if upload.sha256 in sources or upload.sha256 in overwritten:
            continue
        assert upload.sha256 in archives, f"{what}: neither a source nor an archive of it is left"
        assert deleting or upload.sha256 in trashed, f"{what}: neither a source nor in the trash"
    beside = contents(rig, rig.archive)
    for path, sha256 in rig.snapshots.items():
        places = sources.get(sha256, set()) | trashed.get(sha256, set()) | beside.get(sha256, set())
        assert deleting or places, f"{path}: the snapshot is lost"
    rig.assert_bystanders_untouched()
    return archives


def assert_all_archived(rig: Rig, *, overwritten: Collection[str] = (), deleting: bool = False) -> None:
    """Nothing is lost and all is done: each content archived exactly once, no source left, no trace of a job."""
    archives = assert_nothing_lost(rig, overwritten=overwritten, deleting=deleting)
    assert_no_traces(rig)
    assert {upload.sha256 for upload in rig.uploads} - set(overwritten) <= archives.keys()
    left, trashed = contents(rig, rig.camera), contents(rig, rig.trash)
    assert not left, f"still among the sources: {left}"
    assert deleting == (not trashed)
    twice = {sha256: places for sha256, places in trashed.items() if len(places) > 1}
    assert not twice, f"more than once in the trash: {twice}"


def assert_snapshots_archived(rig: Rig) -> None:
    """Each snapshot stands once beside the archive of its recording and nowhere else, and the catalog says so."""
    beside = contents(rig, rig.archive)
    elsewhere = contents(rig, rig.camera).keys() | contents(rig, rig.trash).keys()
    told = {
        snapshot.path: (snapshot.disposed_to, row.archive)
        for row in rig.rows()
        for snapshot in row.snapshots
        if row.state is State.DONE
    }
    for path, sha256 in rig.snapshots.items():
        (place,) = beside[sha256]
        assert sha256 not in elsewhere, f"{path}: stands beside its archive, and is not the only one"
        went_to, archive = told[path]
        assert went_to == Place(Tree.ARCHIVE, place)
        assert archive is not None
        assert archive.parent == place.parent
        status = (rig.archive / place).stat()
        assert oct(stat.S_IMODE(status.st_mode)) == oct(0o640)
        assert status.st_mtime_ns == rig.snapshot_mtimes[path]


def assert_archives_sound(rig: Rig) -> Places:
    """Each archive stands as its receipt says, decodes to all its frames, and is the only one of its source.

    What a file says of its own source agrees with its receipt, and no file stands there that has no receipt.
    Returns the archives by the content of their source.
    """
    standing = {
        PurePosixPath(path.relative_to(rig.archive)): path
        for path in rig.archive.rglob("*.mp4")
        if PurePosixPath(path.relative_to(rig.archive)) not in rig.strangers
    }
    receipts = _receipts(rig)
    without_receipt = standing.keys() - receipts.keys()
    assert not without_receipt, f"archives that no recording knows of: {without_receipt}"
    found: Places = {}
    for archive, receipt in receipts.items():
        path = rig.archive / archive
        assert path.is_file(), f"{archive}: committed, and not there"
        sha256 = sha256_of(path)
        # Of an archive that a new catalog found standing no hash is known; one that names no source is its source.
        assert (path.stat().st_size, receipt.archive_sha256 or sha256) == (receipt.archive.size, sha256)
        assert receipt.archive_sha256 or receipt.kind is ArchiveKind.REBUILT
        frames, told = probed(path)
        assert frames == receipt.frames > 0
        assert told in (receipt.source_sha256, "")
        found.setdefault(receipt.source_sha256 or sha256, set()).add(archive)
    twice = {sha256: places for sha256, places in found.items() if len(places) > 1}
    assert not twice, f"archived more than once: {twice}"
    return found


def assert_final_names_are_whole(rig: Rig) -> None:
    """Whatever stands in the archive tree under a final name decodes, and names the very source that was uploaded."""
    assert archives_by_name(rig) <= {upload.sha256 for upload in rig.uploads}


def archives_by_name(rig: Rig) -> set[str]:
    """What the archives that stand say of themselves: the SHA-256 of their sources. The least decoding error fails."""
    return {probed(path)[1] for path in rig.archive.rglob("*.mp4")}


def assert_no_traces(rig: Rig) -> None:
    """No part, nothing set aside, no row that a job still holds, no child alive."""
    assert not traces(rig)
    unfinished = [row for row in rig.rows() if row.state in (State.ACTIVE, State.PUBLISHING)]
    assert not unfinished
    assert not children(rig)


def traces(rig: Rig) -> list[Path]:
    """Every part, and every file that is set aside."""
    roots = (rig.camera, rig.archive, rig.trash)
    return sorted({path for root in roots for end in ("part", "gone") for path in root.rglob(f".archiverd-*.{end}")})


def children(rig: Rig) -> list[str]:
    """The command lines of all other processes that have this rig's search path."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            # A process that is over, and not yet reaped, has neither environment nor arguments.
            if f"PATH={rig.programs}:".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return found


def contents(rig: Rig, root: Path) -> Places:
    """The SHA-256 of every clip and snapshot below a root, the other roots left out, and where it stands."""
    found: Places = {}
    others = [other for other in (rig.archive, rig.trash, rig.state) if other != root]
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file() or any(path.is_relative_to(other) for other in others):
            continue
        if path.suffix in (".mp4", ".jpg", ".gone") and path not in rig.bystanders:
            found.setdefault(sha256_of(path), set()).add(PurePosixPath(path.relative_to(root)))
    return found


def picture_of(root: Path) -> dict[str, str]:
    """Everything below a directory: what each path is, and for files when they were written and what they hold."""
    return {str(path.relative_to(root)): _described(path) for path in root.rglob("*")}


def _described(path: Path) -> str:
    if path.is_symlink():
        return f"symlink to {path.readlink()}"
    return "directory" if path.is_dir() else f"{path.stat().st_mtime_ns} {sha256_of(path)}"


def _receipts(rig: Rig) -> dict[PurePosixPath, Receipt]:
    """The receipt of every archive the catalog counts on. An archive may stand for one content only."""
    found: dict[PurePosixPath, Receipt] = {}
    for row in rig.rows():
        if row.state not in (State.ARCHIVED, State.DONE):
            continue
        assert row.receipt is not None
        assert row.archive is not None
        same = found.setdefault(row.archive, row.receipt)
        assert same.source_sha256 == row.receipt.source_sha256, f"{row.archive}: stands for two contents"
    return found


def probed(path: Path) -> tuple[int, str]:
    """How many frames decode, and the source its metadata name; the least decoding error fails."""
    sha256 = sha256_of(path)
    if sha256 not in _KNOWN:
        _KNOWN[sha256] = _probe(path)
    return _KNOWN[sha256]


def _probe(path: Path) -> tuple[int, str]:
    done = subprocess.run((*_PROBE, *_ENTRIES, f"file:{path}"), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), f"{path}: does not decode"
    values: dict[str, Any] = json.loads(done.stdout)  # Any: what JSON holds
    tag = values.get("format", {}).get("tags", {}).get("archiverd")
    return int(values["streams"][0]["nb_read_frames"]), str(json.loads(tag)["sha256"]) if tag else ""
