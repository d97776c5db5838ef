"""What a machine with a GPU does with clips of a real size. Left out unless it is asked for: `./dev test -m hardware`.

It ends with a report to be pasted into a bug report, which also stands in `hardware-report.txt` in the working
directory. ARCHIVERD_TEST_DEVICE names the one device to be tried. Without one that encodes it fails, and says why.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from archiverd import __version__, reports
from archiverd.config import Config
from archiverd.errors import ArchiverError, TranscodeFailed
from archiverd.media import boxes
from archiverd.media.probe import probe
from archiverd.media.prober import Prober
from archiverd.media.process import Limits
from archiverd.media.source import Source, declared_frames
from archiverd.media.transcoder import Transcoder
from archiverd.media.verifier import Verifier
from archiverd.policy.clip_info import select
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.probing import Probed
from archiverd.policy.rungs import Engine, Kind, rate_controls
from archiverd.policy.stop import NeverStop
from archiverd.policy.verdict import Ruling, verdict
from tests.outcomes import HARDWARE_REPORT
from tests.program import archiverd
from tools import footage
from tools.footage import Clip

pytestmark = pytest.mark.hardware

REPORT = Path("hardware-report.txt")
PLEASE = f"Please paste {REPORT} into a bug report, also where all went well."
LIMITS = Limits(stall_s=60, wall_s=300, memory_bytes=8 << 30)
DEFAULTS = Config()
SETTINGS = EncodeSettings(DEFAULTS.codec, DEFAULTS.crf, DEFAULTS.preset)
DEVICE = os.environ.get("ARCHIVERD_TEST_DEVICE")
# As cameras send them, and as they don't: a height that is no whole number of blocks, sound, full range.
CLIPS = {
    Kind.H264: Clip("hardware-h264", 1920, 1080, "15", 2.0, audio="aac", full_range=True, pix_fmt="yuvj420p", crf=20),
    Kind.HEVC: Clip("hardware-hevc", 1920, 1080, "15", 2.0, codec="hevc", audio="pcm_alaw", crf=20),
    Kind.HEVC_10: Clip("hardware-hevc-10", 1280, 720, "10", 2.0, codec="hevc", pix_fmt="yuv420p10le", crf=20),
}


class Report:
    """Lines for people, and what went wrong. Tells a remedy once."""

    def __init__(self) -> None:
        self.lines = [f"archiverd {__version__}, Python {platform.python_version()}, {datetime.now():%Y-%m-%d %H:%M}"]
        self.faults: list[str] = []
        self._told: set[str] = set()

    def add(self, *lines: str) -> None:
        self.lines += lines

    def fault(self, line: str) -> None:
        self.faults.append(line)
        self.add(f"FAULT {line}")

    def remedy(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            self.add(f"    {words or '(no remedy is known)'}")

    def said(self, words: str) -> None:
        self.add(*(f"    | {line}" for line in words.splitlines()[-40:]))


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Iterator[Report]:
    """Shown at the end of the session (tests/conftest.py), from whatever process the test ran in."""
    told = Report()
    yield told
    text = "\n".join(told.lines)
    REPORT.write_text(f"{text}\n", encoding="utf-8")
    record_property(HARDWARE_REPORT, f"(also in {REPORT.absolute()})\n{text}\n\n{PLEASE}")


def test_this_machine_encodes_with_a_device(report: Report, tmp_path: Path) -> None:
    prober = Prober(SETTINGS, LIMITS, NeverStop(), device=None if DEVICE is None else Path(DEVICE))
    equipment = prober.equipment()
    report.add(*reports.equipment_lines(equipment), "")
    probed = prober.probe_all(equipment, lambda _rung, _kind: None)
    for one in probed:
        describe(report, one)
    usable = [one for one in probed if one.usable and one.rung.on_device]
    if not usable:
        reasons = dict.fromkeys(one.reason for one in probed if one.rung.on_device)
        pytest.fail(f"no device encodes on this machine: {'; '.join(reasons)}", pytrace=False)
    report.add("", "Clips of a real size:")
    for one in usable:
        transcode(report, one, tmp_path)
    archive(report, tmp_path)
    if report.faults:
        pytest.fail("; ".join(report.faults), pytrace=False)


def describe(report: Report, probed: Probed) -> None:
    """A row of the table, and ffmpeg's words where it failed."""
    if probed.engine is not None:
        control, likeness = probed.engine.rate_control, probed.likeness
        report.add(
            f"{probed.rung:10} {probed.kind:11} works  {control} on {probed.device or 'no device'}, "
            f"{probed.speed or 0:.1f}x, likeness {'-' if likeness is None else f'{likeness:.4f}'}"
        )
        return
    report.add(f"{probed.rung:10} {probed.kind:11} no     {probed.cause}: {probed.reason}")
    report.remedy(probed.remedy)
    if probed.device and probed.kind is Kind.H264:
        for control in rate_controls(probed.rung):
            engine = Engine(probed.rung, control, probed.device)
            report.add(f"    ffmpeg with {control}:")
            report.said(words_of(engine))


