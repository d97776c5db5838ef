"""Recordings as the catalog and a scan tell of them, with everything but what a test is about filled in."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from archiverd.policy.model import (
    ArchiveKind,
    ClipName,
    Fingerprint,
    FoundFile,
    FoundRecording,
    Receipt,
    Recording,
    State,
)
from archiverd.policy.naming import parse_clip_name

NOW = datetime(2026, 7, 1, 12, 0).timestamp()
TAKEN_AT = datetime(2026, 6, 30, 8, 15, 0)
PATH = PurePosixPath("2026/06/30/REO_front_20260630081500.mp4")
OLD_NS = int((NOW - 3600) * 1e9)  # an mtime that has settled long ago
MARK = Fingerprint(ino=11, size=1000, mtime_ns=OLD_NS)


def name_of(path: PurePosixPath) -> ClipName:
    """What the name of a clip says; for a name that says nothing, a camera of that name."""
    name = parse_clip_name(path.name)
    return name if isinstance(name, ClipName) else ClipName(path.stem, TAKEN_AT)


def found(path: PurePosixPath = PATH, mark: Fingerprint = MARK, **changes: Any) -> FoundRecording:
    """A recording seen in a tree; `changes` are fields of FoundRecording."""
    return FoundRecording(FoundFile.at(path, mark, name_of(path)), **changes)


def snapshot_of(path: PurePosixPath = PATH) -> FoundFile:
    """The snapshot beside a clip."""
    return FoundFile.at(path.with_suffix(".jpg"), Fingerprint(12, 100, OLD_NS), name_of(path))


def recording(state: State = State.WAITING, path: PurePosixPath = PATH, **changes: Any) -> Recording:
    """A recording the catalog knows; `changes` are fields of Recording."""
    fields: dict[str, Any] = {
        "id": 1, "path": path, "fingerprint": MARK, "name": name_of(path), "state": state, "reason": "new",
        "not_before": NOW - 60, "seen_at": NOW - 60, "attempts": 0, "crashes": 0, "job": "", "archive": None,
        "archive_sha256": "", "archive_size": 0, "receipt": None, "disposed_to": None,
    }  # fmt: skip
    return Recording(**fields | changes)


def receipt(**changes: Any) -> Receipt:
    """The receipt of a transcode to 400 of 1000 bytes; `changes` are fields of Receipt."""
    fields: dict[str, Any] = {
        "kind": ArchiveKind.TRANSCODED, "source": MARK, "source_sha256": "5" * 64,
        "archive": Fingerprint(21, 400, OLD_NS), "archive_sha256": "a" * 64, "rung": "software",
        "encoder": "hevc (Lavf59.27.100)", "reason": "", "frames": 30, "duration_s": 2.0,
        "checks": ("frames: 30 of 30",), "claimed_at": NOW, "encode_s": 1.25, "verify_s": 0.5, "committed_at": NOW + 2,
    }  # fmt: skip
    return Receipt(**fields | changes)
