"""ffmpeg and ffprobe on real clips and on hostile ones: what they may open, how much they may use, what they notice."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from archiverd.errors import ResourceError, TranscodeFailed
from archiverd.media import boxes
from archiverd.media.ffmpeg_progress import Position
from archiverd.media.probe import probe
from archiverd.media.process import Ending, Finished, Limits
from archiverd.media.source import Source, declared_frames
from archiverd.media.transcoder import Decoded, Transcoded, Transcoder
from archiverd.media.verifier import Verifier
from archiverd.policy.clip_info import select
from archiverd.policy.encoding import EncodeSettings, transcode_command
from archiverd.policy.likeness import Likeness
from archiverd.policy.rungs import SOFTWARE, Engine, RateControl, Rung
from archiverd.policy.stop import NeverStop
from archiverd.policy.verdict import Evidence
from tests.program import environment
from tools import damage, footage
from tools.footage import Clip

LIMITS = Limits(stall_s=30, wall_s=120, memory_bytes=8 << 30)
SETTINGS = EncodeSettings("hevc", 26, "ultrafast")
CLIP = Clip("transcoder", 320, 180, "10", 1.0, audio="aac", crf=14, noise=6)
MIB = 1 << 20


def ignore(_position: Position) -> None:
    return


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """A clip as a job has it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        info = probe(handle, stop=NeverStop(), limits=LIMITS)
        yield Source(handle, path.stat().st_size, declared_frames(boxes.walk(handle)), info, select(info))
    finally:
        os.close(handle)


