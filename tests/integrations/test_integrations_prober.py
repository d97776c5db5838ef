"""Probes with the real ffmpeg, and with one that pretends a GPU: what works, what does not, and why."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from archiverd.errors import Interrupted, StartupError, StuckError
from archiverd.media.prober import Prober
from archiverd.media.process import Limits
from archiverd.policy.diagnosis import Cause
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.probing import Probed, works
from archiverd.policy.rungs import Engine, Kind, RateControl, Rung
from archiverd.policy.stop import NeverStop, StopToken
from archiverd.service.graceful_exit import GracefulExit
from tests.fakes.ffmpeg import (
    FROZEN,
    GREEN,
    STUCK,
    FakeFfmpeg,
    Node,
    cuts,
    dies,
    drops,
    ends_and_fails,
    fails,
    hangs,
    says,
)
from tests.machine import Machine

LIMITS = Limits(stall_s=30, wall_s=120, memory_bytes=8 << 30)
SETTINGS = EncodeSettings("hevc", 26, "ultrafast")
NODE = Path("/dev/null")  # a device, which a fake takes for a GPU
ON_DEVICE = [Rung.QSV, Rung.QSV_ENCODE, Rung.VAAPI]

Stand = Callable[[str, str], None]


def prober(
    *, settings: EncodeSettings = SETTINGS, limits: Limits = LIMITS, stop: StopToken | None = None,
    device: Path | None = NODE, root: Path = Path("/"),
) -> Prober:  # fmt: skip
    return Prober(settings, limits, stop or NeverStop(), device=device, root=root)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is first on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def stand(programs: Path) -> Stand:
    """Puts a shell script before the real programs."""

    def put(name: str, body: str) -> None:
        path = programs / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    return put


@pytest.fixture
def gpu(programs: Path, tmp_path: Path) -> FakeFfmpeg:
    """A machine whose GPU does all."""
    fake = FakeFfmpeg(tmp_path / "gpu", nodes=(Node(str(NODE)),))
    fake.install(programs)
    return fake


def open_files() -> set[str]:
    return {os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()}


# ---- software, with the real ffmpeg


@pytest.mark.parametrize("codec", ["hevc", "h264"])
@pytest.mark.parametrize("kind", Kind)
def test_software_works_for_every_kind_of_footage(codec: str, kind: Kind) -> None:
    probed = prober(settings=replace(SETTINGS, codec=codec)).probe(Rung.SOFTWARE, kind)
    assert probed.engine == Engine(
        Rung.SOFTWARE,
        RateControl.CRF,
    )
    assert (probed.usable, probed.cause, probed.reason, probed.device) == (True, None, "", "")
    assert probed.speed is not None
    assert probed.speed > 0


@pytest.mark.parametrize("max_height", [90, 720])
def test_probe_scales_where_clips_are_scaled(max_height: int) -> None:
    assert prober(settings=replace(SETTINGS, max_height=max_height)).probe(Rung.SOFTWARE, Kind.H264).usable


@pytest.mark.parametrize("quality", [0, 51])
def test_size_of_a_tiny_output_is_no_verdict(quality: int) -> None:
    assert prober(settings=replace(SETTINGS, quality=quality)).probe(Rung.SOFTWARE, Kind.HEVC).usable


def test_software_that_cannot_encode_is_told_as_ever(stand: Stand) -> None:
    stand("ffmpeg", "echo \"Unknown encoder 'libx265'\" >&2; exit 1")
    probed = prober().probe(Rung.SOFTWARE, Kind.H264)
    assert probed.reason == "ffmpeg can't encode hevc here: ffmpeg exited with 1: Unknown encoder 'libx265'"
    assert probed.remedy.startswith("Install an ffmpeg with libx265 and libx264 (Debian's package ffmpeg has them")


def test_program_that_ends_well_and_writes_nothing_proves_nothing(stand: Stand) -> None:
    stand("ffmpeg", "exit 0")
    probed = prober().probe(Rung.SOFTWARE, Kind.H264)
    assert (probed.usable, probed.cause) == (False, Cause.WRONG_OUTPUT)


# ---- devices, with the real ffmpeg, on a device that is no GPU


@pytest.mark.parametrize("rung", ON_DEVICE)
def test_device_that_is_no_gpu_is_refused_fast_and_told_why(rung: Rung) -> None:
    began = time.monotonic()
    probed = prober().probe(rung, Kind.H264)
    assert time.monotonic() - began < 5
    assert (probed.cause, probed.device, probed.of_device) == (Cause.NO_DRIVER, str(NODE), True)
    assert probed.reason.startswith(f"no VA-API driver starts on {NODE}: ")
    assert probed.remedy


def test_no_device_is_told_without_starting_anything(tmp_path: Path) -> None:
    probed = prober(device=None, root=tmp_path).probe(Rung.QSV, Kind.H264)
    assert (probed.cause, probed.reason) == (Cause.NO_NODE, "there is no device in /dev/dri")


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("/dev/dri/renderD999", "/dev/dri/renderD999 is not there"),
        ("/etc/passwd", "/etc/passwd is no device"),
    ],
)
def test_device_that_was_named_and_is_none_is_told(device: str, reason: str) -> None:
    probed = prober(device=Path(device)).probe(Rung.VAAPI, Kind.H264)
    assert (probed.cause, probed.reason) == (Cause.NO_NODE, reason)


def test_device_the_kernel_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.node("renderD128", "0x8086", target="/dev/tty")  # without a terminal of one's own: ENXIO
    if os.isatty(0):
        os.setsid()
    probed = prober(device=None, root=tmp_path).probe(Rung.QSV, Kind.H264)
    assert probed.cause is Cause.NOT_OPENED
    assert probed.reason == "/dev/dri/renderD128 can't be opened: No such device or address"


# ---- devices, with an ffmpeg that pretends one


@pytest.mark.parametrize("version", ["5.1", "7.1"])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("rung", ON_DEVICE)
def test_device_that_works_is_found_to(gpu: FakeFfmpeg, rung: Rung, kind: Kind, version: str) -> None:
    gpu.version = "5.1" if version == "5.1" else "7.1"
    gpu.write()
    probed = prober().probe(rung, kind)
    assert gpu.mistakes() == []
    assert probed.engine == Engine(rung, RateControl.ICQ, str(NODE))
    assert probed.likeness is not None
    assert 0.98 < probed.likeness <= 1.0
    (call,) = gpu.transcodes(probes=True)
    assert call.rung == rung


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("rung", ON_DEVICE)
@pytest.mark.parametrize("max_height", [144, 720])
def test_device_scales_in_its_probe_but_for_the_full_range_on_quick_sync(
    gpu: FakeFfmpeg, rung: Rung, kind: Kind, max_height: int
) -> None:
    probed = prober(settings=replace(SETTINGS, max_height=max_height)).probe(rung, kind)
    assert (probed.usable, probed.reason) == (True, "")
    (call,) = gpu.transcodes(probes=True)
    full_range = kind is Kind.H264  # as the cameras have it
    assert any("vpp_qsv=" in word or "scale=256:144" in word or "scale=320:180" in word for word in call.argv) is not (
        full_range and rung is Rung.QSV
    )


def test_first_rate_control_that_works_is_kept(gpu: FakeFfmpeg) -> None:
    gpu.rate_controls = {"hevc_qsv": ("CQP",)}
    gpu.write()
    probed = prober().probe(Rung.QSV, Kind.H264)
    assert probed.engine is not None
    assert probed.engine.rate_control is RateControl.CQP
    assert len(gpu.transcodes(probes=True)) == 4


def test_no_rate_control_that_works_is_told(gpu: FakeFfmpeg) -> None:
    gpu.rate_controls = {"hevc_qsv": ()}
    gpu.write()
    probed = prober().probe(Rung.QSV_ENCODE, Kind.H264)
    assert (probed.cause, probed.of_device) == (Cause.NO_RATE_CONTROL, False)


@pytest.mark.parametrize(
    ("situation", "cause"),
    [
        ("no_driver", Cause.NO_DRIVER),
        ("no_runtime", Cause.NO_SESSION),
        ("not_built", Cause.NOT_BUILT),
        ("device_lost", Cause.LOST),
        ("gpu_hang", Cause.HUNG),
    ],
)
def test_device_that_fails_as_a_whole_is_not_tried_in_other_ways(gpu: FakeFfmpeg, situation: str, cause: Cause) -> None:
    gpu.script("qsv", then=fails(situation), probes=True)
    probed = prober().probe(Rung.QSV, Kind.H264)
    assert (probed.cause, probed.of_device) == (cause, True)
    assert len(gpu.transcodes(probes=True)) == 1


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (GREEN, "what it wrote is not the clip: likeness: SSIM"),
        (FROZEN, "what it wrote is not the clip: likeness: SSIM"),
        (drops(3), "frames: 9 of 10"),
        (cuts(500), "what it wrote"),
    ],
    ids=["green", "frozen", "drops a frame", "cut off"],
)
@pytest.mark.parametrize("rung", ON_DEVICE)
def test_output_that_is_not_the_clip_is_refused_though_the_program_ends_well(
    gpu: FakeFfmpeg, rung: Rung, behaviour: object, words: str
) -> None:
    gpu.script(rung.value, then=behaviour, probes=True)  # type: ignore[arg-type]  # a Behaviour
    probed = prober().probe(rung, Kind.H264)
    assert (probed.usable, probed.cause, probed.of_device) == (False, Cause.WRONG_OUTPUT, False)
    assert words in probed.reason


def test_wrong_pictures_tell_more_than_a_refused_rate_control(gpu: FakeFfmpeg) -> None:
    refused = fails("rate_control_refused")
    gpu.script("qsv", [refused, refused, GREEN, refused], probes=True)
    assert prober().probe(Rung.QSV, Kind.H264).cause is Cause.WRONG_OUTPUT


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (dies(), "ffmpeg was killed by SIGSEGV"),
        (ends_and_fails(), "Conversion failed!"),
        (says("[hevc_qsv @ 0x1] a new trouble\nConversion failed!\n", 1), "a new trouble"),
    ],
    ids=["dies", "ends and fails", "unknown words"],
)
def test_unknown_failure_is_told_in_its_own_words(gpu: FakeFfmpeg, behaviour: object, words: str) -> None:
    gpu.script("qsv", then=behaviour, probes=True)  # type: ignore[arg-type]  # a Behaviour
    probed = prober().probe(Rung.QSV, Kind.H264)
    assert (probed.cause, probed.reason) == (Cause.UNKNOWN, words)


def test_device_that_hangs_is_given_up_and_not_tried_again_in_any_way(gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", then=hangs(ignores_sigterm=True), probes=True)
    patient = replace(LIMITS, stall_s=1.0, stop_s=0.2)
    seeker = prober(limits=patient)
    begun: list[tuple[Rung, Kind]] = []
    found = seeker.probe_all(seeker.equipment(), lambda rung, kind: begun.append((rung, kind)))
    assert [probed.hung for probed in found] == [True] * 9 + [False] * 3
    assert begun == [(Rung.QSV, Kind.H264), *((Rung.SOFTWARE, kind) for kind in Kind)]
    assert [(probed.rung, probed.kind) for probed in found] == [(rung, kind) for rung in Rung for kind in Kind]
    assert len(gpu.transcodes(probes=True)) == 4


def test_what_fails_as_a_whole_is_not_probed_with_each_kind(gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", then=fails("no_runtime"), probes=True)
    gpu.script("qsv-encode", then=fails("no_runtime"), probes=True)
    seeker = prober()
    found = seeker.probe_all(seeker.equipment(), lambda *_: None, ON_DEVICE)
    assert [probed.usable for probed in found] == [False] * 6 + [True] * 3
    assert [call.rung for call in gpu.transcodes(probes=True)] == ["qsv", "qsv-encode", *["vaapi"] * 3]


def test_footage_a_rung_does_not_take_is_told_without_a_try(gpu: FakeFfmpeg) -> None:
    probed = prober(settings=replace(SETTINGS, codec="h264")).probe(Rung.VAAPI, Kind.HEVC_10)
    assert (probed.cause, probed.of_device) == (Cause.NOT_FIT, False)
    assert gpu.transcodes(probes=True) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("rung", [Rung.VAAPI, Rung.SOFTWARE])
def test_program_that_no_signal_ends_is_the_devices_fault_on_a_device(stand: Stand, tmp_path: Path, rung: Rung) -> None:
    flag = tmp_path / "traced"
    flag.touch()
    stand("ffmpeg", f"case $1 in -version) exit 0;; esac; exec {shlex.join((sys.executable, str(STUCK), str(flag)))}")
    seeker = prober(limits=replace(LIMITS, stall_s=1.0, stop_s=0.2))
    try:
        if rung is Rung.SOFTWARE:
            with pytest.raises(StuckError, match="does not end on SIGKILL"):
                seeker.probe(rung, Kind.H264)
            return
        probed = seeker.probe(rung, Kind.H264)
        assert (probed.cause, probed.of_device) == (Cause.HUNG, True)
        assert "does not end on SIGKILL" in probed.reason
    finally:
        flag.unlink()


# ---- several devices


def two_nodes(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "machine")
    machine.node("renderD128", "0x10de")
    machine.node("renderD129", "0x8086")
    machine.node("renderD130", "0x8086")
    return machine


def test_each_device_is_tried_until_one_works(gpu: FakeFfmpeg, tmp_path: Path) -> None:
    gpu.nodes = (Node("/dev/dri/renderD129", vaapi=False), Node("/dev/dri/renderD130"))
    gpu.write()
    probed = prober(device=None, root=two_nodes(tmp_path).root).probe(Rung.QSV, Kind.H264)
    assert probed.engine is not None
    assert probed.engine.device == "/dev/dri/renderD130"


def test_where_none_works_the_likeliest_one_is_told(gpu: FakeFfmpeg, tmp_path: Path) -> None:
    gpu.nodes = (Node("/dev/dri/renderD129", vaapi=False), Node("/dev/dri/renderD130", accessible=False))
    gpu.write()
    probed = prober(device=None, root=two_nodes(tmp_path).root).probe(Rung.QSV, Kind.H264)
    assert (probed.device, probed.cause) == ("/dev/dri/renderD129", Cause.NO_DRIVER)


def test_device_that_was_named_is_the_only_one(gpu: FakeFfmpeg, tmp_path: Path) -> None:
    gpu.nodes = (Node("/dev/dri/renderD129"), Node("/dev/dri/renderD130"))
    gpu.write()
    root = two_nodes(tmp_path).root
    probed = prober(device=Path("/dev/dri/renderD130"), root=root).probe(Rung.QSV, Kind.H264)
    assert probed.device == "/dev/dri/renderD130"


# ---- the end


def test_probes_leave_nothing_behind(gpu: FakeFfmpeg, tmp_path: Path) -> None:
    gpu.script("vaapi", then=GREEN, probes=True)
    before = open_files()
    for rung in Rung:
        prober().probe(rung, Kind.H264)
    assert open_files() == before
    assert {path.name for path in tmp_path.iterdir()} == {"gpu", "programs"}


def test_stop_ends_a_probe(gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", then=hangs(), probes=True)
    with GracefulExit() as stop:
        os.kill(os.getpid(), 15)
        with pytest.raises(Interrupted):
            prober(stop=stop).probe(Rung.QSV, Kind.H264)


def test_no_ffmpeg_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError, match="ffmpeg was not found"):
        prober().probe(Rung.SOFTWARE, Kind.H264)
    with pytest.raises(StartupError, match="ffmpeg was not found"):
        prober().identity(Rung.QSV)


# ---- what a probe is remembered by


def change_nothing(_machine: Machine, _programs: Path) -> None:
    return


def change_ffmpeg(_machine: Machine, programs: Path) -> None:
    (programs / "ffmpeg").write_text("#!/bin/sh\n# a newer one\n")


def touch_ffmpeg(_machine: Machine, programs: Path) -> None:
    os.utime(programs / "ffmpeg", (1, 1))


def add_node(machine: Machine, _programs: Path) -> None:
    machine.node("renderD129", "0x8086")


def change_driver(machine: Machine, _programs: Path) -> None:
    link = machine.path("sys/class/drm/renderD128/device/driver")
    link.unlink()
    link.symlink_to("../../bus/pci/drivers/xe")


def add_va_driver(machine: Machine, _programs: Path) -> None:
    machine.file("usr/lib/x86_64-linux-gnu/dri/iHD_drv_video.so", "new")


def change_runtime(machine: Machine, _programs: Path) -> None:
    machine.file("usr/lib/x86_64-linux-gnu/libmfx-gen.so.1.2", "newer")


def change_kernel(machine: Machine, _programs: Path) -> None:
    machine.file("proc/sys/kernel/osrelease", "6.99\n")


@pytest.mark.parametrize(
    ("change", "of_device", "of_software"),
    [
        (change_nothing, True, True),
        (change_ffmpeg, False, False),
        (touch_ffmpeg, False, False),
        (add_node, False, True),
        (change_driver, False, True),
        (add_va_driver, False, True),
        (change_runtime, False, True),
        (change_kernel, False, True),
    ],
)
def test_identity_changes_with_whatever_a_probe_depends_on(
    stand: Stand, programs: Path, tmp_path: Path, change: Callable[[Machine, Path], None], of_device: bool,
    of_software: bool,
) -> None:  # fmt: skip
    stand("ffmpeg", "exit 1")
    machine = Machine(tmp_path / "machine")
    machine.node("renderD128", "0x8086", driver="i915")
    machine.file("usr/lib/x86_64-linux-gnu/libmfx-gen.so.1.2", "new")
    machine.file("proc/sys/kernel/osrelease", "6.1\n")
    seeker = prober(device=None, root=machine.root)
    before = seeker.identity(Rung.QSV), seeker.identity(Rung.SOFTWARE)
    change(machine, programs)
    assert (seeker.identity(Rung.QSV) == before[0]) is of_device
    assert (seeker.identity(Rung.SOFTWARE) == before[1]) is of_software


@pytest.mark.parametrize(
    ("settings", "limits"),
    [(replace(SETTINGS, quality=30), LIMITS), (SETTINGS, replace(LIMITS, memory_bytes=1 << 30))],
    ids=["settings", "limits"],
)
def test_identity_changes_with_how_ffmpeg_is_run(settings: EncodeSettings, limits: Limits) -> None:
    assert prober(settings=settings, limits=limits).identity(Rung.QSV) != prober().identity(Rung.QSV)


def test_identity_starts_no_program(stand: Stand, tmp_path: Path) -> None:
    stand("ffmpeg", f"touch {tmp_path}/started")
    prober().identity(Rung.QSV)
    assert not (tmp_path / "started").exists()


# ---- as a value


@pytest.mark.parametrize("rung", [Rung.QSV, Rung.VAAPI])
def test_probe_survives_json(gpu: FakeFfmpeg, rung: Rung) -> None:
    gpu.script("vaapi", then=fails("no_driver"), probes=True)
    probed = prober().probe(rung, Kind.HEVC)
    told = json.dumps(probed.to_json())
    again = Probed.from_json(json.loads(told))
    assert again.to_json() == probed.to_json()
    assert (again.engine, again.cause, again.reason) == (probed.engine, probed.cause, probed.reason)


@pytest.mark.parametrize("told", [None, [], {}, {"rung": "qsv"}, {"rung": "warp"}])
def test_json_of_something_else_is_no_probe(told: object) -> None:
    with pytest.raises(ValueError, match=r"no probe|is not a valid Rung"):
        Probed.from_json(told)


def test_rungs_work_where_any_takes_any_footage() -> None:
    software = prober().probe(Rung.SOFTWARE, Kind.H264)
    assert works([Rung.SOFTWARE], [software])
    assert not works([Rung.QSV], [software])
