"""What is made of ffmpeg's words: cause, reason and remedy. The words are real ones, see tests/fakes/messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from archiverd.policy.diagnosis import Cause, Diagnosis, diagnose, hangs, no_node, not_usable, quote, software_fails
from archiverd.policy.hardware import Equipment, Ffmpeg, Place
from archiverd.policy.machine import AMD, INTEL, NVIDIA, Access, RenderNode
from archiverd.policy.rungs import Rung

MESSAGES = Path(__file__).resolve().parents[1] / "fakes/messages"
NODE = RenderNode(PurePosixPath("/dev/dri/renderD128"), INTEL, driver="i915", group="render", mode=0o660)
DEBIAN = Equipment(Ffmpeg("/usr/bin/ffmpeg", "5.1", 5), (NODE,), distribution="debian", user="archiverd")
ALL = replace(DEBIAN, va_drivers=("iHD",), runtimes=("libmfx-gen.so.1.2", "libmfxhw64.so.1"))

CAUSES = {
    "qsv-device_lost": Cause.LOST,
    "qsv-device_lost_decoding": Cause.LOST,
    "qsv-encode-device_lost": Cause.LOST,
    "qsv-encode-gpu_hang": Cause.HUNG,
    "qsv-encode-low_power_refused": Cause.NO_RATE_CONTROL,
    "qsv-encode-no_device": Cause.NO_DRIVER,
    "qsv-encode-no_driver": Cause.NO_DRIVER,
    "qsv-encode-no_runtime": Cause.NO_SESSION,
    "qsv-encode-no_session": Cause.NO_SESSION,
    "qsv-encode-no_session_h264": Cause.NO_SESSION,
    "qsv-encode-not_built": Cause.NOT_BUILT,
    "qsv-encode-p010_h264": Cause.NO_CODEC,
    "qsv-encode-rate_control_refused": Cause.NO_RATE_CONTROL,
    "qsv-gpu_hang": Cause.HUNG,
    "qsv-low_power_refused": Cause.NO_RATE_CONTROL,
    "qsv-no_child_device": Cause.NO_DRIVER,
    "qsv-no_device": Cause.NO_DRIVER,
    "qsv-no_device_for_decoder": Cause.NO_SESSION,
    "qsv-no_driver": Cause.NO_DRIVER,
    "qsv-no_runtime": Cause.NO_SESSION,
    "qsv-no_session_to_decode": Cause.NO_SESSION,
    "qsv-not_built": Cause.NOT_BUILT,
    "qsv-p010_h264": Cause.NO_CODEC,
    "qsv-profile_not_decoded": Cause.NOT_DECODED,
    "qsv-rate_control_refused": Cause.NO_RATE_CONTROL,
    "vaapi-device_lost": Cause.LOST,
    "vaapi-gpu_hang": Cause.LOST,
    "vaapi-low_power_refused": Cause.NO_CODEC,
    "vaapi-no_default_device": Cause.NO_DRIVER,
    "vaapi-no_device": Cause.NO_DRIVER,
    "vaapi-no_driver": Cause.NO_DRIVER,
    "vaapi-not_built": Cause.NOT_BUILT,
    "vaapi-p010_h264": Cause.NO_CODEC,
    "vaapi-rate_control_refused": Cause.NO_RATE_CONTROL,
    "any-unknown_decoder": Cause.UNKNOWN,
    "any-unknown_device_type": Cause.NOT_BUILT,
    "any-unknown_filter": Cause.NOT_BUILT,
    "any-unknown_filter_option": Cause.OLD_FFMPEG,
    "any-unknown_option": Cause.OLD_FFMPEG,
}
WHOLE = {Cause.NOT_BUILT, Cause.OLD_FFMPEG, Cause.NO_DRIVER, Cause.NO_SESSION, Cause.LOST, Cause.HUNG}


def said(version: str, situation: str) -> str:
    """What ffmpeg said: the file without its header."""
    return (MESSAGES / f"{version}-{situation}.txt").read_text().partition("\n\n")[2]


@pytest.mark.parametrize("version", ["5.1", "7.1"])
@pytest.mark.parametrize(("situation", "cause"), CAUSES.items(), ids=CAUSES)
def test_what_ffmpeg_says_is_recognised(version: str, situation: str, cause: Cause) -> None:
    rung = Rung.VAAPI if situation.startswith("vaapi") else Rung.QSV
    found = diagnose(rung, said(version, situation), equipment=ALL, node=NODE)
    assert found.cause is cause
    assert found.cause.is_of_device is (cause in WHOLE)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        # 9.0, on a machine without a GPU
        ("[VAAPI @ 0x5599b4adad80] No VA display found for device /dev/dri/renderD128.", Cause.NO_DRIVER),
        ("[hevc_qsv @ 0x55685b5f0700] Error creating a MFX session: -9.", Cause.NO_SESSION),
        # reports in the threads of intel/cartwheel-ffmpeg
        ("[AVHWDeviceContext @ 0x5652b042c740] Error setting child device handle: -17", Cause.NO_SESSION),
        ("Unknown encoder 'hevc_qsv'", Cause.NOT_BUILT),
        ("Unknown decoder 'h264_qsv'", Cause.NOT_BUILT),
        ("[hevc_qsv @ 0x1] Error initializing the encoder: invalid video parameters (-15)", Cause.NO_RATE_CONTROL),
        ("[hevc_vaapi @ 0x1] Driver does not support any RC mode compatible with it", Cause.NO_RATE_CONTROL),
        ("[h264 @ 0x1] Cannot allocate memory", Cause.NO_MEMORY),
        ("[h264 @ 0x1] error while decoding MB 3 4", Cause.UNKNOWN),
    ],
)  # fmt: skip
def test_words_of_other_versions_are_recognised(words: str, cause: Cause) -> None:
    assert diagnose(Rung.QSV, words, equipment=ALL, node=NODE).cause is cause


def test_hang_without_words_is_the_devices() -> None:
    found = diagnose(Rung.QSV, "", hung=True, node=NODE)
    assert (found.cause, found.cause.is_of_device, found.reason) == (Cause.HUNG, True, "/dev/dri/renderD128 hangs")
    assert "sudo dmesg | grep -iE 'i915|drm'" in found.remedy


def test_hang_after_telling_words_is_what_they_tell() -> None:
    assert diagnose(Rung.QSV, said("5.1", "qsv-device_lost"), hung=True).cause is Cause.LOST


def test_software_knows_no_device() -> None:
    found = diagnose(Rung.SOFTWARE, "Device creation failed: -22.", ended="ffmpeg exited with 1")
    assert (found.cause, found.cause.is_of_device) == (Cause.UNKNOWN, False)


def test_software_that_hangs_is_no_device() -> None:
    assert diagnose(Rung.SOFTWARE, "", hung=True, ended="ffmpeg made no progress").cause.is_of_device is False


def test_silent_failure_is_told_by_its_end() -> None:
    found = diagnose(Rung.QSV, "\n", ended="ffmpeg was killed by SIGSEGV", node=NODE)
    assert (found.reason, found.cause.is_of_device) == ("ffmpeg was killed by SIGSEGV", False)
    assert diagnose(Rung.QSV, "").reason == "ffmpeg failed and said nothing"


def test_encoder_of_last_resort_is_told_as_ever() -> None:
    found = software_fails("hevc", "ffmpeg exited with 1: Unknown encoder 'libx265'")
    assert found.reason == "ffmpeg can't encode hevc here: ffmpeg exited with 1: Unknown encoder 'libx265'"
    assert (
        found.remedy
        == "Install an ffmpeg with libx265 and libx264 (Debian's package ffmpeg has them, on Fedora RPM Fusion's)"
    )


# ---- what is quoted


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        ("qsv-encode-no_session", "Error creating a MFX session: -9."),
        ("vaapi-rate_control_refused", "Driver does not support ICQ RC mode (supported modes: CQP, CBR, VBR)."),
        ("any-unknown_option", "Unrecognized option 'invented'."),
    ],
)
def test_what_is_quoted_is_the_cause_and_not_what_came_of_it(situation: str, words: str) -> None:
    assert quote(said("7.1", situation)) == words


def test_quote_is_the_last_line_where_none_tells_more() -> None:
    assert quote("Conversion failed!\nError parsing global options: Invalid argument\n\n") == (
        "Error parsing global options: Invalid argument"
    )
    assert quote("x" * 1000) == "x" * 200
    assert quote("") == ""


# ---- remedies


def remedy(situation: str, equipment: Equipment, **node: str) -> str:
    rung = Rung.VAAPI if situation.startswith("vaapi") else Rung.QSV
    on = RenderNode(**{"path": NODE.path, "vendor": INTEL, "driver": "i915"} | node)  # type: ignore[arg-type]  # by name
    return diagnose(rung, said("5.1", situation), equipment=equipment, node=on).remedy


@pytest.mark.parametrize(
    ("situation", "equipment", "node", "words"),
    [
        ("qsv-no_driver", DEBIAN, {}, "intel-media-va-driver-non-free (on Debian of the component non-free)"),
        ("qsv-no_driver", replace(DEBIAN, distribution="fedora"), {}, "docs/guide/hardware.md"),
        ("qsv-no_driver", ALL, {}, "vainfo --display drm --device /dev/dri/renderD128"),
        ("vaapi-no_driver", DEBIAN, {"device_id": "0x0412"}, "sudo apt install i965-va-driver"),
        ("vaapi-no_driver", DEBIAN, {"vendor": AMD}, "sudo apt install mesa-va-drivers"),
        ("vaapi-no_driver", DEBIAN, {"vendor": NVIDIA}, "Intel's and AMD's GPUs only"),
        ("vaapi-no_driver", DEBIAN, {"vendor": ""}, "whose it is can't be seen here"),
        (
            "qsv-no_runtime",
            DEBIAN,
            {},
            "sudo apt install libmfx-gen1.2; where it is installed, sudo apt install intel-",
        ),
        ("qsv-no_runtime", replace(ALL, va_drivers=()), {"device_id": "0x46d1"}, "no driver iHD was seen"),
        ("qsv-no_runtime", replace(ALL, runtimes=()), {"device_id": "0x46d1"}, "sudo apt install libmfx-gen1.2"),
        ("qsv-no_runtime", replace(ALL, runtimes=("libmfxhw64.so.1",)), {"device_id": "0x46d1"}, "libmfx-gen1.2"),
        ("qsv-no_runtime", replace(ALL, runtimes=("libmfx-gen.so.1.2",)), {"device_id": "0x3e92"}, "libmfx1"),
        ("qsv-no_runtime", ALL, {"device_id": "0x0412"}, "use vaapi"),
        ("qsv-no_runtime", ALL, {}, "driver and runtime are installed"),
        ("qsv-not_built", ALL, {}, "Install an ffmpeg with Quick Sync"),
        ("vaapi-not_built", ALL, {}, "Install an ffmpeg with VA-API"),
        ("any-unknown_option", ALL, {}, "Install ffmpeg 5.1 or newer"),
        ("qsv-device_lost", ALL, {"driver": "xe"}, "sudo dmesg | grep -iE 'xe|drm'"),
        ("qsv-rate_control_refused", ALL, {"device_id": "0x3e92"}, "i915.enable_guc=2"),
        ("vaapi-low_power_refused", ALL, {}, "sudo apt install intel-media-va-driver-non-free"),
        (
            "vaapi-low_power_refused",
            ALL,
            {"device_id": "0x46d1"},
            "where it is installed, the GPU does not encode this",
        ),
    ],
)
def test_remedy_goes_by_what_stands_on_the_machine(
    situation: str, equipment: Equipment, node: dict[str, str], words: str
) -> None:
    assert words in remedy(situation, equipment, **node)


@pytest.mark.parametrize(
    ("equipment", "node"),
    [
        (replace(ALL, guc="3"), {"device_id": "0x3e92"}),
        (ALL, {"device_id": "0x46d1"}),
    ],
    ids=["is set", "is not needed"],
)
def test_kernel_option_is_not_advised_where_it_changes_nothing(equipment: Equipment, node: dict[str, str]) -> None:
    assert "enable_guc" not in remedy("qsv-rate_control_refused", equipment, **node)


@pytest.mark.parametrize("node", [{"vendor": AMD}, {"device_id": "0x0412"}], ids=["AMD", "before Broadwell"])
def test_encoders_that_the_driver_has_not_need_nothing_of_it(node: dict[str, str]) -> None:
    assert remedy("vaapi-low_power_refused", ALL, **node) == ""


@pytest.mark.parametrize("situation", ["vaapi-low_power_refused", "qsv-rate_control_refused", "qsv-no_runtime"])
def test_remedy_begins_with_the_one_thing_to_do(situation: str) -> None:
    assert remedy(situation, replace(DEBIAN, runtimes=("libmfxhw64.so.1",))).startswith("sudo apt install ")


def test_command_that_asks_comes_first() -> None:
    assert remedy("qsv-no_driver", ALL).startswith("vainfo --display drm --device /dev/dri/renderD128 tells ")
    assert remedy("qsv-device_lost", ALL).startswith("sudo dmesg | grep -iE 'i915|drm' tells ")


# ---- without ffmpeg


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place.CONTAINER, "--device /dev/dri"),
        (Place.GUEST, "Pass the GPU through"),
        (Place.MACHINE, "enable it in the firmware setup"),
    ],
)
def test_no_device_at_all_is_told_by_where_archiverd_runs(place: Place, words: str) -> None:
    found = no_node(replace(DEBIAN, nodes=(), place=place))
    assert (found.cause, found.cause.is_of_device) == (Cause.NO_NODE, True)
    assert words in found.remedy
    assert found.remedy.endswith('; or set hardware = "software", to be told this no more')


def test_devices_of_others_are_named_where_quick_sync_finds_none() -> None:
    found = no_node(replace(DEBIAN, nodes=(replace(NODE, vendor=AMD, driver="amdgpu"),)))
    assert found.reason == "there is no Intel GPU here"
    assert "/dev/dri/renderD128 (AMD, amdgpu, open to this user)" in found.remedy


def unusable(node: RenderNode, equipment: Equipment = DEBIAN, refusal: str = "") -> Diagnosis:
    found = not_usable(node, equipment, refusal)
    assert found is not None
    assert found.cause.is_of_device
    return found


def test_node_that_opens_is_usable() -> None:
    assert not_usable(NODE, DEBIAN) is None


def test_closed_node_is_opened_by_its_group() -> None:
    found = unusable(replace(NODE, access=Access.CLOSED))
    assert found.reason == "archiverd may not open /dev/dri/renderD128"
    assert found.remedy.startswith("sudo usermod -aG render archiverd")


@pytest.mark.parametrize(
    ("place", "words"), [(Place.CONTAINER, "The container is not allowed it"), (Place.MACHINE, "DeviceAllow=")]
)
def test_node_closed_to_root_is_a_rule_and_no_group(place: Place, words: str) -> None:
    found = unusable(replace(NODE, access=Access.CLOSED), replace(DEBIAN, place=place, user="root"))
    assert words in found.remedy
    assert "usermod" not in found.remedy


def test_closed_node_in_a_container_goes_by_the_groups_number() -> None:
    assert "--group-add" in unusable(replace(NODE, access=Access.CLOSED), replace(DEBIAN, place=Place.CONTAINER)).remedy


def test_node_closed_to_its_group_too_needs_another_mode() -> None:
    assert "Its mode is 0600" in unusable(replace(NODE, access=Access.CLOSED, mode=0o600)).remedy


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        (Access.MISSING, "/dev/dri/renderD128 is not there"),
        (Access.NO_DEVICE, "/dev/dri/renderD128 is no device"),
    ],
)
def test_node_that_is_none_is_told_so(access: Access, reason: str) -> None:
    assert unusable(replace(NODE, access=access)).reason == reason


@pytest.mark.parametrize("access", [Access.MISSING, Access.NO_DEVICE])
def test_devices_that_are_there_are_named_in_the_place_of_one_that_is_none(access: Access) -> None:
    others = (PurePosixPath("/dev/dri/renderD128"), PurePosixPath("/dev/dri/renderD129"))
    named = replace(NODE, path=PurePosixPath("/dev/dri/renderD200"), access=access)
    found = unusable(named, replace(DEBIAN, others=others, place=Place.CONTAINER))
    assert found.remedy == (
        "Seen here: /dev/dri/renderD128, /dev/dri/renderD129. Name one of them, or leave device out"
    )


@pytest.mark.parametrize(
    ("path", "words"), [("/dev/dri/renderD200", "hand it to the container"), ("/dev/nvidia0", "or leave device out")]
)
def test_device_that_is_missing_where_there_is_none_is_told_by_its_path(path: str, words: str) -> None:
    missing = replace(NODE, path=PurePosixPath(path), access=Access.MISSING)
    assert words in unusable(missing, replace(DEBIAN, place=Place.CONTAINER)).remedy


def test_node_the_container_is_not_allowed_is_handed_over() -> None:
    found = unusable(NODE, replace(DEBIAN, place=Place.CONTAINER), "Operation not permitted")
    assert found.reason == "/dev/dri/renderD128 can't be opened: Operation not permitted"
    assert "--device /dev/dri" in found.remedy


def test_program_the_kernel_does_not_let_go_is_a_hang() -> None:
    found = hangs(NODE, "ffmpeg (process 7) does not end on SIGKILL")
    assert (found.cause, found.cause.is_of_device) == (Cause.HUNG, True)
    assert "process 7" in found.reason