@contextmanager
def target_at(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def transcode(
    clip: Path, target: Path, *, settings: EncodeSettings = SETTINGS, limits: Limits = LIMITS,
    engine: Engine = SOFTWARE, on_position: Callable[[Position], None] = ignore,
) -> Transcoded:  # fmt: skip
    with opened(clip) as source, target_at(target) as handle:
        return Transcoder(settings, limits, NeverStop()).transcode(source, handle, engine, {}, on_position)


def decode(path: Path, *, limits: Limits = LIMITS, encoded_audio: bool = False) -> Decoded:
    handle = os.open(path, os.O_RDONLY)
    try:
        transcoder = Transcoder(SETTINGS, limits, NeverStop())
        return transcoder.decode(handle, encoded_audio=encoded_audio, on_position=ignore)
    finally:
        os.close(handle)


@pytest.fixture
def source() -> Path:
    return footage.cached(CLIP)


# ---- good clips


@pytest.mark.parametrize(("codec", "tag"), [("hevc", "hvc1"), ("h264", "avc1")])
def test_transcode_gives_the_codec_asked_for(tmp_path: Path, codec: str, tag: str) -> None:
    target = tmp_path / "out"
    transcode(footage.cached(CLIP), target, settings=replace(SETTINGS, codec=codec))
    shown = ("-show_entries", "stream=codec_name,codec_tag_string", "-select_streams", "v", "-of", "csv=p=0")
    done = subprocess.run(("ffprobe", "-v", "error", *shown, target), check=True, capture_output=True, text=True)
    assert done.stdout.strip() == f"{codec},{tag}"


def test_transcode_counts_the_frames_it_decoded(tmp_path: Path) -> None:
    made = transcode(footage.cached(CLIP), tmp_path / "out")
    assert (made.frames, made.grown_to) == (10, None)


def test_transcode_tells_how_far_it_is_in_order(tmp_path: Path) -> None:
    told: list[Position] = []
    transcode(footage.cached(replace(CLIP, seconds=6.0)), tmp_path / "out", on_position=told.append)
    frames = [position.frames for position in told]
    assert frames == sorted(frames)
    assert frames[-1] == 60
    assert told[-1].out_time_s == pytest.approx(6.0, abs=0.2)


def test_transcode_scales_down_to_an_even_size(tmp_path: Path) -> None:
    transcode(footage.cached(CLIP), tmp_path / "out", settings=replace(SETTINGS, max_height=90))
    with opened(tmp_path / "out") as made:
        video = made.info.video
        assert video is not None
        assert (video.width, video.height) == (160, 90)


def test_transcode_writes_the_tags_it_is_given(tmp_path: Path) -> None:
    told = json.dumps({"source": "a\\b=c;d\n#é", "v": 1})
    with opened(footage.cached(CLIP)) as source, target_at(tmp_path / "out") as handle:
        Transcoder(SETTINGS, LIMITS, NeverStop()).transcode(source, handle, SOFTWARE, {"archiverd": told}, ignore)
    with opened(tmp_path / "out") as made:
        assert made.info.tags["archiverd"] == told


# ---- hostile files: scripts that name other files and other machines

_BAIT = "bait.mp4"
_CHILD = """\
import os, sys
from archiverd.errors import JobError, ArchiverError
from archiverd.media.probe import probe
from archiverd.media.transcoder import Transcoder
from tests.integrations import test_integrations_transcoder as here
from dataclasses import replace
script, clip, target, what = sys.argv[1:]
handle = os.open(script, os.O_RDONLY)
transcoder = Transcoder(here.SETTINGS, here.LIMITS, here.NeverStop())
try:
    if what == "probe":
        probe(handle, stop=here.NeverStop(), limits=here.LIMITS)
    elif what == "decode":
        print("error:", transcoder.decode(handle, encoded_audio=True, on_position=here.ignore).error)
    else:
        with here.opened(here.Path(clip)) as source, here.target_at(here.Path(target)) as output:
            transcoder.transcode(replace(source, handle=handle), output, here.SOFTWARE, {}, here.ignore)
except JobError as error:
    print("error:", error)
"""


@dataclass(frozen=True)
class Traced:
    """What a child and all it started opened and connected to."""

    said: str
    calls: tuple[str, ...]


def traced(folder: Path, script: str, what: str) -> Traced:
    bait, hostile, log = folder / _BAIT, folder / "REO_front_20260314150000.mp4", folder / "strace"
    shutil.copyfile(footage.cached(CLIP), bait)
    hostile.write_bytes(script.format(bait=bait).encode("latin-1"))
    trace = ("strace", "-f", "-qq", "-s", "300", "-e", "trace=open,openat,openat2,socket,connect", "-o", log)
    child = (sys.executable, "-c", _CHILD, hostile, footage.cached(CLIP), folder / "out", what)
    done = subprocess.run((*trace, *child), check=True, capture_output=True, text=True, env=environment(), timeout=60)
    return Traced(done.stdout, tuple(log.read_text().splitlines()))


each_script = pytest.mark.parametrize("script", [pytest.param(text, id=kind) for kind, text in damage.SCRIPTS.items()])


@each_script
@pytest.mark.parametrize("what", ["probe", "transcode", "decode"])
def test_script_named_mp4_opens_no_other_file_and_no_socket(tmp_path: Path, script: str, what: str) -> None:
    seen = traced(tmp_path, script, what)
    assert [call for call in seen.calls if "bait" in call or "socket(" in call or "connect(" in call] == []
    read_by_ffmpeg = [call for call in seen.calls if re.search(r'"/proc/self/fd/\d+", O_RDONLY', call)]
    assert read_by_ffmpeg, "ffmpeg was not seen to read the script itself"
    assert seen.said.startswith("error: ")


# ---- what ffmpeg may use


class Programs:
    """Programs that stand before the real ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stand(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


@pytest.fixture
def programs(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Made after `source`, which the real ffmpeg makes."""
    assert source.is_file()
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Programs(folder)


def limit_seen(path: Path, name: str) -> tuple[str, str]:
    """Soft and hard limit in a copy of /proc/self/limits."""
    line = next(line for line in path.read_text().splitlines() if line.startswith(name))
    soft, hard = line[len(name) :].split()[:2]
    return soft, hard


def test_transcode_runs_under_its_limits(tmp_path: Path, programs: Programs, source: Path) -> None:
    seen = tmp_path / "limits"
    programs.stand("ffmpeg", f"cat /proc/self/limits > {seen}; exit 1")
    with pytest.raises(TranscodeFailed):
        transcode(source, tmp_path / "out", limits=replace(LIMITS, memory_bytes=900 * MIB))
    file_size = str(source.stat().st_size + 64 * MIB)
    assert limit_seen(seen, "Max address space") == (str(900 * MIB), str(900 * MIB))
    assert limit_seen(seen, "Max file size") == (file_size, file_size)
    assert limit_seen(seen, "Max core file size") == ("0", "0")


@pytest.mark.parametrize("rung", [rung for rung in Rung if rung.on_device])
def test_transcode_on_a_device_runs_without_a_limit_of_memory(
    tmp_path: Path, programs: Programs, source: Path, rung: Rung
) -> None:
    seen = tmp_path / "limits"
    programs.stand("ffmpeg", f"cat /proc/self/limits > {seen}; exit 1")
    engine = Engine(rung, RateControl.CQP, "/dev/dri/renderD128", "iHD")
    with pytest.raises(TranscodeFailed):
        transcode(source, tmp_path / "out", limits=replace(LIMITS, memory_bytes=900 * MIB), engine=engine)
    soft, hard = (
        "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
        for limit in resource.getrlimit(resource.RLIMIT_AS)
    )
    assert limit_seen(seen, "Max address space") == (soft, hard)
    assert limit_seen(seen, "Max file size")[0] == str(source.stat().st_size + 64 * MIB)


def test_decode_runs_under_its_limits(tmp_path: Path, programs: Programs, source: Path) -> None:
    seen = tmp_path / "limits"
    programs.stand("ffmpeg", f"cat /proc/self/limits > {seen}; exit 1")
    decode(source, limits=replace(LIMITS, memory_bytes=900 * MIB))
    assert limit_seen(seen, "Max address space") == (str(900 * MIB), str(900 * MIB))


def test_limits_are_ffmpegs_alone(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_FSIZE)
    transcode(footage.cached(CLIP), tmp_path / "out")
    assert (resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_FSIZE)) == before


