"""Which rung a clip is given, and what becomes of the rungs that fail it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace

import pytest

from archiverd.errors import StartupError, TranscodeFailed, VerificationFailed
from archiverd.ladder import Ladder
from archiverd.policy.clip_info import ClipInfo, Stream, StreamKind
from archiverd.policy.diagnosis import Cause, Diagnosis
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.falling import FAILURES, STANDINGS, Fall, Footing, Standings, rungs_for
from archiverd.policy.probing import Probed
from archiverd.policy.rungs import Engine, Kind, RateControl, Rung

NODE = "/dev/dri/renderD128"
OTHER_NODE = "/dev/dri/renderD129"
REST_S = 600.0
SETTINGS = EncodeSettings("hevc", 26, "fast")
HUNG = TranscodeFailed("ffmpeg made no progress", hung=True)
FAILED = TranscodeFailed("ffmpeg exited with 1: something odd", said="something odd")

Programmed = dict[tuple[Rung, Kind] | Rung, str]  # what does not work, and why


def clip(codec: str = "h264", pix_fmt: str = "yuv420p") -> ClipInfo:
    video = Stream(0, StreamKind.VIDEO, codec, 10, 0.0, 1.0, 0.1, "", width=640, height=360, pix_fmt=pix_fmt)
    return ClipInfo((video,), 1.0, {}, ())


def engine(rung: Rung, device: str = NODE) -> Engine:
    if rung is Rung.SOFTWARE:
        return Engine(rung, RateControl.CRF)
    return Engine(rung, RateControl.ICQ, device)


@dataclass
class FakeProber:
    """Answers as it is told, and counts what it is asked."""

    broken: Programmed = field(default_factory=dict)
    cause: Cause = Cause.NO_SESSION
    devices: dict[Rung, str] = field(default_factory=dict)
    is_now: str = "this machine"
    boot: str = "booted"
    asked: list[tuple[Rung, Kind]] = field(default_factory=list)

    def probe(self, rung: Rung, kind: Kind) -> Probed:
        self.asked.append((rung, kind))
        device = "" if rung is Rung.SOFTWARE else self.devices.get(rung, NODE)
        reason = self.broken.get(rung, self.broken.get((rung, kind), ""))
        if reason:
            return Probed.failed(rung, kind, Diagnosis(self.cause, reason, f"mend {rung}"), device)
        return Probed(rung, kind, engine(rung, device), device)

    def identity(self, rung: Rung) -> str:
        return f"{rung} of {self.is_now}"

    def machine(self) -> str:
        return f"{self.is_now}, {self.boot}"


class Memory(dict[str, str]):
    """The words of a catalog."""

    def recall(self, key: str) -> str | None:
        return self.get(key)

    def correct(self, key: str, value: str) -> None:
        self[key] = value


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    prober: FakeProber = field(default_factory=FakeProber)
    memory: Memory = field(default_factory=Memory)
    clock: Clock = field(default_factory=Clock)

    def ladder(self, hardware: str = "auto", settings: EncodeSettings = SETTINGS) -> Ladder:
        ladder = Ladder(self.prober, settings, hardware, REST_S, self.memory, self.clock)
        ladder.start()
        return ladder


@pytest.fixture
def rig() -> Rig:
    return Rig()


def first(ladder: Ladder, info: ClipInfo) -> Rung | None:
    """The rung that encodes a clip."""
    steps = (ladder.step(rung, info) for rung in ladder.rungs)
    return next((step.rung for step in steps if isinstance(step, Engine)), None)


def fail(
    ladder: Ladder, rung: Rung, times: int = FAILURES, error: TranscodeFailed = FAILED, info: ClipInfo | None = None
) -> None:
    for _ in range(times):
        ladder.failed(engine(rung), info or clip(), error)


def footing(rig: Rig, rung: Rung) -> Footing:
    """As `status` reads it."""
    return next(one.footing for one in Standings.from_text(rig.memory[STANDINGS]).rungs if one.rung is rung)


# ---- which rung


def test_best_rung_that_works_is_used(rig: Rig) -> None:
    assert first(rig.ladder(), clip()) is Rung.QSV
    rig.prober.broken = {Rung.QSV: "no session", Rung.QSV_ENCODE: "no session"}
    rig.memory.clear()
    assert first(rig.ladder(), clip()) is Rung.VAAPI


def test_start_probes_no_further_down_than_it_must(rig: Rig) -> None:
    rig.ladder()
    assert rig.prober.asked == [(Rung.QSV, Kind.H264)]


def test_rung_is_probed_with_footage_of_the_clips_kind(rig: Rig) -> None:
    ladder = rig.ladder()
    ladder.step(Rung.QSV, clip("hevc", "yuv420p10le"))
    assert rig.prober.asked[-1] == (Rung.QSV, Kind.HEVC_10)


def test_kind_a_device_does_not_take_falls_for_good_and_the_others_do_not(rig: Rig) -> None:
    rig.prober = FakeProber({(Rung.QSV, Kind.HEVC_10): "no 10 bits"}, cause=Cause.NO_CODEC)
    ladder = rig.ladder()
    assert ladder.step(Rung.QSV, clip("hevc", "yuv420p10le")) == Fall(Rung.QSV, "no 10 bits", for_good=True)
    assert ladder.step(Rung.QSV, clip()) == engine(Rung.QSV)


def test_kind_whose_probe_finds_the_device_hanging_does_not_fall_for_good(rig: Rig) -> None:
    ladder = rig.ladder()
    rig.prober.broken = {Rung.QSV: "it hangs"}
    assert ladder.step(Rung.QSV, clip("hevc")) == Fall(Rung.QSV, "it hangs")
    assert ladder.step(Rung.QSV, clip("hevc")) == Fall(Rung.QSV, "it rests: it hangs")


def test_clip_a_rung_never_takes_falls_for_good(rig: Rig) -> None:
    step = rig.ladder().step(Rung.QSV, clip("mjpeg"))
    assert isinstance(step, Fall)
    assert step.for_good
    assert "mjpeg" in step.reason


def test_rung_that_never_worked_here_is_no_fall(rig: Rig) -> None:
    rig.prober.broken = {Rung.QSV: "there is no device"}
    ladder = rig.ladder()
    for info in (clip(), clip("mjpeg")):
        step = ladder.step(Rung.QSV, info)
        assert isinstance(step, Fall)
        assert not step.here


@pytest.mark.parametrize("hardware", ["qsv", "vaapi", "software"])
def test_start_fails_with_every_reason_where_nothing_that_is_allowed_works(rig: Rig, hardware: str) -> None:
    rig.prober.broken = dict.fromkeys(Rung, "it is broken")
    with pytest.raises(StartupError) as raised:
        rig.ladder(hardware)
    assert f"hardware = {hardware}" in raised.value.message
    assert raised.value.message.endswith(f"{', '.join(rungs_for(hardware))}: it is broken")
    assert raised.value.advice == f"mend {hardware}"
    assert raised.value.exit_code == 69


def test_quick_sync_that_only_encodes_is_still_quick_sync(rig: Rig) -> None:
    rig.prober.broken = {Rung.QSV: "no decoder"}
    assert first(rig.ladder("qsv"), clip()) is Rung.QSV_ENCODE


def test_what_was_asked_for_is_never_replaced_by_software(rig: Rig) -> None:
    ladder = rig.ladder("qsv")
    for rung in ladder.rungs:
        ladder.step(rung, clip())
        fail(ladder, rung)
    assert first(ladder, clip()) is None
    assert Rung.SOFTWARE not in dict(rig.prober.asked)


# ---- what is remembered


def test_probe_that_went_well_is_not_done_again_at_the_next_start(rig: Rig) -> None:
    rig.ladder()
    rig.prober.asked.clear()
    assert first(rig.ladder(), clip()) is Rung.QSV
    assert rig.prober.asked == []


def test_probe_is_done_again_where_the_machine_has_changed(rig: Rig) -> None:
    rig.ladder()
    rig.prober.is_now = "this machine, with a new ffmpeg"
    rig.prober.asked.clear()
    rig.ladder()
    assert rig.prober.asked == [(Rung.QSV, Kind.H264)]


def test_probe_that_failed_is_done_again_at_the_next_start(rig: Rig) -> None:
    rig.prober.broken = {Rung.QSV: "no right to it"}
    rig.ladder()
    rig.prober.broken = {}
    assert first(rig.ladder(), clip()) is Rung.QSV


@pytest.mark.parametrize("kept", ["", "{", "[]", "7", '{"identity": "qsv of this machine"}'])
def test_memory_that_makes_no_sense_is_no_memory(rig: Rig, kept: str) -> None:
    rig.memory["probed qsv h264"] = kept
    assert first(rig.ladder(), clip()) is Rung.QSV
    assert rig.prober.asked == [(Rung.QSV, Kind.H264)]


# ---- what fails


def test_rung_that_fails_clip_after_clip_rests(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    ladder = rig.ladder()
    fail(ladder, Rung.QSV, FAILURES - 1)
    assert first(ladder, clip()) is Rung.QSV
    fail(ladder, Rung.QSV, 1)
    assert ladder.step(Rung.QSV, clip()) == Fall(Rung.QSV, f"it rests: {FAILED.message}")
    assert first(ladder, clip()) is Rung.QSV_ENCODE
    assert footing(rig, Rung.QSV) is Footing.RESTS
    assert "qsv rests for 600 s (for h264)" in caplog.text


def test_success_in_between_keeps_a_rung_in_use(rig: Rig) -> None:
    ladder = rig.ladder()
    for _ in range(3):
        fail(ladder, Rung.QSV, FAILURES - 1)
        ladder.worked(engine(Rung.QSV), clip())
    assert first(ladder, clip()) is Rung.QSV


def test_rung_is_probed_after_its_rest_and_used_again(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    ladder = rig.ladder()
    fail(ladder, Rung.QSV)
    rig.prober.asked.clear()
    rig.clock.now += REST_S
    assert first(ladder, clip()) is Rung.QSV
    assert rig.prober.asked == [(Rung.QSV, Kind.H264)]
    assert "qsv works again" in caplog.text
    assert footing(rig, Rung.QSV) is Footing.USED


def test_rung_that_fails_again_after_its_rest_rests_twice_as_long(rig: Rig) -> None:
    ladder = rig.ladder()
    fail(ladder, Rung.QSV)
    rig.clock.now += REST_S
    first(ladder, clip())
    fail(ladder, Rung.QSV, 1)
    rig.clock.now += 2 * REST_S - 1
    assert first(ladder, clip()) is Rung.QSV_ENCODE
    rig.clock.now += 1
    assert first(ladder, clip()) is Rung.QSV


def test_success_after_a_rest_makes_a_rung_as_good_as_new(rig: Rig) -> None:
    ladder = rig.ladder()
    fail(ladder, Rung.QSV)
    rig.clock.now += REST_S
    first(ladder, clip())
    ladder.worked(engine(Rung.QSV), clip())
    fail(ladder, Rung.QSV, FAILURES - 1)
    assert first(ladder, clip()) is Rung.QSV


def test_rung_whose_probe_fails_after_its_rest_rests_on(rig: Rig) -> None:
    ladder = rig.ladder()
    fail(ladder, Rung.QSV)
    rig.prober.broken = {Rung.QSV: "the device hangs"}
    rig.clock.now += REST_S
    assert first(ladder, clip()) is Rung.QSV_ENCODE
    rig.prober.asked.clear()
    rig.clock.now += REST_S
    assert ladder.step(Rung.QSV, clip()) == Fall(Rung.QSV, "it rests: the device hangs")
    assert rig.prober.asked == []


def test_rung_that_rests_does_so_in_the_next_run(rig: Rig) -> None:
    fail(rig.ladder(), Rung.QSV)
    rig.prober.asked.clear()
    later = rig.ladder()
    assert first(later, clip()) is Rung.QSV_ENCODE
    assert (Rung.QSV, Kind.H264) not in rig.prober.asked
    rig.clock.now += REST_S
    assert first(later, clip()) is Rung.QSV


def test_rung_whose_rest_is_over_is_probed_once_at_the_next_start(rig: Rig) -> None:
    fail(rig.ladder(), Rung.QSV)
    rig.prober.asked.clear()
    rig.clock.now += REST_S
    assert first(rig.ladder(), clip()) is Rung.QSV
    assert rig.prober.asked == [(Rung.QSV, Kind.H264)]


@pytest.mark.parametrize("change", ["boot", "is_now"])
def test_rest_ends_with_the_boot_and_with_a_change_of_the_machine(rig: Rig, change: str) -> None:
    fail(rig.ladder(), Rung.QSV)
    setattr(rig.prober, change, "another")
    assert first(rig.ladder(), clip()) is Rung.QSV


def test_failures_in_a_row_are_counted_over_runs(rig: Rig) -> None:
    for _ in range(FAILURES):
        ladder = rig.ladder()
        assert first(ladder, clip()) is Rung.QSV
        fail(ladder, Rung.QSV, 1)
    assert first(rig.ladder(), clip()) is Rung.QSV_ENCODE


def test_failures_of_another_machine_are_not_counted(rig: Rig) -> None:
    fail(rig.ladder(), Rung.QSV, FAILURES - 1)
    rig.prober.is_now = "another"
    fail(rig.ladder(), Rung.QSV, FAILURES - 1)
    assert first(rig.ladder(), clip()) is Rung.QSV


def test_rung_that_failed_before_and_hangs_as_it_is_probed_is_no_sound_start(rig: Rig) -> None:
    fail(rig.ladder("vaapi"), Rung.VAAPI, 1)
    del rig.memory["probed vaapi h264"]
    rig.prober.broken, rig.prober.cause = {Rung.VAAPI: "it hangs"}, Cause.HUNG
    with pytest.raises(StartupError, match="it hangs"):
        rig.ladder("vaapi")


def test_start_tells_of_one_reason_once(rig: Rig) -> None:
    rig.prober.broken = dict.fromkeys(Rung, "there is no device")
    with pytest.raises(StartupError, match=r"here: qsv, qsv-encode: there is no device\."):
        rig.ladder("qsv")


def test_rest_that_goes_on_over_runs_is_twice_as_long_each_time(rig: Rig) -> None:
    fail(rig.ladder(), Rung.QSV)
    rig.clock.now += REST_S
    fail(rig.ladder(), Rung.QSV, 1)
    rig.clock.now += 2 * REST_S - 1
    assert first(rig.ladder(), clip()) is Rung.QSV_ENCODE


def test_what_is_asked_for_and_rests_since_an_earlier_run_is_no_failed_start(rig: Rig) -> None:
    ladder = rig.ladder("vaapi")
    fail(ladder, Rung.VAAPI)
    later = rig.ladder("vaapi")
    assert not later.has_footing
    assert first(later, clip()) is None


def test_rung_that_worked_yesterday_and_is_gone_is_a_fall(rig: Rig) -> None:
    rig.ladder()
    rig.prober.broken = {Rung.QSV: "there is no device"}
    rig.prober.is_now = "the machine without its device"
    step = rig.ladder().step(Rung.QSV, clip())
    assert isinstance(step, Fall)
    assert step.here


def test_failures_with_one_kind_of_footage_are_held_against_no_other(rig: Rig) -> None:
    ladder = rig.ladder()
    ten_bits = clip("hevc", "yuv420p10le")
    ladder.step(Rung.QSV, ten_bits)
    fail(ladder, Rung.QSV, info=ten_bits)
    assert first(ladder, ten_bits) is Rung.QSV_ENCODE
    assert first(ladder, clip()) is Rung.QSV
    assert ladder.has_footing


@pytest.mark.parametrize("cause", [Cause.UNKNOWN, Cause.NO_MEMORY, Cause.WRONG_OUTPUT, Cause.LOST])
def test_probe_that_may_go_well_another_time_is_no_fall_for_good(rig: Rig, cause: Cause) -> None:
    ladder = rig.ladder()
    rig.prober.broken, rig.prober.cause = {Rung.QSV: "not now"}, cause
    assert ladder.step(Rung.QSV, clip("hevc")) == Fall(Rung.QSV, "not now")
    rig.prober.broken = {}
    rig.clock.now += REST_S
    assert ladder.step(Rung.QSV, clip("hevc")) == engine(Rung.QSV)


def test_device_that_hangs_as_it_is_probed_is_not_tried_on_its_other_rungs(rig: Rig) -> None:
    rig.prober.broken, rig.prober.cause = dict.fromkeys(list(Rung)[:3], "it hangs"), Cause.HUNG
    assert first(rig.ladder(), clip()) is Rung.SOFTWARE
    assert [rung for rung, _ in rig.prober.asked] == [Rung.QSV, Rung.SOFTWARE]
    rig.prober.asked.clear()
    assert first(rig.ladder(), clip()) is Rung.SOFTWARE
    assert rig.prober.asked == []


def test_hang_is_the_end_of_the_start_where_that_device_was_asked_for(rig: Rig) -> None:
    rig.prober.broken, rig.prober.cause = dict.fromkeys(Rung, "it hangs"), Cause.HUNG
    with pytest.raises(StartupError, match=r"hardware = qsv.*: qsv: it hangs"):
        rig.ladder("qsv")


def test_start_that_fails_is_told_in_the_log_and_to_status(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.prober.broken = dict.fromkeys(Rung, "no right to it")
    with pytest.raises(StartupError):
        rig.ladder("qsv")
    assert "no right to it" in caplog.text
    assert footing(rig, Rung.QSV) is Footing.UNUSABLE


def test_probe_during_which_the_machine_changed_is_not_remembered(rig: Rig) -> None:
    class Changing(FakeProber):
        def probe(self, rung: Rung, kind: Kind) -> Probed:
            self.is_now = "another"
            return super().probe(rung, kind)

    rig.prober = Changing()
    rig.ladder()
    assert "probed qsv h264" not in rig.memory


def test_hang_does_not_lengthen_a_rest_that_goes_on(rig: Rig) -> None:
    ladder = rig.ladder()
    for rung in ladder.rungs:
        ladder.step(rung, clip())
    fail(ladder, Rung.QSV)
    fail(ladder, Rung.VAAPI, error=HUNG)
    rig.clock.now += REST_S
    assert first(ladder, clip()) is Rung.QSV


def test_rung_that_was_missing_is_looked_for_again_after_a_while(rig: Rig) -> None:
    rig.prober.broken = {Rung.QSV: "there is no device"}
    ladder = rig.ladder()
    rig.prober.broken = {}
    assert first(ladder, clip()) is Rung.QSV_ENCODE
    rig.clock.now += REST_S
    assert first(ladder, clip()) is Rung.QSV


def test_rung_that_was_missing_and_came_is_used_for_every_kind(rig: Rig) -> None:
    rig.prober.broken = {Rung.QSV: "there is no device"}
    ladder = rig.ladder()
    rig.prober.broken = {}
    rig.clock.now += REST_S
    assert first(ladder, clip("hevc")) is Rung.QSV
    assert first(ladder, clip()) is Rung.QSV


def test_device_that_hangs_is_held_against_every_rung_it_carries(rig: Rig) -> None:
    rig.prober.devices = {Rung.VAAPI: OTHER_NODE}
    ladder = rig.ladder()
    for rung in ladder.rungs:
        ladder.step(rung, clip())
    fail(ladder, Rung.QSV, error=HUNG)
    assert first(ladder, clip()) is Rung.VAAPI


def test_failure_that_may_be_the_rungs_is_held_against_no_other(rig: Rig) -> None:
    ladder = rig.ladder()
    ladder.step(Rung.QSV_ENCODE, clip())
    fail(ladder, Rung.QSV)
    assert first(ladder, clip()) is Rung.QSV_ENCODE


def test_device_that_holds_a_program_fast_rests_at_once(rig: Rig) -> None:
    ladder = rig.ladder()
    for rung in ladder.rungs:
        ladder.step(rung, clip())
    ladder.stuck(NODE, "ffmpeg does not end on SIGKILL", "look")
    assert first(ladder, clip()) is Rung.SOFTWARE
    assert footing(rig, Rung.VAAPI) is Footing.RESTS


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FAILED, FAILED.message),
        (VerificationFailed("the output is not proven: likeness"), "the output is not proven: likeness"),
        (
            TranscodeFailed("ffmpeg exited with 1", said="Error creating a MFX session: -9."),
            "Quick Sync does not start",
        ),
    ],
)
def test_fall_says_why(rig: Rig, error: TranscodeFailed | VerificationFailed, words: str) -> None:
    fall = rig.ladder().failed(engine(Rung.QSV), clip(), error)
    assert fall.rung is Rung.QSV
    assert words in fall.reason


# ---- being told


def test_missing_device_is_told_once_and_a_device_that_can_t_be_used_loudly(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.prober.broken = {Rung.QSV: "no right to it", Rung.QSV_ENCODE: "no device"}
    rig.prober.devices = {Rung.QSV_ENCODE: ""}
    rig.ladder()
    levels = {record.getMessage().split(" ")[0].rstrip(":"): record.levelno for record in caplog.records}
    assert levels == {"qsv": logging.WARNING, "qsv-encode": logging.INFO}


def test_status_is_told_how_each_rung_stands(rig: Rig) -> None:
    rig.prober.broken = {Rung.QSV: "no right to it"}
    ladder = rig.ladder()
    told = json.loads(rig.memory[STANDINGS])["rungs"]
    assert [(one["rung"], one["footing"]) for one in told] == [
        ("qsv", "unusable"), ("qsv-encode", "used"), ("vaapi", "untried"), ("software", "untried"),
    ]  # fmt: skip
    assert told[0]["breaker"]["remedy"] == "mend qsv"
    assert ladder.standings() == Standings.from_text(rig.memory[STANDINGS]).rungs


def test_nothing_is_written_where_nothing_has_changed(rig: Rig) -> None:
    ladder = rig.ladder()
    written = dict(rig.memory)
    rig.memory.clear()
    for _ in range(3):
        ladder.worked(engine(Rung.QSV), clip())
    assert rig.memory == {}
    fail(ladder, Rung.QSV)
    assert rig.memory.keys() <= written.keys()
    assert rig.memory[STANDINGS] != written[STANDINGS]


def test_settings_decide_what_is_unfit(rig: Rig) -> None:
    ladder = rig.ladder(settings=replace(SETTINGS, codec="h264"))
    assert first(ladder, clip("hevc", "yuv420p10le")) is Rung.SOFTWARE
