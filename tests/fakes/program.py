"""The program that stands as `ffmpeg` and `ffprobe` before the real ones. See `ffmpeg.py` for how a test sets it up.

    python -IS program.py NAME FOLDER WORD…     NAME is ffmpeg or ffprobe, FOLDER holds machine.json and calls.jsonl

What has to do with no device goes to the real program, which takes this one's place. A transcode on a device is held
against the machine (`hardware.py`), then done by x265 or x264 with the same files, filters, times and tags.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tests.fakes import behaviour, hardware
from tests.fakes.arguments import File, UnknownOptionError, taken_apart
from tests.fakes.refusals import Refusal

TYPE_CHECKING = False  # as mypy takes it without `typing`, which a call would pay for
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any  # JSON

_TABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tables")
_OF_DEVICES = ("_qsv", "_vaapi", "qsv=", "vaapi=")
_DEVICE_FLAGS = frozenset({"-init_hw_device", "-hwaccel", "-filter_hw_device", "-vaapi_device", "-qsv_device"})
_LISTS = frozenset({"-encoders", "-decoders", "-codecs", "-filters", "-hwaccels", "-buildconf", "-h"})
# Of the quality a device is told, for the CRF that its fast stand-in needs to be as like, of small clips of much noise.
_BETTER = {"hevc": 15, "h264": 9}


class Fake:
    """This call."""

    def __init__(self, name: str, folder: str, words: list[str]) -> None:
        self.name = name
        self.folder = folder
        self.words = words
        with open(os.path.join(folder, "machine.json"), encoding="utf-8") as file:
            self.told = json.load(file)
        self.real: str = self.told["real"][name]

    def run(self) -> None:
        if self.name == "ffprobe" and "-version" not in self.words:
            self.log(kind="ffprobe")
            self.become_real(self.words)
        if "-version" in self.words:
            self.log(kind="version")
            sys.stdout.write(self.version_text())
        elif _LISTS.intersection(self.words):
            self.log(kind="list")
            self.show_list()
        else:
            self.encode_or_decode()

    # -- what is told of the build

    def version_text(self) -> str:
        text: str = self.table()["version"].replace("ffmpeg version", f"{self.name} version", 1)
        built_with = "--enable-libvpl" if self.told["version"].startswith("7") else "--enable-libmfx"
        return text.replace(f" {built_with}", "") if "qsv" in self.told["without"] else text

    def show_list(self) -> None:
        """The real program's list, without what the pretended build does not have."""
        import subprocess  # noqa: PLC0415  (half of what a call costs, and only here)

        done = subprocess.run((self.real, *self.words), capture_output=True, text=True)
        families = self.told["without"]
        lines = [
            line for line in done.stdout.splitlines(keepends=True)
            if not any(f"_{family}" in line or line.strip() == family for family in families)
        ]  # fmt: skip
        sys.stdout.write("".join(lines))
        sys.stderr.write(done.stderr)
        sys.exit(done.returncode)

    def table(self) -> dict[str, Any]:
        with open(os.path.join(_TABLES, f"{self.told['version']}.json"), encoding="utf-8") as file:
            table: dict[str, Any] = json.load(file)
        return table

    # -- work

    def encode_or_decode(self) -> None:
        if self.is_of_a_device():
            self.on_device()
        encoder, _ = self.codecs()
        if self.words[-1:] == ["-"] or encoder not in hardware.SOFTWARE.values():
            self.log(kind=self.kind())
            self.become_real(self.words)
        chosen = self.log(kind="transcode", rung="software", rate_control="CRF", encoder=encoder)
        behaviour.act(behaviour.Work(self.real, self.told["version"], "software", encoder), chosen, self.words)

    def kind(self) -> str:
        """Of what is no transcode."""
        if self.words[-1:] != ["-"] or "lavfi" in self.words:
            return "other"
        return "likeness" if "-filter_complex" in self.words else "decode"

    def is_of_a_device(self) -> bool:
        return any(word in _DEVICE_FLAGS or any(mark in word for mark in _OF_DEVICES) for word in self.options())

    def options(self) -> list[str]:
        """The words that are no tags: those may hold anything."""
        return [word for before, word in zip(["", *self.words], self.words, strict=False) if before != "-metadata"]

    def on_device(self) -> None:
        machine = hardware.Machine(self.told, self.table())
        files: list[File] = []
        encoder, decoder = self.codecs()
        rung = hardware.rung_of(encoder, decoder)
        try:
            files = taken_apart(self.words, lambda name: self.takes_value(machine, name))
            asked = hardware.understood(machine, files, source_of([file.url for file in files if file.reads]))
        except UnknownOptionError as error:
            refusal = Refusal("any", "unknown_option", {"invented": error.name})
            self.refuse(refusal, rung, encoder, files)
        except Refusal as refusal:
            self.refuse(refusal, rung, encoder, files)
        except hardware.Strange as strange:
            self.log(kind="transcode", rung=rung, encoder=encoder, refused=str(strange))
            sys.stderr.write(f"{strange}\n")
            sys.exit(hardware.MISTAKE)
        else:
            chosen = self.log(
                kind="transcode", rung=asked.rung, encoder=encoder, decoder=decoder, rate_control=asked.rate_control
            )
            work = behaviour.Work(self.real, machine.version, asked.rung, encoder)
            behaviour.act(work, chosen, in_software(files, asked, machine))

    def codecs(self) -> tuple[str, str]:
        """Encoder and decoder as the words have them, right or not."""
        at = self.words.index("-i") if "-i" in self.words else 0
        encoder = decoder = ""
        for place, (flag, codec) in enumerate(zip(self.words, self.words[1:], strict=False)):
            if flag == "-c:v" or (flag.startswith("-c:") and flag[3:].isdigit()):
                encoder, decoder = (encoder, codec) if place < at else (codec, decoder)
        return encoder, decoder

    def takes_value(self, machine: hardware.Machine, name: str) -> bool:
        tool = machine.table["tool"]
        if name in tool:
            return bool(tool[name])
        if name.startswith("no") and name[2:] in tool:
            return False
        tables = (machine.table["codec"], machine.table["format"])
        of_codecs = (own for kind in ("encoders", "decoders") for own in machine.table[kind].values())
        if not any(name in known for known in (*tables, *of_codecs)) and not self.known_elsewhere(name):
            raise UnknownOptionError(name)
        return True

    def known_elsewhere(self, name: str) -> bool:
        """Whether some part of ffmpeg that is in no table has an option of that name."""
        import subprocess  # noqa: PLC0415  (half of what a call costs, and only here)

        done = subprocess.run((self.real, f"-{name}", "0"), capture_output=True, text=True)
        return "Unrecognized option" not in done.stderr

    def refuse(self, refusal: Refusal, rung: str, encoder: str, files: list[File]) -> None:
        self.log(kind="transcode", rung=rung, encoder=encoder, refused=refusal.situation)
        urls = {
            "file:clip-h264.mp4": [*(file.url for file in files if file.reads), ""][0],
            "file:out.mp4": self.words[-1],
        }
        text, code = refusal.told(self.told["version"], **urls)
        sys.stderr.write(text)
        sys.exit(code)

    # -- the log, and what comes next

    def log(self, kind: str, rung: str = "", **told: str) -> dict[str, Any]:
        """Write the call down. Returns what is to happen in it: its behaviour, by its number among its like."""
        is_probe = hardware.PROBE_TAG in self.words
        with open(os.path.join(self.folder, "calls.jsonl"), "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            alike = (kind, rung, is_probe)
            earlier = [json.loads(line) for line in file]
            turn = 1 + sum(
                (call["kind"], call["rung"], call["probe"]) == alike and not call["refused"] for call in earlier
            )
            chosen = (
                self.chosen(rung, turn, is_probe=is_probe) if rung and not told.get("refused") else {"kind": "works"}
            )
            blank = {"encoder": "", "decoder": "", "rate_control": "", "refused": ""}
            call = blank | told | {
                "program": self.name, "kind": kind, "rung": rung, "probe": is_probe, "turn": turn,
                "behaviour": chosen["kind"], "argv": self.words,
            }  # fmt: skip
            file.write(json.dumps(call) + "\n")
        return chosen

    def chosen(self, rung: str, turn: int, *, is_probe: bool) -> dict[str, Any]:
        script = self.told["scripts"].get(f"{rung} {'probe' if is_probe else 'file'}", {})
        told: dict[str, Any] = script.get("turns", {}).get(str(turn), script.get("then", {"kind": "works"}))
        return told

    def fail(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """A fault of the fake's own must not look like one of a device."""
        sys.__excepthook__(kind, error, trace)
        sys.stderr.flush()
        self.told["scripts"] = {}
        self.log(kind="other", refused=f"the fake failed: {error!r}")
        os._exit(hardware.MISTAKE)

    def become_real(self, words: list[str]) -> None:
        os.execv(self.real, [self.name, *words])  # noqa: S606  (there is no shell to be had)


def source_of(urls: list[str]) -> hardware.Source:
    """What kind of video the first input holds, by the sample description of an MP4; H.264 for anything else."""
    path = urls[0].removeprefix("file:") if urls else ""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return hardware.Source("h264", 8, "420")
    at = data.find(b"hvcC", max(0, data.find(b"stsd")))
    if at >= 0:
        sampling, depth = data[at + 4 + 16] & 3, (data[at + 4 + 17] & 7) + 8
        return hardware.Source("hevc", depth, {0: "400", 1: "420", 2: "422", 3: "444"}[sampling])
    at = data.find(b"avcC", max(0, data.find(b"stsd")))
    profile = data[at + 5] if at >= 0 else 100
    depth = 10 if profile in (110, 122) else 8
    return hardware.Source("h264", depth, {122: "422", 244: "444"}.get(profile, "420"))


def in_software(files: list[File], asked: hardware.Asked, machine: hardware.Machine) -> list[str]:
    """The command line that does the same without a device."""
    own = set(machine.table["encoders"][asked.encoder]) | {
        "global_quality",
        "q",
        "b",
        "maxrate",
        "bufsize",
        "preset",
        "vf",
    }
    words: list[str] = []
    for file in files:
        dropped = set(machine.table["decoders"].get(asked.decoder, {})) if file.reads else own
        dropped = dropped | {"hwaccel", "hwaccel_device", "hwaccel_output_format", "extra_hw_frames"}
        dropped |= {"init_hw_device", "filter_hw_device", "profile"}
        if asked.decoder:  # in hardware: it passes over pictures that are only damaged, whatever it is told
            dropped |= {"err_detect", "xerror"}
        kept = [
            option for option in file.options
            if not (option.name in dropped and option.is_for_video)
            and not (option.name == "c" and option.value in (asked.encoder, asked.decoder))
        ]  # fmt: skip
        if not file.reads:
            words += _software_options(asked, machine.encoder_tag(asked.encoder))
        words += File(kept, file.url, reads=file.reads).words
    return words


def _software_options(asked: hardware.Asked, tag: str) -> list[str]:
    """The filters and the encoder."""
    form = "yuv420p10le" if asked.depth > 8 else "yuv420p"
    encoder = hardware.SOFTWARE[asked.codec]
    quiet = ["-x265-params", "log-level=error"] if asked.codec == "hevc" else []
    quality = f"{min(51.0, max(1.0, asked.quality - _BETTER[asked.codec])):g}"
    return [
        "-vf", ",".join((*asked.chain, f"scale={hardware.AS_IT_IS}", f"format={form}")),
        "-c:v", encoder, "-preset", "ultrafast", "-crf", quality, *quiet, "-metadata:s:v:0", f"encoder={tag}",
    ]  # fmt: skip


if __name__ == "__main__":
    fake = Fake(sys.argv[1], sys.argv[2], sys.argv[3:])
    sys.excepthook = fake.fail
    fake.run()