def test_clip_that_needs_more_memory_than_allowed_fails_alone(tmp_path: Path) -> None:
    large = next(clip for clip in footage.FORTY if clip.name == "h264-4k")
    with pytest.raises(TranscodeFailed):
        transcode(footage.cached(large), tmp_path / "out", limits=replace(LIMITS, memory_bytes=600 * MIB, stall_s=5))


def test_output_without_end_is_cut_off_and_counts_as_grown(tmp_path: Path, programs: Programs, source: Path) -> None:
    programs.stand("ffmpeg", 'for last; do :; done; exec head -c 100M /dev/zero > "/proc/${last#file:/proc/}"')
    made = transcode(source, tmp_path / "out")
    assert made.grown_to is not None
    assert (tmp_path / "out").stat().st_size == source.stat().st_size + 64 * MIB


def test_output_that_grows_is_given_up_before_its_end(tmp_path: Path) -> None:
    small = footage.cached(Clip("transcoder-small", 320, 180, "25", 60.0, crf=51, preset="medium", noise=0))
    made = transcode(small, tmp_path / "out", settings=EncodeSettings("hevc", 0, "fast"))
    assert made.grown_to is not None
    assert made.grown_to >= 0.95 * small.stat().st_size
    assert made.frames < 1500


def test_stalled_ffmpeg_is_ended(tmp_path: Path, programs: Programs, source: Path) -> None:
    with opened(source) as clip, target_at(tmp_path / "out") as target:
        programs.stand("ffmpeg", "exec sleep 60")
        transcoder = Transcoder(SETTINGS, replace(LIMITS, stall_s=0.3), NeverStop())
        with pytest.raises(TranscodeFailed, match=r"made no progress for 0\.3 s"):
            transcoder.transcode(clip, target, SOFTWARE, {}, ignore)


def test_ffmpeg_that_repeats_itself_has_stalled(tmp_path: Path, programs: Programs, source: Path) -> None:
    programs.stand("ffmpeg", "while :; do printf 'frame=5\\nprogress=continue\\n'; sleep 0.05; done")
    with pytest.raises(TranscodeFailed, match="made no progress"):
        transcode(source, tmp_path / "out", limits=replace(LIMITS, stall_s=0.5))