def words_of(engine: Engine) -> str:
    """What ffmpeg says when it is asked once more, on a clip of a real size."""
    with opened(footage.cached(CLIPS[Kind.H264])) as source, made_in_memory() as target:
        try:
            Transcoder(SETTINGS, LIMITS, NeverStop()).transcode(
                source, target, engine, {"archiverd": "probe"}, lambda _position: None
            )
        except TranscodeFailed as failed:
            return failed.said or failed.message
        except ArchiverError as error:
            return str(error)
    return "(it ended well this time)"


def transcode(report: Report, probed: Probed, tmp_path: Path) -> None:
    """A whole transcode with its proof, as a job does it."""
    engine = probed.engine
    assert engine is not None
    name = f"{probed.rung} {probed.kind}"
    transcoder = Transcoder(SETTINGS, LIMITS, NeverStop())
    began = time.monotonic()
    with opened(footage.cached(CLIPS[probed.kind])) as source, made_in_memory() as target:
        try:
            made = transcoder.transcode(source, target, engine, {}, lambda _position: None)
            frames = made.frames
            if not probed.rung.decodes_strictly:
                frames = transcoder.decode(source.handle, encoded_audio=False, on_position=lambda _: None).frames
            video = source.info.video
            evidence = Verifier(transcoder, LIMITS, NeverStop()).evidence(
                source, frames, target, os.fstat(target).st_size, height=0 if video is None else video.height,
                on_position=lambda _position: None, compare_pictures=True,
            )  # fmt: skip
        except TranscodeFailed as failed:
            report.fault(f"{name}: {failed.message}")
            report.said(failed.said)
            return
        ruled, size = verdict(evidence), os.fstat(target).st_size
        likeness = "-" if evidence.likeness is None else f"{evidence.likeness.least:.4f}"
        line = (
            f"{name}: {made.elapsed_s:.2f} s of {time.monotonic() - began:.2f} s for {source.info.duration_s:.1f} s, "
            f"{made.frames} frames, {source.size} to {size} bytes, likeness {likeness}, "
            + ": ".join(filter(None, (ruled.ruling, ruled.reason)))
        )
        if ruled.ruling is Ruling.REJECT:
            report.fault(line)
            shutil.copy(f"/proc/self/fd/{target}", tmp_path / f"{name}.mp4")
        else:
            report.add(f"  {line}")


def archive(report: Report, tmp_path: Path) -> None:
    """A run over all of them, as its user starts it."""
    root = tmp_path / "camera"
    taken_at = datetime.now() - timedelta(days=1)
    for minute, clip in enumerate(CLIPS.values()):
        path = footage.upload_path(root, "front", taken_at + timedelta(minutes=minute))
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(footage.cached(clip), path)
        os.utime(path, (time.time() - 3600,) * 2)
    device = () if DEVICE is None else ("--device", DEVICE)
    done = archiverd("run", root, "--no-confirm", "--json", *device)
    report.add("", f"A run over all of them ended with {done.code}:")
    if done.code != 0:
        report.fault("the run did not end well")
    report.add(*(f"  {line}" for line in [*done.out.splitlines()[-80:], *done.err.splitlines()[-20:]]))


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    handle = os.open(path, os.O_RDONLY)
    try:
        info = probe(handle, stop=NeverStop(), limits=LIMITS)
        yield Source(handle, path.stat().st_size, declared_frames(boxes.walk(handle)), info, select(info))
    finally:
        os.close(handle)


@contextmanager
def made_in_memory() -> Iterator[int]:
    handle = os.memfd_create("hardware-test", os.MFD_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
