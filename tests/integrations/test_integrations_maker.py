"""What an archive is made of, where a machine fails in ways that no program can be made to."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from archiverd.errors import DeviceError, ResourceError, StuckError
from archiverd.maker import ArchiveMaker
from archiverd.media import boxes
from archiverd.media.probe import probe
from archiverd.media.process import NO_LIMITS
from archiverd.media.source import Source, declared_frames
from archiverd.policy.clip_info import ClipInfo, select
from archiverd.policy.falling import Fall
from archiverd.policy.rungs import SOFTWARE, Engine, RateControl, Rung
from archiverd.policy.stop import NeverStop
from archiverd.workbench import Workbench
from tests.recordings import recording
from tools import footage

ON_DEVICE = Engine(Rung.VAAPI, RateControl.ICQ, "/dev/dri/renderD128")


class StuckTranscoder:
    """Its ffmpeg does not end on SIGKILL, as with a GPU that is gone."""

    def transcode(self, *_: object) -> None:
        raise StuckError("ffmpeg (process 7) does not end on SIGKILL", advice="see the kernel log")


@dataclass
class OneRung:
    """A ladder of one engine, that notes what it is told."""

    engine: Engine
    told: list[str] = field(default_factory=list)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        return (self.engine.rung, Rung.SOFTWARE)

    def step(self, rung: Rung, _info: ClipInfo) -> Engine | Fall:
        return self.engine if rung is self.engine.rung else SOFTWARE

    def stuck(self, device: str, reason: str, remedy: str) -> None:
        self.told.append(f"{device}: {reason}: {remedy}")


def bench_of(ladder: OneRung) -> Workbench:
    display = SimpleNamespace(stage=_ignore, update=_ignore)
    roots = SimpleNamespace(nonce=lambda _tree: "0" * 32)
    return Workbench(
        catalog=cast(Any, None), files=cast(Any, None), roots=cast(Any, roots), transcoder=cast(Any, StuckTranscoder()),
        ladder=cast(Any, ladder), verifier=cast(Any, None), settings=cast(Any, None), stop=NeverStop(),
        display=cast(Any, display), clock=lambda: 0.0,
    )  # fmt: skip


def _ignore(*_: object) -> None:
    return


def make_with(ladder: OneRung, target: Path) -> None:
    with footage.cached(footage.Clip("maker", 160, 120, "10", 0.5)).open("rb") as file, target.open("wb") as output:
        handle = file.fileno()
        info = probe(handle, stop=NeverStop(), limits=NO_LIMITS)
        source = Source(handle, os.fstat(handle).st_size, declared_frames(boxes.walk(handle)), info, select(info))
        ArchiveMaker(bench_of(ladder)).make(recording(), source, "5" * 64, output.fileno())


def test_program_that_hangs_in_a_device_makes_its_clip_wait_and_the_device_rest(tmp_path: Path) -> None:
    ladder = OneRung(ON_DEVICE)
    with pytest.raises(DeviceError, match=r"/dev/dri/renderD128 hangs: ffmpeg \(process 7\) does not end on SIGKILL"):
        make_with(ladder, tmp_path / "part")
    assert ladder.told == ["/dev/dri/renderD128: ffmpeg (process 7) does not end on SIGKILL: see the kernel log"]


def test_program_that_hangs_elsewhere_is_no_device_s_fault(tmp_path: Path) -> None:
    ladder = OneRung(SOFTWARE)
    with pytest.raises(ResourceError) as raised:
        make_with(ladder, tmp_path / "part")
    assert not isinstance(raised.value, DeviceError)
    assert ladder.told == []
