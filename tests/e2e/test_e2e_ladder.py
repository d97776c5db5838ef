"""The ladder from end to end: which rung makes an archive, what sends a clip down, and what does not.

There is no GPU here: a pretended ffmpeg takes what the real one takes, and fails as a device fails.
"""

from __future__ import annotations

import itertools
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from archiverd.policy.falling import FAILURES, rungs_for
from archiverd.policy.model import ArchiveKind, Receipt
from archiverd.policy.outcome import Result
from tests.e2e.invariants import assert_all_archived, assert_nothing_lost
from tests.e2e.rig import Rig, Upload, results
from tests.fakes.ffmpeg import (
    FROZEN,
    GREEN,
    GROWS,
    HANGS,
    HANGS_IN_THE_KERNEL,
    STUCK,
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
)
from tests.program import archiverd
from tests.screen import until
from tools import damage, footage

NODE = "/dev/null"  # any character device will do: what is pretended is ffmpeg
CLIPS = 6  # of different content
ON_DEVICE: tuple[Rung, ...] = ("qsv", "qsv-encode", "vaapi")
NEVER = 'device_rest = "1 day"\n'


@pytest.fixture(name="gpu")
def _gpu(rig: Rig) -> FakeFfmpeg:
    """A machine on which every rung works."""
    for which in range(CLIPS):
        clip(which)  # made by the real one
    fake = FakeFfmpeg(rig.base / "gpu", nodes=(Node(NODE),))
    fake.install(rig.programs)
    configure(rig)
    return fake


def configure(rig: Rig, more: str = NEVER) -> None:
    text = rig.config_file.read_text().split("device =")[0]
    rig.config_file.write_text(f'{text}device = "{NODE}"\nstall_timeout = "5 s"\nstop_timeout = "0.5 s"\n{more}')


def receipts(rig: Rig) -> dict[PurePosixPath, Receipt]:
    return {row.path: row.receipt for row in rig.rows() if row.receipt is not None}


def asked(gpu: FakeFfmpeg) -> list[str]:
    """The rungs that were asked to transcode a file, in order."""
    return [call.rung for call in gpu.transcodes()]


def clip(which: int = 0, audio: footage.Audio = "none") -> bytes:
    """Half a second, as large as devices take."""
    made = footage.Clip(f"ladder-{which}", 256, 192, "10", 0.5, audio=audio, crf=4, noise=5)
    return footage.cached(made).read_bytes()


def put(rig: Rig, which: int = 0, minute: int = 0, audio: footage.Audio = "none") -> Upload:
    distinct = b"\0\0\0\x0cfree" + minute.to_bytes(4, "big")
    return rig.upload_bytes(clip(which, audio) + distinct, rig.path(minute))


def damaged(which: int = 0) -> bytes:
    """Footage that is whole, and does not decode strictly."""
    data = clip(which)
    return damage.flipped(data, *damage.all_over(data))


# ---- thirty clips


def expected_falls() -> Iterator[dict[str, Behaviour]]:
    """What each of thirty clips meets on the rungs it is tried on; it is made by the next one."""
    qsv = itertools.cycle((GREEN, fails("device_lost"), dies(signal.SIGSEGV), drops(2), ends_and_fails()))
    encode = itertools.cycle((fails("gpu_hang"), FROZEN, ends_early(3)))
    vaapi = itertools.cycle((dies(signal.SIGABRT), cuts(100)))
    for number in range(30):
        depth = (0, 1, 0, 2, 0, 3)[number % 6]  # no rung fails so often in a row that it rests
        yield dict(zip(ON_DEVICE[:depth], (next(qsv), next(encode), next(vaapi)), strict=False))