def test_decode_that_never_ends_says_nothing_of_the_file(programs: Programs, source: Path) -> None:
    programs.stand("ffmpeg", "exec sleep 60")
    with pytest.raises(TranscodeFailed, match="strict decode: ffmpeg ran for more than"):
        decode(source, limits=replace(LIMITS, stall_s=math.inf, wall_s=0.3))


# ---- whose fault it is


def test_full_disk_is_no_fault_of_the_clip() -> None:
    with pytest.raises(ResourceError, match="No space left on device"):
        transcode(footage.cached(CLIP), Path("/dev/full"))


@pytest.mark.parametrize(
    "words",
    [
        "No space left on device",
        "Disk quota exceeded",
        "Read-only file system",
        "Stale file handle",
        "Transport endpoint is not connected",
    ],
)
def test_fault_of_the_machine_is_no_fault_of_the_clip(
    tmp_path: Path, programs: Programs, source: Path, words: str
) -> None:
    programs.stand("ffmpeg", f'echo "av_interleaved_write_frame(): {words}" >&2; exit 1')
    with pytest.raises(ResourceError, match=words):
        transcode(source, tmp_path / "out")


@pytest.mark.parametrize(
    "words",
    [
        "pipe:1: Cannot allocate memory",  # of a clip too large for the limit it runs under
        "out: Invalid data found when processing input",
        "tag: No space left on device, says the title",
    ],
)
def test_other_words_are_the_fault_of_the_clip(tmp_path: Path, programs: Programs, source: Path, words: str) -> None:
    programs.stand("ffmpeg", f'echo "{words}" >&2; exit 1')
    with pytest.raises(TranscodeFailed, match=re.escape(words)):
        transcode(source, tmp_path / "out")


def test_words_of_an_ffmpeg_that_ended_well_are_no_fault(tmp_path: Path, programs: Programs, source: Path) -> None:
    programs.stand("ffmpeg", 'echo "a: No space left on device" >&2; exit 0')
    assert transcode(source, tmp_path / "out").grown_to is None


def test_file_that_is_no_clip_is_not_probed(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"no clip at all" * 100)
    with pytest.raises(TranscodeFailed, match="ffprobe exited with 1"), opened(tmp_path / "clip"):
        pytest.fail("it was probed")


# ---- strict decode


