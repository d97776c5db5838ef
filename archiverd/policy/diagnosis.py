"""Why a rung does not work, in the user's words: what ffmpeg said, turned into a reason and a remedy.

The messages are those of ffmpeg 5.1, 7.1 and 9.0 (fftools, libavutil/hwcontext_*.c, libavcodec/qsv*.c and
vaapi_encode.c). ffmpeg's words often name the step and not the cause; which cause is likely is told by what stands on
the machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import assert_never

from archiverd.policy.hardware import Equipment, Place
from archiverd.policy.machine import AMD, Access, RenderNode
from archiverd.policy.rungs import Rung

GUIDE = "docs/guide/hardware.md"
_LONGEST_QUOTE = 200  # characters
_RENDER_NODES = PurePosixPath("/dev/dri")
_UNSEEN = Equipment()
_IHD = "intel-media-va-driver-non-free"  # Debian's package of the driver with all encoders


class Cause(StrEnum):
    """What kept a device from working."""

    NO_NODE = "no node"  # there is no device
    NOT_OPENED = "not opened"  # there is, and this user may not
    NOT_BUILT = "not built"  # ffmpeg was built without it
    OLD_FFMPEG = "old ffmpeg"  # it does not know an option
    NO_DRIVER = "no driver"  # no VA driver for the device, or it does not start
    NO_SESSION = "no session"  # Quick Sync does not start above it
    LOST = "lost"  # the device failed in the middle
    HUNG = "hung"
    NO_CODEC = "no codec"  # it does not encode this codec, or not in this depth
    NO_RATE_CONTROL = "no rate control"  # it does not take the quality in this way
    NOT_DECODED = "not decoded"  # it does not decode this footage
    NO_MEMORY = "no memory"
    WRONG_OUTPUT = "wrong output"  # it ended well, and what it made is not the source
    NO_ENCODER = "no encoder"  # of software
    NOT_FIT = "not fit"  # nothing was tried: the rung does not take such footage
    UNKNOWN = "unknown"

    @property
    def is_of_device(self) -> bool:
        """Whether the device or its driver fails as a whole, for any clip; else the failure may be this clip's."""
        return self in _OF_DEVICE

    @property
    def is_for_good(self) -> bool:
        """Whether such footage is never taken on this machine; else another time it may be."""
        return self in _FOR_GOOD