@pytest.mark.parametrize("version", ["5.1", "7.1"])
def test_thirty_clips_go_down_as_far_as_they_must_and_are_all_archived(
    rig: Rig, gpu: FakeFfmpeg, version: Version
) -> None:
    gpu.version = version
    met = list(expected_falls())
    uploads = [put(rig, number % CLIPS, number) for number in range(30)]
    for rung in ON_DEVICE:
        turns = [
            behaviours.get(rung, WORKS)
            for behaviours in met
            if len(behaviours) >= ON_DEVICE.index(rung)  # the clips that come down to it
        ]
        gpu.script(rung, turns)

    told = archiverd("run", *rig.options, "--no-confirm", "--json", config=None)
    assert told.code == 0, told.err

    assert_all_archived(rig)
    assert gpu.mistakes() == []
    made = receipts(rig)
    for upload, behaviours in zip(uploads, met, strict=True):
        receipt = made[upload.path]
        assert receipt.rung == [*ON_DEVICE, "software"][len(behaviours)]
        assert receipt.device == ("" if receipt.rung == "software" else NODE)
        assert [fall.split(":")[0] for fall in receipt.falls] == list(behaviours)
        assert all(len(fall) > len("qsv-encode: ") for fall in receipt.falls)
    assert Counter(receipt.rung for receipt in made.values()) == {
        "qsv": 15, "qsv-encode": 5, "vaapi": 5, "software": 5,
    }  # fmt: skip
    outcomes = {PurePosixPath(one["path"]): (one["rung"], tuple(one["falls"])) for one in told.json["outcomes"]}
    assert outcomes == {path: (receipt.rung, receipt.falls) for path, receipt in made.items()}
    assert [(one["rung"], one["footing"]) for one in told.json["ladder"]] == [
        (rung, "used") for rung in (*ON_DEVICE, "software")
    ]


# ---- what sends a clip down


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        pytest.param(fails("device_lost"), "failed at its work", id="device lost"),
        pytest.param(fails("device_lost", after=2), "failed at its work", id="device lost in the middle"),
        pytest.param(fails("gpu_hang"), "hangs", id="hang that is told"),
        pytest.param(HANGS, "hangs", id="hang"),
        pytest.param(hangs(2), "hangs", id="hang in the middle"),
        pytest.param(HANGS_IN_THE_KERNEL, "hangs", id="hang that heeds no signal"),
        pytest.param(dies(signal.SIGSEGV), "was killed by SIGSEGV", id="crash"),
        pytest.param(dies(signal.SIGKILL, after=2), "was killed by SIGKILL", id="killed in the middle"),
        pytest.param(GREEN, "likeness", id="green pictures"),
        pytest.param(FROZEN, "likeness", id="frozen picture"),
        pytest.param(Behaviour("works", filter="lutyuv=u=0:v=0"), "likeness", id="green pictures, luma right"),
        pytest.param(
            Behaviour("works", filter="lutyuv=y=0:u=0:v=0:enable='eq(n,2)'"), "likeness", id="one green picture"
        ),
        pytest.param(drops(2), "frames: 4 of 5", id="frame left out"),
        pytest.param(ends_early(3), "frames: 3 of 5", id="ended early and well"),
        pytest.param(ends_and_fails(), "exited with 1", id="end told and failed"),
        pytest.param(cuts(200), "the output is not proven", id="cut off and ended well"),
        pytest.param(floods(2, fails("device_lost")), "failed at its work", id="megabytes of complaints"),
    ],
)
def test_failure_on_a_device_sends_the_clip_down_one_rung(
    rig: Rig, gpu: FakeFfmpeg, behaviour: Behaviour, words: str
) -> None:
    upload = put(rig)
    gpu.script("qsv", {1: behaviour})
    assert rig.run_to_the_end() == 0
    (receipt,) = receipts(rig).values()
    assert (receipt.rung, receipt.kind, asked(gpu)) == ("qsv-encode", ArchiveKind.TRANSCODED, ["qsv", "qsv-encode"])
    (fall,) = receipt.falls
    assert fall.startswith("qsv: ")
    assert words in fall
    assert_all_archived(rig)
    assert rig.row(upload).attempts == 0


@pytest.mark.parametrize("version", ["5.1", "7.1"])
def test_complaints_that_fill_the_pipe_are_no_failure(rig: Rig, gpu: FakeFfmpeg, version: Version) -> None:
    gpu.version = version
    gpu.script("qsv", {1: floods(2)})
    put(rig)
    assert rig.run_to_the_end() == 0
    assert [receipt.rung for receipt in receipts(rig).values()] == ["qsv"]


def test_clip_no_rung_makes_waits_with_every_reason(rig: Rig, gpu: FakeFfmpeg) -> None:
    for rung in ON_DEVICE:
        gpu.script(rung, then=fails("device_lost"))
    gpu.script("software", {1: ends_and_fails()})
    upload = put(rig)
    assert rig.run_to_the_end() == 1
    row = rig.row(upload)
    assert row.reason.startswith("qsv: ")
    assert all(f"; {rung}: " in row.reason for rung in ("qsv-encode", "vaapi", "software"))
    assert row.attempts == 1
    assert rig.run_to_the_end() == 0
    assert_all_archived(rig)


