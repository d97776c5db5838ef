"""A source as the media tools are handed it."""

from __future__ import annotations

from dataclasses import dataclass

from archiverd.media.boxes import BoxWalk
from archiverd.policy.clip_info import ClipInfo, Selection


@dataclass(frozen=True, slots=True)
class Source:
    """An admitted source, open, with all that is known of it before the work begins."""

    handle: int
    size: int  # bytes
    declared_frames: int  # by its sample tables
    info: ClipInfo
    selection: Selection


def declared_frames(walk: BoxWalk) -> int:
    """The frames the footage has by its own tables: those of the first video track."""
    return next((track.samples for track in walk.tracks if track.handler == "vide"), 0)
