"""The pretended ffmpeg of a machine with a GPU: as strict as the real one, its outputs what they claim to be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.fakes import make_messages, make_tables
from tests.fakes.ffmpeg import (
    FROZEN,
    GREEN,
    GROWS,
    HANGS,
    HANGS_IN_THE_KERNEL,
    NODE,
    WORKS,
    Behaviour,
    FakeFfmpeg,
    Node,
    Rung,
    Version,
    cuts,
    dies,
    drops,
    ends_and_fails,
    ends_early,
    fails,
    floods,
    hangs,
    says,
)
from tests.fakes.hardware import MISTAKE, PROBE_TAG
from tests.fakes.make_messages import MESSAGES, SITUATIONS, Situation
from tools import footage
from tools.footage import Clip

VERSIONS: tuple[Version, ...] = ("5.1", "7.1")
RUNGS: tuple[Rung, ...] = ("qsv", "qsv-encode", "vaapi")
FRAMES = 10
CLIP = Clip("fakes", 320, 180, "10", 1.0, audio="aac", crf=14, noise=4)
HEVC = replace(CLIP, codec="hevc")
DEEP = replace(CLIP, codec="hevc", pix_fmt="yuv420p10le")
FULL = replace(CLIP, full_range=True)

QSV_DEVICE = f"-init_hw_device vaapi=va:{NODE},driver=iHD -init_hw_device qsv=qs@va -filter_hw_device qs"
VAAPI_DEVICE = f"-init_hw_device vaapi=va:{NODE} -filter_hw_device va"
QSV_DECODE = "-hwaccel qsv -hwaccel_device qs -hwaccel_output_format qsv -extra_hw_frames 48 -c:0 {}_qsv"
STRICT = "-hide_banner -nostdin -loglevel error -y -xerror -err_detect explode"
READ = "-f mov -format_whitelist mov -protocol_whitelist file -max_pixels 67108864 -noautorotate"
WRITE = (
    "-g 40 -fps_mode passthrough -enc_time_base 1:90000 -video_track_timescale 90000 -c:a:0 copy -c:s copy "
    "-abort_on empty_output+empty_output_stream -max_error_rate 0 -movflags +faststart+use_metadata_tags"
)
PROGRESS = "-progress pipe:1 -stats_period 0.5 -f mp4"


@dataclass(frozen=True)
class Line:
    """A command line of a rung, in the parts that tests change."""

    rung: Rung
    source: Path
    target: Path
    codec: str = "hevc"
    source_codec: str = "h264"
    device: str = ""
    filters: str = ""  # besides those of the rung
    quality: str = ""
    extra: str = ""  # more options of the output
    tag: str = "archiverd={}"

    def words(self) -> list[str]:
        read = f"{READ} {QSV_DECODE.format(self.source_codec) if self.rung == 'qsv' else ''}"
        return [
            *f"{STRICT} {self.device or self._device} {read} -i file:{self.source} -map 0:v:0 -map 0:a?".split(),
            "-map_metadata", "0",
            *(("-vf", self._filters) if self._filters else ()),
            *f"-c:v {self.codec}_{self.family} {self.quality or self._quality} {self.extra}".split(),
            *(("-tag:v", "hvc1") if self.codec == "hevc" else ()),
            *WRITE.split(), "-metadata", self.tag, *PROGRESS.split(), f"file:{self.target}",
        ]  # fmt: skip

    @property
    def family(self) -> str:
        return "vaapi" if self.rung == "vaapi" else "qsv"

    @property
    def _device(self) -> str:
        return VAAPI_DEVICE if self.rung == "vaapi" else QSV_DEVICE

    @property
    def _quality(self) -> str:
        return "-rc_mode ICQ -global_quality 25" if self.rung == "vaapi" else "-preset medium -global_quality 25"

    @property
    def _filters(self) -> str:
        form = "format=p010le" if "main10" in self.extra else "format=nv12"
        own = {"qsv": (), "qsv-encode": (form,), "vaapi": (form, "hwupload")}[self.rung]
        return ",".join((*filter(None, (self.filters,)), *own))


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class Bench:
    """A fake in a folder of its own, and a place for outputs."""

    def __init__(self, folder: Path, fake: FakeFfmpeg) -> None:
        self.fake = fake
        self.target = folder / "out.mp4"
        self.programs = folder / "programs"
        self.programs.mkdir()
        fake.install(self.programs)

    def run(self, words: Sequence[str], program: str = "ffmpeg") -> Ran:
        done = subprocess.run((self.programs / program, *words), capture_output=True, text=True, timeout=60)
        return Ran(done.returncode, done.stdout, done.stderr)

    def line(self, rung: Rung, clip: Clip = CLIP) -> Line:
        return Line(rung, footage.cached(clip), self.target, source_codec=clip.codec)

    def transcode(self, rung: Rung, clip: Clip = CLIP) -> Ran:
        return self.run(self.line(rung, clip).words())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeFfmpeg(tmp_path / "gpu"))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Version:
    told: Version = request.param
    return told


def shown(path: Path, entries: str, *more: str) -> dict[str, str]:
    """What the real ffprobe says of the video."""
    words = ("ffprobe", "-v", "error", "-select_streams", "v:0", *more, "-show_entries", entries, "-of", "json")
    done = subprocess.run((*words, path), check=True, capture_output=True, text=True)
    stream = json.loads(done.stdout)["streams"][0]
    return {key: str(value) for key, value in stream.items()}


def frames(path: Path) -> int:
    return int(shown(path, "stream=nb_read_frames", "-count_frames")["nb_read_frames"])


def pictures(path: Path, form: str = "yuv420p") -> list[bytes]:
    """Every picture, decoded."""
    stream = shown(path, "stream=width,height")
    words = ("ffmpeg", "-v", "error", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo")
    done = subprocess.run((*words, "-pix_fmt", form, "-"), check=True, capture_output=True)
    size = int(stream["width"]) * int(stream["height"]) * 3 // 2
    return [done.stdout[at : at + size] for at in range(0, len(done.stdout), size)]


def likeness(path: Path, source: Path) -> float:
    """SSIM of all frames, in luma."""
    graph = "[0:v:0]settb=1/10,setpts=N[a];[1:v:0]settb=1/10,setpts=N[b];[a][b]ssim"  # by number, not by time
    words = ("ffmpeg", "-i", path, "-i", source, "-lavfi", graph, "-f", "null", "-")
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stderr.rpartition("SSIM Y:")[2].split()[0])


def times(path: Path) -> list[str]:
    words = ("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts", "-of", "csv=p=0", path)
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()


# ---- the tables and texts are the real ones


def test_stored_tables_are_those_of_the_installed_ffmpeg() -> None:
    _, version = make_messages.version("ffmpeg")
    stored = make_tables.TABLES / f"{version}.json"
    told = json.loads(stored.read_text()) if stored.exists() else {}
    described = make_tables.described("ffmpeg")
    assert {key: told.get(key, value) for key, value in described.items()} == described


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: f"{situation.rung}-{situation.name}")
def test_stored_texts_are_those_of_the_installed_ffmpeg(tmp_path: Path, situation: Situation) -> None:
    _, version = make_messages.version("ffmpeg")
    stored = MESSAGES / f"{version}-{situation.rung}-{situation.name}.txt"
    make_messages.prepare("ffmpeg", tmp_path)
    code, text = make_messages.said("ffmpeg", situation, tmp_path)
    header, _, told = stored.read_text().partition("\n\n") if stored.exists() else (f"# exit {code}", "", text)
    assert (header.splitlines()[-1], sorted(told.splitlines())) == (f"# exit {code}", sorted(text.splitlines()))


_WITH_A_DEVICE = [
    situation
    for situation in SITUATIONS
    if any(mark in situation.words() for mark in ("hevc_qsv", "hevc_vaapi", "h264_qsv"))
]
_TOLD = [situation for situation in _WITH_A_DEVICE if situation.name != "not_a_decoding_option"]  # names what it is for


@pytest.mark.parametrize("situation", _TOLD, ids=lambda situation: f"{situation.rung}-{situation.name}")
def test_machine_without_a_device_says_what_the_real_one_says(
    tmp_path: Path, version: Version, situation: Situation
) -> None:
    make_messages.prepare("ffmpeg", tmp_path)
    bench = Bench(tmp_path, FakeFfmpeg(tmp_path / "gpu", version, nodes=()))
    code, text = make_messages.said(str(bench.programs / "ffmpeg"), situation, tmp_path)
    header, _, told = (MESSAGES / f"{version}-{situation.rung}-{situation.name}.txt").read_text().partition("\n\n")
    assert (header.splitlines()[-1], text) == (f"# exit {code}", told)


# ---- what it takes, it does


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(("codec", "tag"), [("hevc", "hvc1"), ("h264", "avc1")])
def test_transcode_on_a_device_has_all_that_the_clip_has(
    bench: Bench, version: Version, rung: Rung, codec: str, tag: str
) -> None:
    bench.fake.version = version
    bench.fake.write()
    ran = bench.run(replace(bench.line(rung), codec=codec).words())
    source = footage.cached(CLIP)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "progress=end"
    assert f"frame={FRAMES}" in ran.out.splitlines()
    stream = shown(
        bench.target, "stream=codec_name,codec_tag_string,width,height,pix_fmt,nb_read_frames", "-count_frames"
    )
    assert stream == {
        "codec_name": codec, "codec_tag_string": tag, "width": "320", "height": "180", "pix_fmt": "yuv420p",
        "nb_read_frames": str(FRAMES),
    }  # fmt: skip
    assert len(times(bench.target)) == len(times(source))
    assert likeness(bench.target, source) > 0.97


@pytest.mark.parametrize(("version", "tag"), [("5.1", "Lavc59.37.101"), ("7.1", "Lavc61.19.101")], ids=VERSIONS)
def test_output_names_the_encoder_of_the_device(bench: Bench, version: Version, tag: str) -> None:
    bench.fake.version = version
    bench.fake.write()
    bench.transcode("qsv")
    assert tag.rpartition(".")[0] in shown(bench.target, "stream_tags=encoder")["tags"]
    assert "hevc_qsv" in shown(bench.target, "stream_tags=encoder")["tags"]


@pytest.mark.parametrize("rung", RUNGS)
def test_ten_bits_stay_ten(bench: Bench, rung: Rung) -> None:
    ran = bench.run(replace(bench.line(rung, DEEP), extra="-profile:v main10").words())
    assert (ran.code, ran.err) == (0, "")
    assert shown(bench.target, "stream=pix_fmt,profile") == {"pix_fmt": "yuv420p10le", "profile": "Main 10"}
    assert likeness(bench.target, footage.cached(DEEP)) > 0.97


_RANGES = {
    "qsv": "setparams=range=pc",
    "qsv-encode": "scale=in_range=pc:out_range=pc",
    "vaapi": "scale=in_range=pc:out_range=pc",
}


@pytest.mark.parametrize("rung", RUNGS)
def test_full_range_stays_full(bench: Bench, rung: Rung) -> None:
    line = replace(bench.line(rung, FULL), filters=_RANGES[rung], extra="-color_range pc")
    assert bench.run(line.words()).code == 0
    assert shown(bench.target, "stream=color_range")["color_range"] == "pc"
    assert likeness(bench.target, footage.cached(FULL)) > 0.97


@pytest.mark.parametrize(
    ("rung", "filters"), [("qsv", "vpp_qsv=w=160:h=90"), ("qsv-encode", "scale=160:90"), ("vaapi", "scale=160:90")]
)
def test_picture_is_scaled(bench: Bench, rung: Rung, filters: str) -> None:
    assert bench.run(replace(bench.line(rung), filters=filters).words()).code == 0
    assert shown(bench.target, "stream=width,height") == {"width": "160", "height": "90"}
    assert frames(bench.target) == FRAMES


def test_rotation_is_kept(bench: Bench) -> None:
    assert bench.transcode("qsv", replace(CLIP, rotation=90)).code == 0
    assert "-90" in shown(bench.target, "stream_side_data=rotation")["side_data_list"]


def test_what_needs_no_device_is_left_to_the_real_ffmpeg(bench: Bench) -> None:
    source = footage.cached(CLIP)
    decode = f"{STRICT} -i {source} -f null -".split()
    software = f"{STRICT} -i {source} -c:v libx264 -preset ultrafast -crf 30 -f mp4 {bench.target}".split()
    assert [bench.run(decode).code, bench.run(software).code, bench.run((str(source),), "ffprobe").code] == [0, 0, 0]
    assert [(call.program, call.kind, call.rung) for call in bench.fake.calls()] == [
        ("ffmpeg", "decode", ""), ("ffmpeg", "transcode", "software"), ("ffprobe", "ffprobe", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(("version", "built_with"), [("5.1", "--enable-libmfx"), ("7.1", "--enable-libvpl")])
def test_build_tells_its_version_and_what_it_was_built_with(bench: Bench, version: Version, built_with: str) -> None:
    bench.fake.version = version
    bench.fake.write()
    said = bench.run(("-version",)).out
    assert said.startswith(f"ffmpeg version {version}.")
    assert built_with in said


def test_build_without_qsv_lists_none_of_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FakeFfmpeg(tmp_path / "gpu", without=("qsv",)))
    assert "libmfx" not in bench.run(("-version",)).out
    encoders = bench.run(("-hide_banner", "-encoders")).out
    assert "hevc_vaapi" in encoders
    assert "hevc_qsv" not in encoders


# ---- what it does not take


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("-invented 1", "Unrecognized option 'invented'"),
        ("-preset ultrafast", 'Unable to parse option value "ultrafast"'),
        ("-look_ahead_depth 101", "out of range [0 - 100]"),
        ("-low_power maybe", 'Unable to parse option value "maybe" as boolean'),
        ("-profile:v high", 'Unable to parse option value "high"'),
        ("-color_range wide", 'Unable to parse option value "wide"'),
        ("-skip_frame nokey", "is not an encoding option"),
    ],
)
def test_option_the_encoder_does_not_take_is_refused(bench: Bench, extra: str, said: str) -> None:
    ran = bench.run(replace(bench.line("qsv"), extra=extra).words())
    assert ran.code == 1
    assert said in ran.err
    assert not bench.target.exists()
    assert len(bench.fake.mistakes()) == 1


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(("qsv", "-look_ahead 1"), id="an option of h264_qsv alone"),
        pytest.param(("qsv", "-crf 25"), id="an option of x265"),
        pytest.param(("qsv", "-rc_mode ICQ"), id="an option of VA-API"),
        pytest.param(("vaapi", "-preset fast"), id="an option of Quick Sync"),
    ],
)
def test_option_without_effect_is_a_mistake(bench: Bench, line: tuple[Rung, str]) -> None:
    rung, extra = line
    ran = bench.run(replace(bench.line(rung), extra=extra).words())
    assert (ran.code, "has not been used for any stream" in ran.err) == (MISTAKE, True)


def test_option_only_a_later_version_has_is_refused(tmp_path: Path) -> None:
    codes = []
    for version in VERSIONS:
        folder = tmp_path / version
        folder.mkdir()
        bench = Bench(folder, FakeFfmpeg(folder / "gpu", version))
        codes.append(bench.run(replace(bench.line("qsv"), extra="-scenario archive").words()).code)
    # Known to no part of 5.1, or known to the installed one and without effect in 5.1.
    assert codes in ([1, 0], [MISTAKE, 0])


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        ("-hwaccel_device qs", "-hwaccel_device va", "No device available for decoder"),
        ("qsv=qs@va", "qsv=qs@vaapi", "invalid source device name"),
        ("-filter_hw_device qs", "-filter_hw_device qsv", "Invalid filter device qsv."),
        ("renderD128", "renderD129", "No VA display found for device /dev/dri/renderD129."),
        ("driver=iHD", "driver=i965", "Failed to initialise VAAPI connection"),
        ("h264_qsv", "hevc_qsv", "Invalid data found when processing input"),
    ],
)
def test_device_or_decoder_that_does_not_fit_is_refused(bench: Bench, changed: str, to: str, said: str) -> None:
    words = " ".join(bench.line("qsv").words()).replace(changed, to)
    ran = bench.run(words.split())
    assert ran.code == 1
    assert said in ran.err


@pytest.mark.parametrize(
    ("changed", "to"),
    [
        ("-c:0 h264_qsv", ""),
        ("-hwaccel_output_format qsv", ""),
        (f"vaapi=va:{NODE},driver=iHD", "vaapi=va"),
    ],
)
def test_decode_nobody_can_mean_is_a_mistake(bench: Bench, changed: str, to: str) -> None:
    words = " ".join(bench.line("qsv").words()).replace(changed, to)
    assert bench.run(words.split()).code == MISTAKE


@pytest.mark.parametrize(
    ("rung", "filters", "said"),
    [
        ("qsv", "vpp_qsv=width=160:hight=90", "Option 'hight' not found"),
        ("qsv", "scale=160:90", "Impossible to convert between the formats"),
        ("qsv", "scale_vaapi=w=160:h=90", "Impossible to convert between the formats"),
        ("vaapi", "scale_vaapi=w=160:h=90", "Impossible to convert between the formats"),
        ("qsv-encode", "vpp_qsw=w=160:h=90", "No such filter: 'vpp_qsw'"),
    ],
)
def test_filter_that_does_not_fit_is_refused(bench: Bench, rung: Rung, filters: str, said: str) -> None:
    ran = bench.run(replace(bench.line(rung), filters=filters).words())
    assert ran.code == 1
    assert said in ran.err


def test_odd_size_is_a_mistake(bench: Bench) -> None:
    assert bench.run(replace(bench.line("qsv"), filters="vpp_qsv=w=161:h=90").words()).code == MISTAKE


@pytest.mark.parametrize("rung", RUNGS)
def test_ten_bits_do_not_go_into_h264(bench: Bench, rung: Rung) -> None:
    ran = bench.run(
        replace(bench.line(rung, DEEP), codec="h264", filters="" if rung == "qsv" else "format=p010le").words()
    )
    assert ran.code == (0 if rung != "qsv" else 1)  # the others turn it to nv12 first


def test_high_10_is_not_decoded(bench: Bench) -> None:
    ran = bench.transcode("qsv", replace(CLIP, pix_fmt="yuv420p10le"))
    assert (ran.code, "Error decoding stream header: unsupported (-3)" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (Node(accessible=False), "No VA display found for device /dev/dri/renderD128."),
        (Node(vaapi=False), "Failed to initialise VAAPI connection"),
        (Node(qsv=False), "Error initializing an MFX session: -3."),
    ],
)
def test_node_that_lacks_something_is_refused(bench: Bench, node: Node, said: str) -> None:
    bench.fake.nodes = (node,)
    bench.fake.write()
    ran = bench.transcode("qsv")
    assert (ran.code, said in ran.err) == (1, True)
    assert bench.fake.mistakes() == []


@pytest.mark.parametrize("rung", RUNGS)
def test_build_without_the_device_refuses_it(bench: Bench, version: Version, rung: Rung) -> None:
    bench.fake.version, bench.fake.without = version, ("qsv", "vaapi")
    bench.fake.write()
    ran = bench.transcode(rung)
    assert (ran.code, "Device creation failed: -12." in ran.err) == (1 if version == "5.1" else 244, True)


@pytest.mark.parametrize(
    ("rung", "quality", "told"),
    [
        ("qsv", "-global_quality 25", "ICQ"),
        ("qsv", "-low_power 0 -global_quality 25", "low_power=0 ICQ"),
        ("qsv", "-global_quality 25 -b:v 300000 -maxrate 600000", "QVBR"),
        ("qsv", "-q:v 25", "CQP"),
        ("vaapi", "-rc_mode ICQ -global_quality 25", "ICQ"),
        ("vaapi", "-rc_mode CQP -qp 25", "CQP"),
        ("vaapi", "-low_power 1 -rc_mode CQP -qp 25", "low_power=1 CQP"),
    ],
)
def test_device_takes_the_rate_controls_it_has_alone(bench: Bench, rung: Rung, quality: str, told: str) -> None:
    line = replace(bench.line(rung), quality=quality)
    encoder = f"hevc_{line.family}"
    codes = []
    for taken in ((told,), ("VBR",)):
        bench.fake.rate_controls = {encoder: taken}
        bench.fake.write()
        codes.append(bench.run(line.words()).code)
    assert codes == [0, 1]
    assert {call.rate_control for call in bench.fake.transcodes() if not call.refused} == {told}


# ---- scripts


def test_each_turn_has_its_behaviour(bench: Bench) -> None:
    bench.fake.script("qsv", [WORKS, says("no", 7)], then=says("never", 9))
    assert [bench.transcode("qsv").code for _ in range(4)] == [0, 7, 9, 9]
    assert [(call.turn, call.behaviour) for call in bench.fake.transcodes()] == [
        (1, "works"), (2, "says"), (3, "says"), (4, "says"),
    ]  # fmt: skip


def test_device_heals(bench: Bench) -> None:
    bench.fake.script("vaapi", {1: fails("device_lost"), 2: fails("device_lost")})
    assert [bench.transcode("vaapi").code for _ in range(3)] == [1, 1, 0]


def test_rungs_and_probes_count_apart(bench: Bench) -> None:
    bench.fake.script("qsv", [says("file", 7)])
    bench.fake.script("qsv", [says("probe", 8)], probes=True)
    probe = replace(bench.line("qsv"), tag=PROBE_TAG)
    codes = [bench.transcode("vaapi").code, bench.transcode("qsv").code, bench.run(probe.words()).code]
    assert codes == [0, 7, 8]
    assert [call.probe for call in bench.fake.calls()] == [False, False, True]
    assert [call.rung for call in bench.fake.transcodes(probes=True)] == ["qsv"]


def test_call_that_was_refused_takes_nobodys_turn(bench: Bench) -> None:
    bench.fake.script("qsv", [says("first", 7)])
    bench.run(replace(bench.line("qsv"), extra="-invented 1").words())
    assert bench.transcode("qsv").code == 7


def test_software_has_a_script_too(bench: Bench) -> None:
    bench.fake.script("software", [GREEN])
    words = f"{STRICT} -i {footage.cached(CLIP)} -c:v libx264 -preset ultrafast -f mp4 {bench.target}".split()
    assert bench.run(words).code == 0
    assert max(pictures(bench.target)[0]) <= 2


# ---- behaviours


def behaves(bench: Bench, behaviour: Behaviour, rung: Rung = "qsv") -> Ran:
    bench.fake.script(rung, then=behaviour)
    return bench.transcode(rung)


@pytest.mark.parametrize("clip", [CLIP, DEEP], ids=["8 bits", "10 bits"])
def test_green_is_green_and_all_else_is_right(bench: Bench, clip: Clip) -> None:
    bench.fake.script("qsv", then=GREEN)
    profile = "-profile:v main10" if clip is DEEP else ""
    assert bench.run(replace(bench.line("qsv", clip), extra=profile).words()).code == 0
    assert [max(picture) <= 2 for picture in pictures(bench.target)] == [True] * FRAMES
    assert shown(bench.target, "stream=pix_fmt")["pix_fmt"] == clip.pix_fmt


def test_frozen_pictures_are_the_first(bench: Bench) -> None:
    assert behaves(bench, FROZEN).code == 0
    assert frames(bench.target) == FRAMES
    first, *others = pictures(bench.target)
    changes = [sum(a != b for a, b in zip(first[:57600], other[:57600], strict=True)) / 57600 for other in others]
    assert max(changes) < 0.5  # of the samples, by a little; in the clip every one changes with its noise
    assert likeness(bench.target, footage.cached(CLIP)) < 0.97


def test_dropped_frames_are_missing(bench: Bench) -> None:
    ran = behaves(bench, drops(3, 4))
    assert (ran.code, frames(bench.target)) == (0, FRAMES - 2)
    assert f"frame={FRAMES - 2}" in ran.out.splitlines()


def test_output_that_ends_early_exits_with_0(bench: Bench) -> None:
    ran = behaves(bench, ends_early(4))
    assert (ran.code, frames(bench.target)) == (0, 4)


def test_output_that_is_cut_exits_with_0(bench: Bench) -> None:
    bench.transcode("qsv")
    whole = bench.target.stat().st_size
    ran = behaves(bench, cuts(1000))
    assert (ran.code, bench.target.stat().st_size) == (0, whole - 1000)


def test_output_that_grows_is_larger_than_its_source(bench: Bench) -> None:
    assert behaves(bench, GROWS).code == 0
    assert bench.target.stat().st_size > footage.cached(CLIP).stat().st_size
    assert frames(bench.target) == FRAMES


def test_end_of_progress_comes_before_a_failure(bench: Bench) -> None:
    ran = behaves(bench, ends_and_fails(3))
    assert (ran.code, ran.out.splitlines()[-1]) == (3, "progress=end")


def test_device_lost_in_the_middle_leaves_a_part(bench: Bench, version: Version) -> None:
    bench.fake.version = version
    ran = behaves(bench, fails("device_lost", after=5))
    assert ran.code == (1 if version == "5.1" else 251)
    assert "Error during encoding: device failed (-17)" in ran.err
    assert "frame=5" in ran.out.splitlines()


def test_disk_that_is_full_is_told(bench: Bench) -> None:
    ran = behaves(bench, fails("disk_full_at_end", rung="any", after=0))
    assert (ran.code, ran.err) == (1, f"Error writing trailer of file:{bench.target}: No space left on device\n")


@pytest.mark.parametrize("by", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_program_dies_by_a_signal(bench: Bench, by: signal.Signals) -> None:
    assert behaves(bench, dies(by, after=3)).code == -by


@pytest.mark.parametrize(
    ("behaviour", "shows"),
    [(hangs(after=3), b"frame=3"), (replace(HANGS_IN_THE_KERNEL, after=3), b"frame=3")],
    ids=["heeds SIGTERM", "ignores SIGTERM"],
)
def test_program_that_hangs_ends_on_a_signal_it_heeds(bench: Bench, behaviour: Behaviour, shows: bytes) -> None:
    bench.fake.script("qsv", then=behaviour)
    with subprocess.Popen((bench.programs / "ffmpeg", *bench.line("qsv").words()), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        block = b""
        while shows not in block or not block.endswith(b"\n") or b"progress=" not in block:
            block += os.read(process.stdout.fileno(), 65536)
        assert b"progress=end" not in block
        process.terminate()
        if behaviour.ignores_sigterm:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.kill()
        assert process.wait(30) == (-signal.SIGKILL if behaviour.ignores_sigterm else 255)


def test_program_that_hangs_at_once_tells_nothing(bench: Bench) -> None:
    bench.fake.script("qsv", then=HANGS)
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        subprocess.run((bench.programs / "ffmpeg", *bench.line("qsv").words()), capture_output=True, timeout=1)
    assert not caught.value.output


@pytest.mark.parametrize(("then", "code"), [(WORKS, 0), (fails("gpu_hang"), 1)])
def test_stderr_is_flooded(bench: Bench, then: Behaviour, code: int) -> None:
    ran = behaves(bench, floods(2, then))
    assert (ran.code, len(ran.err) >= 2 << 20) == (code, True)


# ---- the program itself


def test_fault_of_the_fake_is_no_failure_of_a_device(bench: Bench) -> None:
    bench.fake.scripts = {"qsv file": {"then": {}}}
    bench.fake.write()
    assert bench.transcode("qsv").code == MISTAKE
    assert len(bench.fake.mistakes()) == 1


def test_failure_without_words_is_not_scripted(bench: Bench) -> None:
    with pytest.raises(FileNotFoundError, match="vaapi-no_runtime"):
        bench.fake.script("vaapi", [fails("no_runtime")])


def test_program_stands_where_the_path_of_the_interpreter_holds_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    bench = Bench(folder, FakeFfmpeg(folder / "gpu"))
    assert bench.run(("-version",)).code == 0


def test_fake_is_not_its_own_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("ffmpeg")
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    fake = FakeFfmpeg(tmp_path / "gpu")
    for _ in range(2):
        fake.install(programs)
    assert fake.real["ffmpeg"] == real
