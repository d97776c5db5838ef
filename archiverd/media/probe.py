"""What ffprobe tells of a clip: its streams, its tags, and every packet."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from archiverd.errors import TranscodeFailed
from archiverd.media import process
from archiverd.policy.clip_info import ClipInfo, Stream, StreamKind
from archiverd.policy.encoding import file_url, probe_command
from archiverd.policy.stop import StopToken

_LARGEST = 2.0**64  # ffprobe counts in 64 bits; the sum of two such numbers is a finite one
_FIELD = re.compile(r"(?:[^|\\]|\\.)+", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v"}


def own_url(handle: int) -> str:
    """The URL under which a child that inherits `handle` opens the same file, whatever its name is by then."""
    return file_url(f"/proc/self/fd/{handle}")


def probe(handle: int, *, stop: StopToken, limits: process.Limits) -> ClipInfo:
    """Probe an open file.

    Raises: TranscodeFailed where ffprobe can't read it; Interrupted; StartupError without ffprobe.
    """
    listing = Listing()
    finished = process.run(
        probe_command(own_url(handle)), stop=stop, limits=limits, pass_fds=(handle,), on_line=listing.feed
    )
    if finished.ending is process.Ending.STOPPED:
        stop.check()
    if not finished.ok:
        raise TranscodeFailed(finished.describe(), killed=finished.ending is not process.Ending.EXITED)
    return listing.info()


@dataclass(slots=True)
class _Packets:
    """What is kept of the packets of one stream."""

    count: int = 0
    dropped: int = 0
    first_s: float = math.inf
    end_s: float = -math.inf
    longest_s: float = 0.0
    decoded_s: float = -math.inf  # when the latest is to be decoded
    rises: bool = True
    payloads: hashlib._Hash = field(default_factory=hashlib.sha256)


class Listing:
    """Reads ffprobe's `compact` writer line by line: `section|key=value|…`, C escapes in values.

    A packet with side data is continued on a line of its own that begins with `|`. The one word of a file that
    ffprobe prints without escapes is the key of a tag: a newline in it looks like another record, a `|` like
    another field. Tags are in the last record only, after all its other fields, and are read with that in mind.
    """

    def __init__(self) -> None:
        self._record: list[str] = []  # the lines of the one that is being read
        self._packets: dict[int, _Packets] = {}
        self._times: dict[int, list[float]] = {}
        self._streams: list[Stream] = []
        self._duration_s = 0.0
        self._tags: dict[str, str] = {}

    def feed(self, line: str) -> bool:
        """Take one line. Always a sign of progress."""
        if self._record and self._record[0].startswith("format|"):
            self._record += ("\n", line)
        elif line.startswith("|"):
            self._record.append(line)
        else:
            self._take("".join(self._record))
            self._record = [line]
        return True

    def info(self) -> ClipInfo:
        """All that was read."""
        self._take("".join(self._record))
        self._record = []
        streams = tuple(self._with_packets(stream) for stream in self._streams)
        clip = ClipInfo(streams, self._duration_s, dict(self._tags), ())
        video = clip.video
        times = () if video is None else tuple(sorted(self._times.get(video.index, ())))
        return replace(clip, frame_times_s=times)

    def _take(self, record: str) -> None:
        section, _, rest = record.partition("|")
        match section:
            case "packet":
                self._take_packet(rest)
            case "stream":
                self._streams.append(_stream(dict(_pairs(rest))))
            case "format":
                self._take_format(rest)
            case _:
                return

    def _take_format(self, rest: str) -> None:
        """Take the duration where no tag comes before it, and each tag that is told once."""
        pairs = _pairs(rest)
        told = Counter(key for key, _ in pairs)
        before_tags = dict(itertools.takewhile(lambda pair: not pair[0].startswith("tag:"), pairs))
        self._duration_s = _number(before_tags.get("duration")) or 0.0
        self._tags = {key[4:]: value for key, value in pairs if key.startswith("tag:") and told[key] == 1}

    def _take_packet(self, rest: str) -> None:
        values = dict(part.partition("=")[::2] for part in rest.split("|"))
        index = int(_number(values.get("stream_index")) or 0)
        packets = self._packets.setdefault(index, _Packets())
        payload = values.get("data_hash", "")
        packets.payloads.update(payload.encode("ascii", "replace"))
        if "D" in values.get("flags", ""):
            packets.dropped += 1
            return
        packets.count += 1
        time_s, decoded_s = _number(values.get("pts_time")), _number(values.get("dts_time"))
        if decoded_s is not None:
            packets.rises &= decoded_s > packets.decoded_s
            packets.decoded_s = decoded_s
        if time_s is None:
            time_s = decoded_s
        if time_s is None:
            return
        length_s = _number(values.get("duration_time")) or 0.0
        packets.first_s = min(packets.first_s, time_s)
        packets.end_s = max(packets.end_s, time_s + length_s)
        packets.longest_s = max(packets.longest_s, length_s)
        self._times.setdefault(index, []).append(time_s)

    def _with_packets(self, stream: Stream) -> Stream:
        packets = self._packets.get(stream.index, _Packets())
        timed = packets.end_s >= packets.first_s
        return replace(
            stream,
            packets=packets.count,
            first_s=packets.first_s if timed else 0.0,
            end_s=packets.end_s if timed else 0.0,
            longest_packet_s=packets.longest_s,
            digest=packets.payloads.hexdigest(),
            rises=packets.rises,
        )


def _pairs(rest: str) -> list[tuple[str, str]]:
    parts: Iterable[str] = _FIELD.findall(rest)
    pairs = (part.partition("=") for part in parts)
    return [(_plain(key), _plain(value)) for key, _, value in pairs]


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text) if "\\" in text else text


def _number(text: str | None) -> float | None:
    """The number, or None for what is missing, `N/A`, or no number that 64 bits count to."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if abs(value) <= _LARGEST else None


def _stream(values: dict[str, str]) -> Stream:
    kind = values.get("codec_type", "")
    color_range = values.get("color_range", "")
    rotations = (_number(value) for key, value in values.items() if key.endswith("rotation"))
    return Stream(
        index=int(_number(values.get("index")) or 0),
        kind=StreamKind(kind) if kind in ("video", "audio", "subtitle") else StreamKind.OTHER,
        codec=values.get("codec_name", ""),
        encoder=values.get("tag:encoder", ""),
        packets=0,
        first_s=0.0,
        end_s=0.0,
        longest_packet_s=0.0,
        digest="",
        width=int(_number(values.get("width")) or 0),
        height=int(_number(values.get("height")) or 0),
        pix_fmt=values.get("pix_fmt", ""),
        color_range="" if color_range == "unknown" else color_range,
        rotation=int(next((turn for turn in rotations if turn is not None), 0.0)),
        is_picture=values.get("disposition:attached_pic") == "1",
    )