_OF_DEVICE = frozenset(
    {
        Cause.NO_NODE, Cause.NOT_OPENED, Cause.NOT_BUILT, Cause.OLD_FFMPEG, Cause.NO_DRIVER, Cause.NO_SESSION,
        Cause.LOST, Cause.HUNG,
    }
)  # fmt: skip
_FOR_GOOD = frozenset({Cause.NOT_FIT, Cause.NO_CODEC, Cause.NOT_DECODED, Cause.NO_RATE_CONTROL})


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a rung did not work. Both texts are sentences without their full stop; a remedy may be empty."""

    cause: Cause
    reason: str
    remedy: str = ""


# First match wins: what is told first is the cause, what ffmpeg adds to it only names the step.
_SAID: tuple[tuple[str, Cause], ...] = (
    (r"Unrecognized option '|Option not found|Option '[^']*' not found", Cause.OLD_FFMPEG),
    (r"unknown device type|Unknown (encoder|decoder) '\w+_(qsv|vaapi)'|No such filter", Cause.NOT_BUILT),
    (r"Device creation failed: -12\.", Cause.NOT_BUILT),  # ENOMEM: its way to say that the type was left out
    (r"\(-21\)|GPU [Hh]ang", Cause.HUNG),  # MFX_ERR_GPU_HANG
    (r"device (failed|lost)|\(-(13|17)\)", Cause.LOST),  # MFX_ERR_DEVICE_LOST, MFX_ERR_DEVICE_FAILED
    (r"Failed to (sync|end picture encode|sync to picture)|Failed to map output buffers", Cause.LOST),
    (r"MFX session|child device|No device available for decoder", Cause.NO_SESSION),
    (r"No VA display|VA display from|VAAPI connection|libva error|Device creation failed: -", Cause.NO_DRIVER),
    (r"No usable encoding (profile|entrypoint)|Current (profile|pixel format|codec) is unsupported", Cause.NO_CODEC),
    (r"encoding profile .* not supported|does not support encoding", Cause.NO_CODEC),
    (r"ratecontrol|RC mode|Low power mode|encoding parameters are not supported", Cause.NO_RATE_CONTROL),
    (r"invalid video parameters", Cause.NO_RATE_CONTROL),
    (r"Error decoding stream header", Cause.NOT_DECODED),
    (r"Cannot allocate memory|memory allocation", Cause.NO_MEMORY),
)
_PATTERNS = tuple((re.compile(pattern), cause) for pattern, cause in _SAID)
_OF_SOFTWARE = tuple((pattern, cause) for pattern, cause in _PATTERNS if cause is Cause.NO_MEMORY)

_PREFIX = re.compile(r"^(\[[\w#:/,.]+( @ 0x[0-9a-f]+)?\] )+")
# What ffmpeg says after the cause: that this, too, could not go on.
_AFTERMATH = re.compile(
    r"Error (parsing global options|initializing output stream|while opening encoder|sending frames|reinitializing"
    r"|opening (in|out)put file|splitting the argument|while processing the decoded|encoding a frame)"
    r"|Failed to (set value|inject frame)|Task finished|Terminating thread|Nothing was written|Could not open encoder"
    r"|Conversion failed|Encode failed: -|[Vv]ideo encoding failed"
)


def diagnose(
    rung: Rung, said: str, *, ended: str = "", hung: bool = False, equipment: Equipment = _UNSEEN,
    node: RenderNode | None = None,
) -> Diagnosis:  # fmt: skip
    """Why a run of ffmpeg on a rung failed.

    `said` is its stderr, `ended` how it ended in words, `hung` that it had to be ended for want of progress or time;
    `node` is the device it was on.
    """
    patterns = _PATTERNS if rung.on_device else _OF_SOFTWARE
    cause = next((cause for pattern, cause in patterns if pattern.search(said)), Cause.UNKNOWN)
    if hung and rung.on_device and cause is Cause.UNKNOWN:
        cause = Cause.HUNG
    reason = _reason(cause, rung, quote(said), node)
    return Diagnosis(cause, reason or ended or "ffmpeg failed and said nothing", _remedy(cause, rung, equipment, node))


def hangs(node: RenderNode | None, words: str) -> Diagnosis:
    """A device whose driver does not let go of ffmpeg."""
    return Diagnosis(Cause.HUNG, f"{_name(node)} hangs: {words}", _remedy(Cause.HUNG, Rung.QSV, _UNSEEN, node))


def software_fails(codec: str, ended: str) -> Diagnosis:
    """The encoder of last resort does not work."""
    remedy = "Install an ffmpeg with libx265 and libx264 (Debian's package ffmpeg has them, on Fedora RPM Fusion's)"
    return Diagnosis(Cause.NO_ENCODER, f"ffmpeg can't encode {codec} here: {ended}", remedy)


def no_node(equipment: Equipment) -> Diagnosis:
    """No device that the rung could try was found."""
    if equipment.nodes:
        seen = "; ".join(node.words for node in equipment.nodes)
        return Diagnosis(Cause.NO_NODE, "there is no Intel GPU here", f"Seen: {seen}. Try vaapi on these")
    return Diagnosis(Cause.NO_NODE, "there is no device in /dev/dri", _hand_over(equipment))


def not_usable(node: RenderNode, equipment: Equipment, refusal: str = "") -> Diagnosis | None:
    """Why a node can't be worked with, as far as that is seen without ffmpeg; None where it can.

    `refusal`: how the kernel refused to open it, in the words of strerror; empty where it opened.
    """
    match node.access:
        case Access.MISSING:
            return Diagnosis(Cause.NO_NODE, f"{node.path} is not there", _name_another(node, equipment))
        case Access.NO_DEVICE:
            return Diagnosis(Cause.NO_NODE, f"{node.path} is no device", _name_another(node, equipment))
        case Access.CLOSED:
            return Diagnosis(Cause.NOT_OPENED, f"{equipment.user} may not open {node.path}", _admit(node, equipment))
        case Access.OPEN if refusal:
            remedy = _hand_over(equipment) if equipment.place is Place.CONTAINER else _kernel_log(node)
            return Diagnosis(Cause.NOT_OPENED, f"{node.path} can't be opened: {refusal}", remedy)
        case Access.OPEN:
            return None
        case _:
            assert_never(node.access)


def quote(said: str) -> str:
    """The line of ffmpeg's words that tells most: the last that is not about what came of it."""
    lines = [_PREFIX.sub("", line.strip()) for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not _AFTERMATH.search(line)]
    return next(iter((telling or lines)[-1:]), "")[:_LONGEST_QUOTE]


