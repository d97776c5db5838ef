"""What an ffmpeg says on a machine without a GPU to the command lines of each rung, kept as text.

    python -m tests.fakes.make_messages            writes tests/fakes/messages/VERSION-RUNG-SITUATION.txt anew
    python -m tests.fakes.make_messages --ffmpeg P the same with another ffmpeg than the first on PATH

A kept text is its header (lines that begin with `# `: the version, the words that differ from the rung's own command
line, the exit code), an empty line, and what stood on stderr, with every address the same. Files whose header says
"composed" were not said by an ffmpeg here: they need a GPU that fails. They are written by hand after the texts in
FFmpeg's source (the function named there) and left alone by this program.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MESSAGES = Path(__file__).with_name("messages")
NODE = "/dev/dri/renderD128"
ADDRESS = "0x5581a2c3d4e0"

_STRICT = "-hide_banner -nostdin -loglevel error -y -xerror -err_detect explode"
_READ = "-f mov -format_whitelist mov -protocol_whitelist file -max_pixels 67108864 -noautorotate -i file:clip-h264.mp4"
_WRITE = "-fps_mode passthrough -enc_time_base 1:90000 -video_track_timescale 90000 -f mp4"
_QSV_DEVICE = f"-init_hw_device vaapi=va:{NODE},driver=iHD -init_hw_device qsv=qs@va -filter_hw_device qs"
_VAAPI_DEVICE = f"-init_hw_device vaapi=va:{NODE},driver=iHD -filter_hw_device va"
_QSV_DECODE = (
    "-hwaccel qsv -hwaccel_device qs -hwaccel_output_format qsv -extra_hw_frames 48 -c:v h264_qsv"  # before -i
)
_HEVC_QSV = "-c:v hevc_qsv -preset medium -global_quality 25"
_HEVC_VAAPI = "-c:v hevc_vaapi -rc_mode ICQ -global_quality 25"
_VAAPI_FILTERS = "-vf format=nv12,hwupload"


@dataclass(frozen=True, slots=True)
class Situation:
    """A command line, in its parts, and what it shows. The node never exists where this runs."""

    rung: str
    name: str
    before: str  # devices and decoder
    after: str  # filters and encoder
    target: str = "file:out.mp4"
    read: str = _READ

    def words(self) -> list[str]:
        return f"{_STRICT} {self.before} {self.read} -map 0:0 {self.after} {_WRITE} {self.target}".split()


SITUATIONS = (
    # what archiverd runs, where there is no such device, or none that opens
    Situation("qsv", "no_device", f"{_QSV_DEVICE} {_QSV_DECODE}", _HEVC_QSV),
    Situation("qsv-encode", "no_device", _QSV_DEVICE, f"-vf format=nv12 {_HEVC_QSV}"),
    Situation("vaapi", "no_device", _VAAPI_DEVICE, f"{_VAAPI_FILTERS} {_HEVC_VAAPI}"),
    # without naming the node, or no device at all
    Situation("qsv", "no_child_device", f"-init_hw_device qsv=qs {_QSV_DECODE}", _HEVC_QSV),
    Situation("vaapi", "no_default_device", "-init_hw_device vaapi=va", f"{_VAAPI_FILTERS} {_HEVC_VAAPI}"),
    Situation("qsv", "no_device_for_decoder", "-hwaccel qsv -hwaccel_output_format qsv -c:v h264_qsv", _HEVC_QSV),
    Situation("qsv", "no_session_to_decode", "-c:v h264_qsv", _HEVC_QSV),
    Situation("qsv-encode", "no_session", "", f"-vf format=nv12 {_HEVC_QSV}"),
    Situation("qsv-encode", "no_session_h264", "", "-vf format=nv12 -c:v h264_qsv -global_quality 25"),
    Situation("vaapi", "no_device_to_upload_to", "", f"{_VAAPI_FILTERS} {_HEVC_VAAPI}"),
    Situation("vaapi", "frames_in_memory", "", f"-vf format=nv12 {_HEVC_VAAPI}"),
    Situation("qsv", "unknown_filter_device", "-filter_hw_device qs", _HEVC_QSV),
    Situation("qsv", "unknown_source_device", "-init_hw_device qsv=qs@va", _HEVC_QSV),
    Situation("qsv", "no_device_to_scale_with", "", f"-vf vpp_qsv=w=160:h=90 {_HEVC_QSV}"),
    # mistakes of the command line
    Situation("any", "unknown_device_type", "-init_hw_device qsw=qs", _HEVC_QSV),
    Situation("any", "wrong_decoder", "-c:v hevc", "-c:v libx264"),
    Situation("any", "unknown_option", "", "-c:v hevc_qsv -invented 3"),
    Situation("any", "unknown_encoder", "", "-c:v hevc_qsw"),
    Situation("any", "unknown_decoder", "-c:v h264_qsw", _HEVC_QSV),
    Situation("any", "unknown_filter", "", f"-vf vpp_qsw=w=3 {_HEVC_QSV}"),
    Situation("any", "unknown_filter_option", "", f"-vf vpp_qsv=wow=3 {_HEVC_QSV}"),
    Situation("any", "filter_value_out_of_range", "", f"-vf vpp_qsv=w=160:h=90:denoise=200 {_HEVC_QSV}"),
    Situation("any", "filter_value_unknown", "", f"-vf vpp_qsv=w=160:h=90:deinterlace=nicely {_HEVC_QSV}"),
    Situation("any", "encoder_value_unknown", "", "-c:v hevc_qsv -preset ultrafast"),
    Situation("any", "encoder_value_out_of_range", "", "-c:v hevc_qsv -look_ahead_depth 300"),
    Situation("any", "encoder_value_not_boolean", "", "-c:v hevc_qsv -low_power 7"),
    Situation("any", "decoder_value_unknown", "-gpu_copy fine -c:v h264_qsv", _HEVC_QSV),
    Situation("any", "decoder_value_out_of_range", "-async_depth 0 -c:v h264_qsv", _HEVC_QSV),
    Situation("any", "not_an_encoding_option", "", "-c:v libx264 -gpu_copy on"),
    Situation("any", "not_a_decoding_option", "-crf 3 -c:v h264_qsv", _HEVC_QSV),
    # the machine's fault, whatever the rung
    Situation("any", "disk_full_at_once", "", "-c:v libx264", target="file:/dev/full"),
)  # fmt: skip


def said(ffmpeg: str, situation: Situation, folder: Path) -> tuple[int, str]:
    """The exit code and the stderr of a command line, addresses made alike."""
    done = subprocess.run((ffmpeg, *situation.words()), cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, re.sub(r"0x[0-9a-f]{6,}", ADDRESS, done.stderr)


def version(ffmpeg: str) -> tuple[str, str]:
    """The version in full, and its first two numbers."""
    first = subprocess.run((ffmpeg, "-version"), capture_output=True, text=True, check=True).stdout.split("\n")[0]
    full = first.split()[2]
    return full, ".".join(full.split(".")[:2])


def prepare(ffmpeg: str, folder: Path) -> None:
    clip = "-v error -y -f lavfi -i testsrc2=s=320x180:r=10:d=1 -c:v libx264 -pix_fmt yuv420p clip-h264.mp4"
    subprocess.run((ffmpeg, *clip.split()), cwd=folder, check=True, timeout=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ffmpeg", default="ffmpeg")
    ffmpeg = parser.parse_args().ffmpeg
    full, short = version(ffmpeg)
    if Path(NODE).exists():
        sys.exit(f"{NODE} exists: these are the messages of a machine without a GPU")
    MESSAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        prepare(ffmpeg, Path(folder))
        for situation in SITUATIONS:
            code, text = said(ffmpeg, situation, Path(folder))
            words = " ".join(f"{situation.before} … {situation.after} … {situation.target}".split())
            header = f"# ffmpeg {full}\n# {words}\n# exit {code}\n\n"
            (MESSAGES / f"{short}-{situation.rung}-{situation.name}.txt").write_text(header + text)


if __name__ == "__main__":
    main()
