"""Gathers the evidence on which an output is judged. The judgement itself is `policy.verdict`."""

from __future__ import annotations

from archiverd.media import boxes, process
from archiverd.media.probe import probe
from archiverd.media.source import Source
from archiverd.media.transcoder import OnPosition, Transcoder
from archiverd.policy.likeness import Likeness
from archiverd.policy.stop import StopToken
from archiverd.policy.verdict import Evidence


class Verifier:
    """Compares an output with its source, by reading both."""

    def __init__(self, transcoder: Transcoder, limits: process.Limits, stop: StopToken) -> None:
        self._transcoder = transcoder
        self._limits = limits
        self._stop = stop

    def evidence(
        self, source: Source, source_frames: int, output: int, output_size: int, *, height: int,
        on_position: OnPosition, compare_pictures: bool = False,
    ) -> Evidence:  # fmt: skip
        """Walk, probe and decode the open file `output`.

        `source_frames` decoded strictly during the transcode; `height` is what the output was to have.
        `compare_pictures` is for what a device made: it may end well with every frame there and green, so all frames
        are compared by their looks, and the codec is to be the one that was asked for.
        Raises: TranscodeFailed where the output can't be read at all; ResourceError; Interrupted.
        """
        walk = boxes.walk(output)
        info = probe(output, stop=self._stop, limits=self._limits)
        encoded = bool(source.selection.encoded_audio)
        decoded = self._transcoder.decode(output, encoded_audio=encoded, on_position=on_position)
        comparable = compare_pictures and not decoded.error and decoded.frames == source_frames > 0
        return Evidence(
            source=source.info,
            selection=source.selection,
            declared_frames=source.declared_frames,
            source_frames=source_frames,
            source_size=source.size,
            output=info,
            output_fault=walk.fault,
            output_frames=decoded.frames,
            output_error=decoded.error,
            output_size=output_size,
            height=height,
            codec=self._transcoder.settings.codec if compare_pictures else "",
            likeness=self._likeness(source, output, decoded.frames, on_position) if comparable else None,
        )

    def _likeness(self, source: Source, output: int, frames: int, on_position: OnPosition) -> Likeness:
        return self._transcoder.likeness(source.handle, output, frames, on_position=on_position)