_REASONS = {
    Cause.NOT_BUILT: "this ffmpeg was built without {interface}",
    Cause.OLD_FFMPEG: "this ffmpeg does not know an option that is needed",
    Cause.NO_DRIVER: "no VA-API driver starts on {device}",
    Cause.NO_SESSION: "Quick Sync does not start on {device}",
    Cause.LOST: "{device} failed at its work",
    Cause.HUNG: "{device} hangs",
    Cause.NO_CODEC: "{device} or its driver does not encode this",
    Cause.NO_RATE_CONTROL: "{device} does not take the quality in this way",
    Cause.NOT_DECODED: "{device} does not decode this",
    Cause.NO_MEMORY: "ffmpeg got no memory",
}


def _reason(cause: Cause, rung: Rung, words: str, node: RenderNode | None) -> str:
    reason = _REASONS.get(cause, "").format(interface=_interface(rung), device=_name(node))
    return ": ".join(part for part in (reason, words) if part)


def _name(node: RenderNode | None) -> str:
    return "the device" if node is None else str(node.path)


def _remedy(cause: Cause, rung: Rung, equipment: Equipment, node: RenderNode | None) -> str:
    match cause:
        case Cause.NOT_BUILT:
            return f"Install an ffmpeg with {_interface(rung)}; Debian's and Ubuntu's package ffmpeg has it"
        case Cause.OLD_FFMPEG:
            return "Install ffmpeg 5.1 or newer"
        case Cause.NO_DRIVER:
            return _driver_remedy(equipment, node)
        case Cause.NO_SESSION:
            return _session_remedy(equipment, node)
        case Cause.LOST | Cause.HUNG:
            return f"{_kernel_log(node)}; a device that hangs may need a restart of the machine"
        case Cause.NO_CODEC | Cause.NO_RATE_CONTROL:
            return _encoder_remedy(equipment, node)
        case Cause.NO_MEMORY:
            return "End what uses up the memory, or raise max_memory"
        case _:  # what is told by other words, or has no remedy
            return ""


def _interface(rung: Rung) -> str:
    return "VA-API" if rung is Rung.VAAPI else "Quick Sync"


def _name_another(node: RenderNode, equipment: Equipment) -> str:
    """What to put in the place of a device that is none."""
    if equipment.others:
        return f"Seen here: {', '.join(map(str, equipment.others))}. Name one of them, or leave device out"
    if node.access is Access.MISSING and node.path.is_relative_to(_RENDER_NODES):
        return _hand_over(equipment)
    return "Name a render node, like /dev/dri/renderD128, or leave device out"


def _hand_over(equipment: Equipment) -> str:
    """How a device comes to where archiverd runs, or how to do without one."""
    return f'{_way_here(equipment)}; or set hardware = "software", to be told this no more'


def _way_here(equipment: Equipment) -> str:
    match equipment.place:
        case Place.CONTAINER:
            return (
                "Where the host has a device, hand it to the container (Docker: --device /dev/dri; Proxmox: "
                "dev0: /dev/dri/renderD128,gid=N, N being the number of the container's group render)"
            )
        case Place.GUEST:
            return "Pass the GPU through to the virtual machine, and load its driver there (i915, xe or amdgpu)"
        case Place.MACHINE:
            return (
                "Where there is a GPU, enable it in the firmware setup and see that the kernel loads its driver "
                "(i915, xe or amdgpu) with its firmware"
            )
        case _:
            assert_never(equipment.place)


def _admit(node: RenderNode, equipment: Equipment) -> str:
    if equipment.user == "root":  # no mode keeps root out: a rule does
        return _lift_rule(equipment)
    if not node.mode & 0o060:
        return f"Its mode is {node.mode:04o}: let its group read and write it (udev does that for /dev/dri)"
    where = " (in a container the number counts: --group-add)" if equipment.place is Place.CONTAINER else ""
    return f"sudo usermod -aG {node.group} {equipment.user or 'USER'}, then log in or start the service anew{where}"