# ---- what does not


def test_source_that_does_not_decode_is_kept_as_it_is_and_no_rung_is_blamed(rig: Rig, gpu: FakeFfmpeg) -> None:
    for rung in ON_DEVICE:
        gpu.script(rung, then=fails("device_lost"))
    for minute in range(FAILURES + 1):
        rig.upload_bytes(damaged(minute), rig.path(minute))
    assert rig.run_to_the_end() == 0
    kinds = {receipt.kind for receipt in receipts(rig).values()}
    assert kinds == {ArchiveKind.VERBATIM}
    assert asked(gpu) == ["qsv"] * (FAILURES + 1)
    assert all(not receipt.falls for receipt in receipts(rig).values())


def test_source_that_does_not_decode_is_kept_as_it_is_though_the_device_made_something_of_it(
    rig: Rig, gpu: FakeFfmpeg
) -> None:
    rig.upload_bytes(damaged(), rig.path())
    assert rig.run_to_the_end() == 0
    (receipt,) = receipts(rig).values()
    assert receipt.kind is ArchiveKind.VERBATIM
    assert "does not decode strictly" in receipt.reason
    assert asked(gpu) == ["qsv"]


@pytest.mark.parametrize(("hardware", "decodes"), [("qsv", 2), ("vaapi", 1)])
def test_source_that_a_device_decoded_is_decoded_strictly_in_software_too(
    rig: Rig, gpu: FakeFfmpeg, hardware: str, decodes: int
) -> None:
    put(rig)
    assert rig.run_to_the_end("--hardware", hardware) == 0  # and is probed
    before = len(gpu.calls())
    put(rig, 1, 1)
    assert rig.run_to_the_end("--hardware", hardware) == 0
    assert [call.kind for call in gpu.calls()[before:]].count("decode") == decodes


@pytest.mark.parametrize("situation", ["disk_full_at_once", "disk_full_at_end"])
def test_full_disk_pauses_the_work_and_sends_nothing_down(rig: Rig, gpu: FakeFfmpeg, situation: str) -> None:
    gpu.script("qsv", {1: fails(situation, rung="any")})
    upload = put(rig)
    assert rig.run_to_the_end() == 69
    assert asked(gpu) == ["qsv"]
    assert rig.row(upload).attempts == 0
    assert "No space left on device" in rig.row(upload).reason
    assert_nothing_lost(rig)
    assert rig.run_to_the_end() == 0
    assert asked(gpu) == ["qsv", "qsv"]


