"""A machine with a GPU, pretended: programs `ffmpeg` and `ffprobe` that stand before the real ones.

    fake = FakeFfmpeg(tmp_path / "gpu")                       # ffmpeg 5.1 with libmfx, all works on renderD128
    fake.install(rig.programs)                                # a directory that is first on PATH
    fake.script("qsv", [WORKS, GREEN, fails("device_lost")])  # its first three transcodes of files, then WORKS
    fake.script("qsv", then=fails("gpu_hang"))                # every one, for good
    fake.script("qsv", {3: HANGS})                            # the third alone
    fake.script("vaapi", then=fails("no_driver"), probes=True)
    … run archiverd …
    assert [call.rung for call in fake.transcodes()] == ["qsv", "vaapi"]

What it takes is what the real one takes: an option, value, filter or device that the pretended version does not have,
or the pretended machine, is refused with the words and the exit code of that version (`messages/`, `tables/`). What
ffmpeg would take though nobody can mean it (an option that has no effect, a decode that falls back to software
unheard) ends with exit code 97 (`hardware.MISTAKE`): such a call is a mistake of ours (`mistakes()`). What it takes it
does with x265 and x264, so that frames, times, sound, tags, size, depth and range of the output are right.

Transcodes are told apart by rung: "qsv" names a QSV decoder, "qsv-encode" and "vaapi" decode in software, "software"
encodes with libx265 or libx264. A script counts the transcodes of its rung that were not refused; a call with
`-metadata archiverd=probe` (`hardware.PROBE_TAG`) is a probe, and counts apart. Each call stands in the log, `calls()`,
with what became of it. The state lies in files, so a script goes on from one archiverd to the next.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.fakes.refusals import kept

Rung = Literal["qsv", "qsv-encode", "vaapi", "software"]
Version = Literal["5.1", "7.1"]
NODE = "/dev/dri/renderD128"

STUCK = Path(__file__).with_name("stuck.py")  # a program that no signal ends
_PROGRAM = Path(__file__).with_name("program.py")


@dataclass(frozen=True, slots=True)
class Node:
    """A render node and what works on it."""

    path: str = NODE
    accessible: bool = True  # this user may open it
    vaapi: bool = True  # it has a driver
    qsv: bool = True  # it has a runtime (libmfx, libmfx-gen, oneVPL)
    driver: str = "iHD"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What becomes of a transcode. Made by the functions below."""

    kind: Literal["works", "hangs", "dies", "cuts", "says", "fails"]
    filter: str = ""  # what is done to the pictures besides
    options: tuple[str, ...] = ()  # more options of the encoder
    after: int | None = None  # frames that come out before; 0 for all, None for not even a start
    ignores_sigterm: bool = False
    signal: int = 0
    bytes: int = 0
    text: str | None = None
    code: int = 0
    situation: str = ""
    rung: str = ""
    flood_mib: int = 0

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


WORKS = Behaviour("works")
# The right number of pictures at the right times, all of them green, as a driver made them once (HandBrake#5166).
GREEN = Behaviour("works", filter="lutyuv=y=0:u=0:v=0")
# The first picture over and over.
FROZEN = Behaviour("works", filter="split[all][first];[first]trim=end_frame=1[still];[all][still]overlay=format=auto")
# Larger than any source: every picture as it is, without loss.
GROWS = Behaviour("works", filter="noise=alls=60:allf=t", options=("-crf", "0"))


def drops(*frames: int) -> Behaviour:
    """Leave out these frames, counted from 0; all else is right, and it exits with 0."""
    return Behaviour("works", filter=f"select='not({'+'.join(f'eq(n,{frame})' for frame in frames)})'")


def ends_early(frames: int) -> Behaviour:
    """Write a whole file of the first frames alone, and exit with 0."""
    return Behaviour("works", options=("-frames:v", str(frames)))


def cuts(count: int) -> Behaviour:
    """Exit with 0, the last bytes missing."""
    return Behaviour("cuts", after=0, bytes=count)


def hangs(after: int | None = None, *, ignores_sigterm: bool = False) -> Behaviour:
    """Make no more progress, after some frames or from the start. Ends on SIGTERM with 255, unless it ignores it."""
    return Behaviour("hangs", after=after, ignores_sigterm=ignores_sigterm)


HANGS = hangs()
HANGS_IN_THE_KERNEL = hangs(ignores_sigterm=True)  # as a GPU that is gone has it: only SIGKILL helps


def dies(by: signal.Signals = signal.SIGSEGV, after: int | None = None) -> Behaviour:
    """Die by a signal, after some frames or at once."""
    return Behaviour("dies", signal=by, after=after)