def _lift_rule(equipment: Equipment) -> str:
    """How root comes to a device that is kept from it."""
    if equipment.place is Place.CONTAINER:
        return f"The container is not allowed it. {_hand_over(equipment)}"
    return (
        "A rule keeps root from it: see DeviceAllow= and PrivateDevices= of the service, and the device rules of "
        "its cgroup"
    )


def _driver_remedy(equipment: Equipment, node: RenderNode | None) -> str:
    if node is not None and node.vendor == AMD:
        return _look_closer(equipment, node, "radeonsi", "mesa-va-drivers")
    if node is not None and not node.vendor and "iHD" not in equipment.va_drivers:
        intel = _install(equipment, _IHD, "the VA-API driver iHD")
        return f"For an Intel GPU: {intel}; whose it is can't be seen here, for the kernel does not tell"
    if node is not None and node.vendor and not node.is_intel:
        return "VA-API encodes on Intel's and AMD's GPUs only"
    if node is not None and node.generation == 7:
        return _look_closer(equipment, node, "i965", "i965-va-driver")
    return _look_closer(equipment, node, "iHD", _IHD)


def _look_closer(equipment: Equipment, node: RenderNode | None, driver: str, package: str) -> str:
    """Install the driver; where it stands already, see what it says."""
    if driver not in equipment.va_drivers:
        return _install(equipment, package, f"the VA-API driver {driver}")
    device = "" if node is None else f" --device {node.path}"
    return f"vainfo --display drm{device} tells what the driver {driver}, which is installed, says"


def _session_remedy(equipment: Equipment, node: RenderNode | None) -> str:
    generation = None if node is None else node.generation
    if generation == 7:
        return "GPUs before Broadwell have no Quick Sync on Linux any more: use vaapi"
    runtime = _missing_runtime(equipment, generation)
    if "iHD" in equipment.va_drivers:
        return runtime or f"{_kernel_log(node)}; driver and runtime are installed"
    # A VA-API driver has started, or ffmpeg had not come this far: iHD may stand where nobody looked.
    driver = _install(equipment, _IHD, "the VA-API driver iHD")
    return f"{runtime}; where it is installed, {driver}" if runtime else f"{driver}; no driver iHD was seen"


def _missing_runtime(equipment: Equipment, generation: int | None) -> str:
    """How the runtime that a generation needs is installed; empty where it was seen."""
    new, old = "libmfx-gen.so.1.2" in equipment.runtimes, "libmfxhw64.so.1" in equipment.runtimes
    if not new and (generation is None or generation >= 12):
        return _install(equipment, "libmfx-gen1.2", "Intel's oneVPL GPU runtime")
    if not old and (generation is None or generation < 12):
        package = _install(equipment, "libmfx1", "Intel's Media SDK, the runtime of GPUs before Tiger Lake")
        return f"{package}; Debian 13 and Ubuntu after 24.04 have it no more: use vaapi there"
    return ""


def _encoder_remedy(equipment: Equipment, node: RenderNode | None) -> str:
    """What may be missing where a device is there and refuses to encode."""
    if node is None or not (node.is_intel or not node.vendor) or node.generation == 7:
        return ""
    driver = _install(equipment, _IHD, "the full build of the VA-API driver iHD")
    if (node.generation or 9) < 12 and equipment.guc not in ("2", "3"):
        return f"{driver}; where it is installed, set the kernel option i915.enable_guc=2 ({GUIDE})"
    return f"{driver}; where it is installed, the GPU does not encode this"


def _install(equipment: Equipment, package: str, what: str) -> str:
    if equipment.distribution == "debian":
        component = " (on Debian of the component non-free)" if package == _IHD else ""
        return f"sudo apt install {package}{component}"
    return f"Install {what} (Debian's package {package}; others: {GUIDE})"


def _kernel_log(node: RenderNode | None) -> str:
    driver = node.driver if node is not None and node.driver else "i915"
    return f"sudo dmesg | grep -iE '{driver}|drm' tells what the kernel says"