def test_stop_sends_nothing_down(rig: Rig, gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", {1: HANGS})
    upload = put(rig)
    with rig.started("--no-confirm") as process:
        until(lambda: bool(gpu.transcodes()), 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert asked(gpu) == ["qsv"]
    assert (rig.row(upload).attempts, rig.row(upload).reason) == (0, "stopped, as asked")


def test_output_that_grows_is_no_failure(rig: Rig, gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", {1: GROWS})
    put(rig)
    assert rig.run_to_the_end() == 0
    (receipt,) = receipts(rig).values()
    assert (receipt.kind, receipt.falls, asked(gpu)) == (ArchiveKind.VERBATIM, (), ["qsv"])
    assert receipt.reason.endswith(f"(tried by qsv on {NODE})")


def test_growth_in_between_is_no_success_of_the_rung(rig: Rig, gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", [fails("device_lost"), fails("device_lost"), GROWS, fails("device_lost")])
    for minute in range(5):
        put(rig, minute, minute)
    assert rig.run_to_the_end() == 0
    assert asked(gpu).count("qsv") == 4


def test_source_whose_archive_stands_goes_though_nothing_encodes(rig: Rig, gpu: FakeFfmpeg) -> None:
    upload = put(rig)
    keep = rig.keep(upload)
    assert rig.run_to_the_end() == 0
    keep.unlink()
    gpu.nodes = ()
    gpu.write()
    assert rig.run_to_the_end("--hardware", "vaapi", "--device", "/dev/dri/renderD9999") == 0
    assert_all_archived(rig)


# ---- a rung that rests


def test_rung_that_fails_clip_after_clip_rests_and_the_rest_go_past_it(rig: Rig, gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", then=fails("gpu_hang"))
    uploads = [put(rig, minute, minute) for minute in range(FAILURES + 2)]
    assert rig.run("--no-confirm") == 0
    assert asked(gpu).count("qsv") == FAILURES
    assert {receipt.rung for receipt in receipts(rig).values()} == {"qsv-encode"}
    assert "it rests" in receipts(rig)[uploads[-1].path].falls[0]
    said = rig.output.read_text()
    assert "qsv rests for 86400 s (for h264), and clips go on to the next rung" in said
    assert "Encoded by qsv-encode 5" in said
    assert "Fell from a better rung, and archived all the same: 5" in said
    assert f"qsv on {NODE}: rests, " in said
    assert_all_archived(rig)


def test_rung_is_probed_after_its_rest_and_used_again(rig: Rig, gpu: FakeFfmpeg) -> None:
    configure(rig, 'device_rest = "0.001 seconds"\n')
    gpu.script("qsv", dict.fromkeys(range(1, FAILURES + 1), fails("gpu_hang")))
    uploads = [put(rig, minute, minute) for minute in range(FAILURES + 2)]
    assert rig.run("--no-confirm") == 0
    made = receipts(rig)
    assert [made[upload.path].rung for upload in uploads] == ["qsv-encode"] * FAILURES + ["qsv"] * 2
    assert [call.rung for call in gpu.transcodes(probes=True)].count("qsv") == 2
    said = rig.output.read_text()
    assert said.index("qsv rests for") < said.index("qsv works again (for h264), and is used")
    status = archiverd("status", rig.camera, "--json", config=rig.config_file).json
    assert status["encoding"]["rungs"][0]["footing"] == "used"


def test_rung_whose_probe_fails_after_its_rest_is_not_tried_with_files(rig: Rig, gpu: FakeFfmpeg) -> None:
    configure(rig, 'device_rest = "0.001 seconds"\n')
    gpu.script("qsv", then=fails("gpu_hang"))
    gpu.script("qsv", {1: WORKS}, then=fails("gpu_hang"), probes=True)
    for minute in range(FAILURES + 2):
        put(rig, minute, minute)
    assert rig.run_to_the_end() == 0
    assert asked(gpu).count("qsv") == FAILURES
    assert_all_archived(rig)


def test_rung_that_rests_does_so_in_the_next_run_too(rig: Rig, gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", dict.fromkeys(range(1, FAILURES + 1), fails("gpu_hang")))
    for minute in range(FAILURES):
        put(rig, minute, minute)
    assert rig.run_to_the_end() == 0
    upload = put(rig, FAILURES, FAILURES)
    assert rig.run_to_the_end() == 0
    receipt = receipts(rig)[upload.path]
    assert receipt.rung == "qsv-encode"
    assert "qsv: it rests: " in receipt.falls[0]
    status = archiverd("status", rig.camera, config=rig.config_file).out
    assert f"qsv on {NODE}: rests, " in status
    assert "not tried before " in status


def test_failures_in_a_row_are_counted_over_runs(rig: Rig, gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", then=fails("device_lost"))
    for minute in range(FAILURES + 1):
        put(rig, minute, minute)
        assert rig.run_to_the_end() == 0
    assert asked(gpu).count("qsv") == FAILURES


def test_probe_that_went_well_is_not_done_again(rig: Rig, gpu: FakeFfmpeg) -> None:
    for minute in range(2):
        put(rig, minute, minute)
        assert rig.run_to_the_end() == 0
    assert [call.rung for call in gpu.transcodes(probes=True)] == ["qsv"]


# ---- what is nobody's fault, and what hangs for good


def stand_before(rig: Rig, condition: str, action: str) -> None:
    """Have ffmpeg do something else where its command line, one text, is a shell pattern."""
    pretended, behind = rig.programs / "ffmpeg", rig.programs / "ffmpeg.behind"
    pretended.rename(behind)
    pretended.write_text(f'#!/bin/sh\ncase "$*" in {condition}) {action};; esac\nexec {behind} "$@"\n')
    pretended.chmod(0o755)


def test_proof_that_is_killed_is_not_held_against_the_device(rig: Rig, gpu: FakeFfmpeg) -> None:
    flag = rig.base / "kills"
    stand_before(rig, "*ssim=*", f"[ -e {flag} ] && kill -9 $$")
    put(rig)
    assert rig.run_to_the_end() == 0  # the probe went well, and is remembered
    flag.touch()
    uploads = [put(rig, minute, minute) for minute in range(1, FAILURES + 2)]
    assert rig.run_to_the_end() == 1
    assert {rig.row(upload).attempts for upload in uploads} == {1}
    assert all("its proof did not come to an end" in rig.row(upload).reason for upload in uploads)
    assert set(asked(gpu)) == {"qsv"}
    flag.unlink()
    assert rig.run_to_the_end() == 0
    assert_all_archived(rig)
    assert {receipt.rung for receipt in receipts(rig).values()} == {"qsv"}


@pytest.mark.usefixtures("gpu")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_device_that_holds_a_program_for_good_keeps_one_clip_waiting_and_is_not_tried_again(rig: Rig) -> None:
    flag = rig.base / "traced"
    flag.touch()
    holds = f"[ -e {flag} ] && exec {shlex.join((sys.executable, str(STUCK), str(flag)))}"
    stand_before(rig, "*archiverd=probe*) ;; *_qsv*|*_vaapi*", holds)
    uploads = [put(rig, minute, minute) for minute in range(3)]
    try:
        assert rig.run("--no-confirm") == 69
        made = receipts(rig)
        assert {path: receipt.rung for path, receipt in made.items()} == {
            upload.path: "software" for upload in uploads[1:]
        }
        assert rig.row(uploads[0]).attempts == 0
        assert list(rig.camera.rglob("*.part")) == []
        assert rig.run("--no-confirm") == 0
    finally:
        flag.unlink()
    assert receipts(rig)[uploads[0].path].rung == "software"
    assert_all_archived(rig)


# ---- what is asked for


@pytest.mark.parametrize("hardware", ["qsv", "vaapi"])
def test_what_is_asked_for_and_does_not_work_ends_the_start(rig: Rig, gpu: FakeFfmpeg, hardware: str) -> None:
    gpu.without = (hardware,)
    gpu.write()
    upload = put(rig)
    assert rig.run("--no-confirm", "--hardware", hardware) == 69
    said = rig.output.read_text()
    rungs = ", ".join(rungs_for(hardware))
    assert f"nothing that is allowed (hardware = {hardware}) encodes hevc here: {rungs}: this ffmpeg was built" in said
    assert "Install an ffmpeg with" in said
    assert (rig.camera / upload.path).exists()
    assert asked(gpu) == []


def test_what_is_asked_for_and_is_not_there_ends_the_start(rig: Rig) -> None:
    put(rig)
    configure(rig, "")
    rig.config_file.write_text(rig.config_file.read_text().replace(NODE, "/dev/dri/renderD9999"))
    assert rig.run("--no-confirm", "--hardware", "qsv") == 69
    assert "/dev/dri/renderD9999 is not there" in rig.output.read_text()


def test_what_is_asked_for_and_fails_is_never_replaced_by_software(rig: Rig, gpu: FakeFfmpeg) -> None:
    for rung in ON_DEVICE[:2]:
        gpu.script(rung, then=fails("gpu_hang"))
    uploads = [put(rig, minute, minute) for minute in range(FAILURES + 2)]
    assert rig.run("--no-confirm", "--hardware", "qsv") == 69
    assert set(asked(gpu)) == {"qsv", "qsv-encode"}
    assert {row.attempts for row in rig.rows()} == {0}
    assert "nothing that is allowed encodes it now: qsv: " in rig.row(uploads[0]).reason
    assert "nothing that is allowed encodes now" in rig.output.read_text()
    assert_nothing_lost(rig)
    tried = len(gpu.transcodes())
    assert rig.run("--no-confirm", "--hardware", "qsv") == 69
    assert len(gpu.transcodes()) == tried, "what rests is tried by the next run"
    assert rig.run("--no-confirm") == 0
    assert {receipt.rung for receipt in receipts(rig).values()} == {"vaapi"}
    assert_all_archived(rig)


def test_clip_of_a_kind_that_fails_keeps_no_other_from_its_turn(rig: Rig, gpu: FakeFfmpeg) -> None:
    gpu.script("vaapi", {2: fails("device_lost")}, probes=True)  # the first is of H.264
    deep = footage.Clip("ladder-deep", 256, 192, "10", 0.5, pix_fmt="yuv420p10le", crf=4, noise=5, codec="hevc")
    waits = rig.upload_bytes(footage.cached(deep).read_bytes(), rig.path())
    others = [put(rig, minute, minute) for minute in (1, 2)]
    assert rig.run_to_the_end("--hardware", "vaapi") == 69
    assert set(receipts(rig)) == {other.path for other in others}
    assert rig.row(waits).attempts == 0
    assert (rig.camera / waits.path).exists()
    assert_nothing_lost(rig)


def test_clip_that_nothing_allowed_could_ever_take_is_kept_as_it_is(rig: Rig, gpu: FakeFfmpeg) -> None:
    full_colour = footage.cached(footage.Clip("ladder-444", 256, 192, "10", 0.5, pix_fmt="yuv444p", crf=12))
    rig.upload_bytes(full_colour.read_bytes(), rig.path())
    assert rig.run_to_the_end("--hardware", "qsv") == 0
    (receipt,) = receipts(rig).values()
    assert receipt.kind is ArchiveKind.VERBATIM
    assert receipt.reason.startswith("nothing that is allowed encodes it: qsv: ")
    assert not {"qsv", "qsv-encode"} & set(asked(gpu))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("hardware", ["auto", "vaapi", "software"])
def test_archive_is_made_by_the_best_rung_that_is_allowed(rig: Rig, hardware: str) -> None:
    put(rig, audio="aac")
    assert rig.run_to_the_end("--hardware", hardware) == 0
    (receipt,) = receipts(rig).values()
    assert receipt.rung == {"auto": "qsv"}.get(hardware, hardware)
    assert receipt.falls == ()


# ---- every kind of footage, on every rung


@pytest.mark.parametrize("codec", ["hevc", "h264"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv420p10le"])
@pytest.mark.parametrize("version", ["5.1", "7.1"])
def test_every_kind_of_footage_is_encoded_by_a_device_that_takes_it(
    rig: Rig, gpu: FakeFfmpeg, codec: str, pix_fmt: str, version: Version
) -> None:
    gpu.version = version
    gpu.write()
    deep = pix_fmt == "yuv420p10le"
    clip = footage.Clip(
        "ladder-kinds", 320, 240, "10", 0.5, pix_fmt=pix_fmt, crf=4, noise=5, codec="hevc" if deep else "h264"
    )
    rig.upload_bytes(footage.cached(clip).read_bytes(), rig.path())
    configure(rig, "max_height = 128\n")
    assert rig.run_to_the_end("--codec", codec) == 0
    (receipt,) = receipts(rig).values()
    scaled_by_software = pix_fmt == "yuvj420p"  # a full range
    wanted = "software" if deep and codec == "h264" else "qsv-encode" if scaled_by_software else "qsv"
    assert receipt.rung == wanted
    assert gpu.mistakes() == []
    assert_all_archived(rig)


# ---- being told


def test_fall_is_told_in_the_log_by_why_and_by_status(rig: Rig, gpu: FakeFfmpeg) -> None:
    gpu.script("qsv", {1: GREEN})
    upload = put(rig)
    assert rig.run("--no-confirm") == 0
    words = "the output is not proven: likeness"
    assert f"{upload.path}: falls from qsv: {words}" in rig.output.read_text()
    assert f"falls from qsv: {words}" in (rig.camera / "archiver.log").read_text()
    why = archiverd("why", rig.camera / upload.path, "--directory", rig.camera, config=rig.config_file).out
    assert f"  fell from qsv: {words}" in why
    assert f"by qsv-encode on {NODE}" in why
    assert "; fell from qsv: " in why  # in its history
    status = archiverd("status", rig.camera, config=rig.config_file).out
    assert "Encoded by qsv-encode 1" in status
    assert f"made by qsv-encode): qsv: {words}" in status


def test_nothing_is_told_of_falls_where_none_fell(rig: Rig, gpu: FakeFfmpeg) -> None:
    put(rig)
    summary = rig.run_inside(device=NODE)
    assert results(summary) == [Result.TRANSCODED]
    assert "Fell" not in archiverd("status", rig.camera, config=rig.config_file).out
    assert gpu.mistakes() == []