@pytest.fixture(scope="module")
def hevc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of twenty frames."""
    target = tmp_path_factory.mktemp("strict") / "archive"
    transcode(footage.cached(replace(CLIP, seconds=2.0)), target)
    return target


def test_sound_archive_decodes_without_an_error(hevc: Path) -> None:
    assert decode(hevc) == Decoded(20, "")


def test_sound_source_decodes_without_an_error() -> None:
    assert decode(footage.cached(CLIP)) == Decoded(10, "")


def flips(path: Path, count: int) -> list[tuple[int, int]]:
    """Bits of pictures, spread over a clip: the offset of a byte in the file, and the bit."""
    shown = ("-select_streams", "v", "-show_entries", "packet=pos,size", "-of", "csv=p=0")
    done = subprocess.run(("ffprobe", "-v", "error", *shown, path), check=True, capture_output=True, text=True)
    packets = [tuple(map(int, line.strip(",").split(",")[::-1])) for line in done.stdout.split()]
    found = []
    for number in range(count):
        at, size = packets[number * len(packets) // count]
        found.append((at + size // 4 + (number * 37) % (size // 2), number % 8))
    return found


def errors_after(path: Path, spots: list[tuple[int, int]], copy: Path) -> int:
    """How many of these flips, each by itself, a strict decode notices."""
    caught = 0
    for at, bit in spots:
        data = bytearray(path.read_bytes())
        data[at] ^= 1 << bit
        copy.write_bytes(data)
        caught += bool(decode(copy).error)
    return caught


def test_strict_decode_notices_flipped_bits_of_an_archive(hevc: Path, tmp_path: Path) -> None:
    # By the hash of each picture. One flip in twenty makes ffmpeg pass over a picture's hash as well.
    assert errors_after(hevc, flips(hevc, 20), tmp_path / "flipped") >= 18


def test_strict_decode_notices_flipped_bits_of_a_source(tmp_path: Path) -> None:
    # CABAC, as cameras have it, breaks at any flip; CAVLC (the preset ultrafast) holds bits that break nothing.
    source = footage.cached(replace(CLIP, seconds=2.0, preset="medium"))
    assert errors_after(source, flips(source, 20), tmp_path / "flipped") == 20


def test_strict_decode_counts_what_decoded_before_the_error(hevc: Path, tmp_path: Path) -> None:
    data = bytearray(hevc.read_bytes())
    (at, bit), *_ = flips(hevc, 20)[10:]
    data[at] ^= 1 << bit
    (tmp_path / "flipped").write_bytes(data)
    assert decode(tmp_path / "flipped").frames < 20


def test_source_that_does_not_decode_fails_its_transcode(tmp_path: Path) -> None:
    source = footage.cached(replace(CLIP, seconds=2.0))
    data = bytearray(source.read_bytes())
    for at, bit in flips(source, 20):
        data[at] ^= 1 << bit
    (tmp_path / "flipped").write_bytes(data)
    with pytest.raises(TranscodeFailed):
        transcode(tmp_path / "flipped", tmp_path / "out")


def test_decode_listens_to_sound_that_was_encoded_anew(tmp_path: Path) -> None:
    source = footage.cached(replace(CLIP, audio="pcm_alaw"))
    transcode(source, tmp_path / "out")
    data = bytearray((tmp_path / "out").read_bytes())
    shown = ("-select_streams", "a", "-show_entries", "packet=pos,size", "-of", "csv=p=0")
    done = subprocess.run(
        ("ffprobe", "-v", "error", *shown, tmp_path / "out"), check=True, capture_output=True, text=True
    )
    for line in done.stdout.split()[3:]:  # the first are decoded by any reader, to know the sound
        size, at = map(int, line.strip(",").split(","))
        data[at : at + size] = b"\xff" * size
    (tmp_path / "deaf").write_bytes(data)
    assert decode(tmp_path / "deaf", encoded_audio=True).error
    assert not decode(tmp_path / "deaf", encoded_audio=False).error


# ---- the way to a device


def pictures(path: Path) -> list[str]:
    """A hash of every picture as it decodes."""
    command = ("ffmpeg", "-v", "error", "-i", path, "-map", "0:v:0", "-f", "framemd5", "-")
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return [line.split(",")[-1].strip() for line in done.stdout.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(CLIP, id="limited range"),
        pytest.param(replace(CLIP, full_range=True, pix_fmt="yuvj420p"), id="full range"),
        pytest.param(replace(CLIP, codec="hevc", pix_fmt="yuv420p10le"), id="10 bits"),
        pytest.param(replace(CLIP, codec="hevc", pix_fmt="yuv420p10le", full_range=True), id="10 bits of full range"),
    ],
)
def test_every_pixel_reaches_an_encoder_in_hardware_as_it_was(tmp_path: Path, clip: Clip) -> None:
    """With the filters of the command line, and x264 without loss in the place of the device."""
    path, made = footage.cached(clip), tmp_path / "out.mp4"
    with opened(path) as source:
        assert source.info.video is not None
        full_range = source.info.video.is_full_range
        assert full_range == clip.full_range
        command = transcode_command(
            source.info, source.selection, SETTINGS, Engine(Rung.QSV_ENCODE, RateControl.ICQ, "/dev/dri/renderD128"),
            "", "", size_bytes=source.size, tags={},
        )  # fmt: skip
    filters = command[command.index("-vf") + 1]
    if full_range and filters.endswith("p010le"):  # which x264 does not take, and 5.1 would narrow on the way to it
        filters += ",scale=in_range=pc:out_range=pc,format=yuv420p10le"
    wide = ("-color_range", command[command.index("-color_range") + 1]) if full_range else ()
    lossless = ("-an", "-vf", filters, *wide, "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", str(made))
    subprocess.run(("ffmpeg", "-v", "error", "-i", str(path), *lossless), check=True, timeout=60)
    assert pictures(made) == pictures(path)
    with opened(made) as written:
        assert written.info.video is not None
        assert written.info.video.is_full_range == full_range


# ---- likeness

MOVING = Clip("likeness", 320, 180, "10", 3.0, crf=18, noise=3)
_ENCODE = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-fps_mode", "passthrough", "-f", "mp4")


def altered(clip: Path, folder: Path, graph: str, *, frames: int = 30) -> Path:
    """The clip after a filter graph, encoded well, with so many frames."""
    made = folder / "altered"
    command = ("ffmpeg", "-v", "error", "-noautorotate", "-i", clip, "-vf", graph, "-frames:v", str(frames))
    subprocess.run((*command, *_ENCODE, made), check=True, timeout=60)
    return made


def likeness(one: Path, other: Path, frames: int = 30, *, limits: Limits = LIMITS) -> Likeness:
    with opened(one) as source, target_at(other) as output:
        transcoder = Transcoder(SETTINGS, limits, NeverStop())
        return transcoder.likeness(source.handle, output, frames, on_position=ignore)


def test_clip_is_like_itself() -> None:
    clip = footage.cached(MOVING)
    assert likeness(clip, clip) == Likeness(30, (1.0, 1.0, 1.0), 0, 0.0)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_clip_of_few_frames_is_compared_whole(frames: int) -> None:
    clip = footage.cached(replace(MOVING, seconds=frames / 10))
    assert likeness(clip, clip, frames) == Likeness(frames, (1.0, 1.0, 1.0), 0, 0.0)


@pytest.mark.parametrize(
    ("clip", "settings"),
    [
        pytest.param(MOVING, SETTINGS, id="hevc"),
        pytest.param(MOVING, EncodeSettings("h264", 23, "ultrafast"), id="h264"),
        pytest.param(replace(MOVING, width=640, height=360), replace(SETTINGS, max_height=180), id="scaled"),
        pytest.param(replace(MOVING, full_range=True, pix_fmt="yuvj420p"), SETTINGS, id="full range"),
        pytest.param(replace(MOVING, rotation=90), SETTINGS, id="turned"),
        pytest.param(replace(MOVING, codec="hevc", pix_fmt="yuv420p10le"), SETTINGS, id="10 bits"),
        pytest.param(replace(MOVING, bframes=2, vfr=True), SETTINGS, id="frames missing and out of order"),
        pytest.param(replace(MOVING, width=640, height=360, noise=25), SETTINGS, id="much noise by day"),
        pytest.param(replace(MOVING, width=640, height=360, noise=16, night=True), SETTINGS, id="a grainy night"),
        pytest.param(replace(MOVING, width=160, height=120, noise=5, crf=4), SETTINGS, id="tiny"),
        pytest.param(replace(MOVING, width=640, height=360, objects=5), SETTINGS, id="much motion"),
    ],
)
def test_transcode_is_like_its_source(tmp_path: Path, clip: Clip, settings: EncodeSettings) -> None:
    source = footage.cached(clip)
    made = transcode(source, tmp_path / "out", settings=settings)
    found = likeness(source, tmp_path / "out", made.frames)
    assert found.frames == made.frames > 0
    assert found.is_enough, found


def test_frames_are_compared_by_number_whatever_their_times(tmp_path: Path) -> None:
    clip = footage.cached(MOVING)
    found = likeness(clip, altered(clip, tmp_path, "setpts=7*PTS+3/TB"))
    assert found.is_enough, found


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param("lutyuv=y=0:u=0:v=0", id="green"),
        pytest.param("lutyuv=y=16:u=128:v=128", id="black"),
        pytest.param("loop=loop=-1:size=1", id="frozen at the first frame"),
        pytest.param("trim=end_frame=15,tpad=stop=15:stop_mode=clone", id="frozen half-way"),
        pytest.param("tpad=start=3:start_mode=clone", id="three frames late"),
        pytest.param("shuffleframes=1 0", id="frames swapped"),
        pytest.param("shuffleframes=0 0", id="every second frame a repeat"),
        pytest.param("lutyuv=y=0:u=0:v=0:enable='gte(n,25)'", id="green at the end"),
        pytest.param("lutyuv=y=0:u=0:v=0:enable='eq(n,11)'", id="one green frame"),
        pytest.param("lutyuv=y=0:u=0:v=0:enable='lt(n,3)'", id="green at the beginning"),
        pytest.param("hflip", id="mirrored"),
        pytest.param("crop=iw-4:ih:0:0,pad=iw+4:ih:4:0", id="shifted"),
        pytest.param("lutyuv=u=0:v=0", id="green, its luma right"),
        pytest.param("shuffleplanes=0:2:1", id="colours swapped"),
        pytest.param("lutyuv=u=128:v=128", id="without colour"),
        pytest.param("lutyuv=u=val+6", id="tinged"),
        pytest.param("lutyuv=y=val+6", id="brighter"),
        pytest.param("drawbox=y=ih-8:w=iw:h=8:c=0x008000:t=fill", id="lowest rows green"),
        pytest.param("drawbox=x=160:y=90:w=16:h=16:c=0x00ff00:t=fill", id="green block"),
        pytest.param("drawbox=x=160:y=90:w=16:h=16:c=0x808080:t=fill", id="grey block"),
        pytest.param("drawbox=x=160:y=90:w=16:h=16:c=0x00ff00:t=fill:enable='eq(n,7)'", id="green block in one frame"),
    ],
)
def test_other_pictures_are_not_like_the_source(tmp_path: Path, graph: str) -> None:
    clip = footage.cached(MOVING)
    found = likeness(clip, altered(clip, tmp_path, graph))
    assert not found.is_enough, found


def test_narrowed_range_is_not_like_the_full_one(tmp_path: Path) -> None:
    clip = footage.cached(replace(MOVING, full_range=True, pix_fmt="yuvj420p"))
    colour = "16+val*224/255"
    found = likeness(clip, altered(clip, tmp_path, f"lutyuv=y=16+val*219/255:u={colour}:v={colour},setparams=range=pc"))
    assert not found.is_enough, found


def test_what_passes_by_in_three_frames_is_found_missing(tmp_path: Path) -> None:
    """A frozen output, where only three frames of the source differ from the first, in a hundredth of the picture."""
    scene = replace(MOVING, width=640, height=360, objects=0)
    clip = tmp_path / "clip"
    altered(footage.cached(scene), tmp_path, "drawbox=x=300:y=150:w=20:h=50:c=0x302018:t=fill:enable='between(n,9,11)'")
    (tmp_path / "altered").rename(clip)
    found = likeness(clip, altered(clip, tmp_path, "loop=loop=-1:size=1"))
    assert not found.is_enough, found


def test_comparison_tells_how_far_it_is() -> None:
    told: list[Position] = []
    clip = footage.cached(MOVING)
    with opened(clip) as one, opened(clip) as other:
        Transcoder(SETTINGS, LIMITS, NeverStop()).likeness(one.handle, other.handle, 30, on_position=told.append)
    assert told[-1].frames == 30


def test_output_with_too_few_frames_is_not_compared(tmp_path: Path) -> None:
    clip = footage.cached(MOVING)
    with pytest.raises(TranscodeFailed, match=r"comparing pictures: ffmpeg told of 15 of 30 frames"):
        likeness(clip, altered(clip, tmp_path, "null", frames=15))


def test_file_that_does_not_decode_is_not_compared(tmp_path: Path) -> None:
    (tmp_path / "none").write_bytes(b"no clip at all" * 100)
    with pytest.raises(TranscodeFailed, match="comparing pictures: ffmpeg exited with"):
        likeness(footage.cached(MOVING), tmp_path / "none")


def test_comparison_holds_the_worst_frame_alone(programs: Programs, source: Path) -> None:
    """However many frames: what ffmpeg tells of each is forgotten but for the worst."""
    with opened(source) as clip:
        values = "".join(f"lavfi.ssim.{plane}=0.5\\n" for plane in "YUV") + "".join(
            f"lavfi.signalstats.{plane}{measure}=9\\n" for plane in "YUV" for measure in ("MAX", "AVG")
        )
        frames = 20_000
        programs.stand("ffmpeg", f"yes \"$(printf 'frame:0    pts:0\\n{values}')\" | head -n {10 * frames}")
        transcoder = Transcoder(SETTINGS, LIMITS, NeverStop())
        found = transcoder.likeness(clip.handle, clip.handle, frames, on_position=ignore)
    assert found == Likeness(frames, (0.5, 0.5, 0.5), 9, 9)


def test_comparison_that_stalls_is_ended(programs: Programs, source: Path) -> None:
    with opened(source) as clip:
        programs.stand("ffmpeg", "exec sleep 60")
        transcoder = Transcoder(SETTINGS, replace(LIMITS, stall_s=0.3), NeverStop())
        with pytest.raises(TranscodeFailed, match=r"comparing pictures: .*made no progress for 0\.3 s"):
            transcoder.likeness(clip.handle, clip.handle, 10, on_position=ignore)


def test_comparison_runs_under_its_limits(tmp_path: Path, programs: Programs, source: Path) -> None:
    seen = tmp_path / "limits"
    with opened(source) as clip:
        programs.stand("ffmpeg", f"cat /proc/self/limits > {seen}; exit 1")
        transcoder = Transcoder(SETTINGS, replace(LIMITS, memory_bytes=900 * MIB), NeverStop())
        with pytest.raises(TranscodeFailed):
            transcoder.likeness(clip.handle, clip.handle, 10, on_position=ignore)
    assert limit_seen(seen, "Max address space") == (str(900 * MIB), str(900 * MIB))


def evidence(clip: Path, made: Path, source_frames: int, *, compare_pictures: bool) -> Evidence:
    with opened(clip) as source, target_at(made) as output:
        verifier = Verifier(Transcoder(SETTINGS, LIMITS, NeverStop()), LIMITS, NeverStop())
        return verifier.evidence(
            source, source_frames, output, made.stat().st_size, height=180, on_position=ignore,
            compare_pictures=compare_pictures,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "compare_pictures", "compared"),
    [
        pytest.param(30, True, 30, id="asked for"),
        pytest.param(30, False, None, id="not asked for"),
        pytest.param(29, True, None, id="another number of frames, which says enough"),
    ],
)
def test_pictures_are_compared_where_asked_for(
    tmp_path: Path, frames: int, compare_pictures: bool, compared: int | None
) -> None:
    clip = footage.cached(MOVING)
    transcode(clip, tmp_path / "out")
    gathered = evidence(clip, tmp_path / "out", frames, compare_pictures=compare_pictures)
    assert (None if gathered.likeness is None else gathered.likeness.frames) == compared
    assert gathered.codec == ("hevc" if compare_pictures else "")


@pytest.mark.parametrize(
    ("said", "of_machine"),
    [
        ("av_interleaved_write_frame(): Input/output error", True),
        ("[out#0/mp4 @ 0x55] Error muxing a packet: Input/output error", True),
        ("[out#0/mp4 @ 0x55] Error writing trailer: Input/output error", True),
        ("[in#0/mov @ 0x55] Error during demuxing: Input/output error", False),
        ("Error retrieving a packet from demuxer: Input/output error", False),
        ("file:/proc/self/fd/7: Input/output error", False),
    ],
)
def test_an_error_of_what_is_written_is_the_machines_and_one_of_what_is_read_the_clips(
    said: str, of_machine: bool
) -> None:
    finished = Finished(("ffmpeg",), Ending.EXITED, 1, f"{said}\n", 0.1)
    with pytest.raises(ResourceError, match="Input/output error") if of_machine else nullcontext():
        Transcoder(SETTINGS, LIMITS, NeverStop())._raise_for_machine(finished)