def fails(situation: str, *, rung: str = "", after: int | None = None) -> Behaviour:
    """Fail with the words and exit code of `messages/VERSION-RUNG-SITUATION.txt`, by default of the call's own rung.

    "device_lost", "gpu_hang", "no_runtime", "no_driver", "rate_control_refused", "not_built"; with rung="any"
    "disk_full_at_once", "disk_full_at_end". After some frames, or all with 0: `progress=end` was told then.
    """
    return Behaviour("fails", situation=situation, rung=rung, after=after)


def says(text: str, code: int, after: int | None = None) -> Behaviour:
    """Fail, or end well with `code` 0, with words of the test's own."""
    return Behaviour("says", text=text, code=code, after=after)


def ends_and_fails(code: int = 1) -> Behaviour:
    """Do it all, tell `progress=end`, and exit with something else than 0."""
    return says("Conversion failed!\n", code, after=0)


def floods(mib: int, then: Behaviour = WORKS) -> Behaviour:
    """Write megabytes of complaints to stderr first."""
    told = asdict(then) | {"flood_mib": mib}
    return Behaviour(**told)


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the log has it."""

    program: str  # ffmpeg or ffprobe
    kind: str  # transcode, decode (into nothing), likeness (two clips compared), ffprobe, version, list, other
    rung: str  # of a transcode
    probe: bool
    turn: int  # which of its kind, rung and probe it is
    encoder: str
    decoder: str  # the QSV decoder that was named
    rate_control: str  # ICQ, QVBR, CQP, …, after `low_power=0 ` where that was said
    behaviour: str
    refused: str  # the situation it was refused for: what the machine or the version does not have
    argv: tuple[str, ...]


@dataclass(slots=True)
class FakeFfmpeg:
    """The programs and their state. Change a field and `write()` to change the machine under a running archiverd.

    `without`: what the build lacks, "qsv" or "vaapi". `rate_controls`: by encoder, what the device takes (see
    `Call.rate_control`); an encoder that is not in it takes all.
    """

    folder: Path
    version: Version = "5.1"
    nodes: tuple[Node, ...] = (Node(),)
    without: tuple[str, ...] = ()
    rate_controls: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scripts: dict[str, dict[str, Any]] = field(default_factory=dict)
    real: dict[str, str] = field(default_factory=dict)

    def install(self, programs: Path) -> None:
        """Stand in `programs`, which is to be first on PATH. The real ones are those found now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        elsewhere = os.pathsep.join(
            part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(part) != programs
        )
        for name in ("ffmpeg", "ffprobe"):
            self.real[name] = shutil.which(name, path=elsewhere) or name
            command = (sys.executable, "-IS", str(_PROGRAM), name, str(self.folder))
            program = programs / name
            # Through a shell: the interpreter's path may hold a space, which no first line of a script can.
            program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            program.chmod(0o755)
        self.write()

    def script(
        self,
        rung: Rung,
        turns: Sequence[Behaviour] | Mapping[int, Behaviour] = (),
        *,
        then: Behaviour = WORKS,
        probes: bool = False,
    ) -> None:
        """Say what becomes of the transcodes of a rung, the first being 1; `then` of all that are not named."""
        numbered = turns if isinstance(turns, Mapping) else dict(enumerate(turns, 1))
        for behaviour in (*numbered.values(), then):
            if behaviour.situation:
                kept(self.version, behaviour.rung or rung, behaviour.situation)  # raises FileNotFoundError for no text
        self.scripts[f"{rung} {'probe' if probes else 'file'}"] = {
            "turns": {str(turn): behaviour.as_json() for turn, behaviour in numbered.items()},
            "then": then.as_json(),
        }
        self.write()

    def write(self) -> None:
        told = {
            "version": self.version, "without": self.without, "scripts": self.scripts, "real": self.real,
            "nodes": {node.path: asdict(node) for node in self.nodes},
            "rate_controls": {encoder: list(taken) for encoder, taken in self.rate_controls.items()},
        }  # fmt: skip
        fresh = self.folder / "machine.json.new"
        fresh.write_text(json.dumps(told))
        fresh.replace(self.folder / "machine.json")

    def calls(self) -> list[Call]:
        """Every call so far, in order."""
        log = self.folder / "calls.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [Call(**told | {"argv": tuple(told["argv"])}) for told in map(json.loads, lines)]

    def transcodes(self, *, probes: bool = False) -> list[Call]:
        """The transcodes of files, or those of probes."""
        return [call for call in self.calls() if call.kind == "transcode" and call.probe == probes]

    def mistakes(self) -> list[Call]:
        """The calls that were refused though a device is there: for what they say, not for what the machine lacks."""
        return [call for call in self.calls() if call.refused and call.refused not in _OF_THE_MACHINE]


_OF_THE_MACHINE = frozenset(
    {
        "no_device", "no_driver", "no_runtime", "not_built", "no_child_device", "no_default_device",
        "rate_control_refused", "low_power_refused", "profile_not_decoded", "p010_h264", "unknown_encoder",
        "unknown_decoder", "no_session", "no_session_to_decode", "no_device_for_decoder",
    }
)  # fmt: skip
