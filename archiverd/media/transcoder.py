"""The Transcoder: one clip through ffmpeg, and the strict decode that tells whether a file is sound."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from archiverd.errors import Interrupted, ResourceError, TranscodeFailed
from archiverd.media import process
from archiverd.media.ffmpeg_progress import Position, ProgressFeed
from archiverd.media.probe import own_url
from archiverd.media.source import Source
from archiverd.policy.encoding import (
    EncodeSettings,
    likeness_command,
    strict_decode_command,
    transcode_command,
)
from archiverd.policy.likeness import Likeness, LikenessFeed
from archiverd.policy.rungs import Engine
from archiverd.policy.stop import StopToken
from archiverd.policy.verdict import too_large

log = logging.getLogger(__name__)

OnPosition = Callable[[Position], None]

# What ffmpeg says when the machine, not the file, fails it (strerror texts of the C locale, at the end of a line).
# Not "Cannot allocate memory": that is what one file too large for its memory limit gets.
_MACHINE = re.compile(
    r": (No space left on device|Disk quota exceeded|Read-only file system|Stale file handle"
    r"|Transport endpoint is not connected)$",
    re.MULTILINE,
)
# Of what ffmpeg writes; what it reads is the source, which may be at fault itself. The words of ffmpeg 5 to 8.
_WRITING = re.compile(r"(?:[Ww]rit|(?<!de)mux|[Cc]losing file).*: (Input/output error)$", re.MULTILINE)
_FILE_SLACK = 64 << 20  # bytes an output may be above its source before the kernel ends it


@dataclass(frozen=True, slots=True)
class Transcoded:
    """A transcode that ended well, or was given up because it grew too large."""

    engine: Engine
    frames: int  # encoded; where the rung decodes strictly, decoded so
    elapsed_s: float
    grown_to: int | None  # bytes, where it was given up; None for a finished output


@dataclass(frozen=True, slots=True)
class Decoded:
    """A strict decode: how many frames, and the first error in words (empty for none)."""

    frames: int
    error: str


class Transcoder:
    """Runs ffmpeg on open files. Holds nothing between calls; a call blocks until its ffmpeg is gone.

    The files are handed to ffmpeg as descriptors, so that what is read and written is what was opened and
    checked, whatever happens to the names meanwhile.
    """

    def __init__(self, settings: EncodeSettings, limits: process.Limits, stop: StopToken) -> None:
        self.settings = settings
        self._limits = limits
        self._stop = stop

    def transcode(
        self, source: Source, target: int, engine: Engine, tags: Mapping[str, str], on_position: OnPosition
    ) -> Transcoded:  # fmt: skip
        """Transcode a source on an engine into the open, empty file `target`, adding `tags` to its metadata.

        Raises: TranscodeFailed; ResourceError where the machine failed; Interrupted.
        """
        feed = ProgressFeed()

        def on_line(line: str) -> bool | None:
            further = feed.feed(line)
            if not further:
                return None
            if too_large(feed.position.size_bytes, source.size):
                return False
            on_position(feed.position)
            return True

        command = transcode_command(
            source.info, source.selection, self.settings, engine, own_url(source.handle), own_url(target),
            size_bytes=source.size, tags=dict(tags),
        )  # fmt: skip
        limits = replace(self._limits, file_bytes=source.size + _FILE_SLACK)
        if engine.rung.on_device:
            limits = replace(limits, memory_bytes=None, devices=(engine.device,))  # a driver maps more than it uses
        finished = process.run(
            command, stop=self._stop, limits=limits, pass_fds=(source.handle, target), on_line=on_line
        )  # fmt: skip
        self._raise_for_machine(finished)
        grown = finished.ending is process.Ending.ABANDONED or finished.outgrew_file_limit
        if not grown and not finished.ok:
            raise _failure(finished)
        return Transcoded(engine, feed.position.frames, finished.elapsed_s, feed.position.size_bytes if grown else None)

    def decode(self, handle: int, *, encoded_audio: bool, on_position: OnPosition) -> Decoded:
        """Decode an open file strictly, in software.

        Raises: TranscodeFailed where the decode says nothing of the file (killed, stalled, out of time);
        ResourceError; Interrupted.
        """
        feed = ProgressFeed()

        def on_line(line: str) -> bool | None:
            if not feed.feed(line):
                return None
            on_position(feed.position)
            return True

        finished = process.run(
            strict_decode_command(own_url(handle), encoded_audio=encoded_audio),
            stop=self._stop, limits=self._limits, pass_fds=(handle,), on_line=on_line,
        )  # fmt: skip
        self._raise_for_machine(finished)
        if finished.ending is not process.Ending.EXITED:
            raise _failure(finished, "strict decode: ")
        if finished.returncode != 0 or finished.stderr.strip():
            return Decoded(feed.position.frames, _first_line(finished))
        return Decoded(feed.position.frames, "")

    def likeness(self, source: int, output: int, frames: int, *, on_position: OnPosition) -> Likeness:
        """How like two open files of so many `frames` look, frame by frame.

        Raises: TranscodeFailed where they can't be compared; ResourceError; Interrupted.
        """
        progress, compared = ProgressFeed(), LikenessFeed()

        def on_line(line: str) -> bool | None:
            compared.feed(line)
            if not progress.feed(line):
                return None
            on_position(progress.position)
            return True

        finished = process.run(
            likeness_command(own_url(source), own_url(output)),
            stop=self._stop, limits=self._limits, pass_fds=(source, output), on_line=on_line,
        )  # fmt: skip
        self._raise_for_machine(finished)
        if not finished.ok:
            raise _failure(finished, "comparing pictures: ")
        if compared.frames != frames:
            raise TranscodeFailed(f"comparing pictures: ffmpeg told of {compared.frames} of {frames} frames")
        return compared.likeness

    def _raise_for_machine(self, finished: process.Finished) -> None:
        if finished.ending is process.Ending.STOPPED:
            self._stop.check()
            raise Interrupted(15)
        said = _MACHINE.search(finished.stderr) or _WRITING.search(finished.stderr)
        if said is not None and not finished.ok:
            raise ResourceError(
                f"ffmpeg was failed by the machine: {said[1]}", advice="The work goes on when that is mended"
            )


def _failure(finished: process.Finished, doing: str = "") -> TranscodeFailed:
    hung = finished.ending in (process.Ending.STALLED, process.Ending.TIMED_OUT)
    killed = finished.ending is not process.Ending.EXITED
    return TranscodeFailed(f"{doing}{finished.describe()}", said=finished.stderr, hung=hung, killed=killed)


def _first_line(finished: process.Finished) -> str:
    lines = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    return lines[0][:300] if lines else finished.describe()
