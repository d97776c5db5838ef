"""What a command line asks of the device, and whether the pretended machine does it.

`understood` goes through a command line in the order ffmpeg does: devices, inputs, decoder, filters, encoder. It
raises Refusal with what ffmpeg would say, or `Strange` where ffmpeg would do something that nobody can mean (decode
in software after `-hwaccel`, ignore an option): that is an error here, and no text of ffmpeg's.
"""

from __future__ import annotations

import re

from tests.fakes import options
from tests.fakes.arguments import File, Option, filters_of, split
from tests.fakes.refusals import Refusal

TYPE_CHECKING = False  # as mypy takes it without `typing`, which a call would pay for
if TYPE_CHECKING:
    from typing import Any  # JSON

MISTAKE = 97  # exit code for what ffmpeg would take, and should never be asked
PROBE_TAG = "archiverd=probe"  # what marks a probe, as a value of -metadata
AS_IT_IS = "in_range=tv:out_range=tv"  # what `scale` is told so that no sample changes: a device looks at no range
SOFTWARE = {"hevc": "libx265", "h264": "libx264"}
_FORMATS = {"nv12": 8, "yuv420p": 8, "yuvj420p": 8, "p010le": 10, "p010": 10, "yuv420p10le": 10, "yuv420p10": 10}
_OF_ANY_FRAMES = frozenset({"fps", "null", "select", "setparams", "setpts", "settb"})  # they look at no picture
_DEVICE = re.compile(r"(\w+)(?:=(\w+))?(?:([:@])([^,]*))?(?:,(.*))?$")
_SAMPLE_NODE = "/dev/dri/renderD128"


class Strange(Exception):  # noqa: N818  (so is the command line)
    """What ffmpeg would take, and nobody can mean."""


class Source:
    """What the decoder has to deal with."""

    __slots__ = ("codec", "depth", "sampling")

    def __init__(self, codec: str, depth: int, sampling: str) -> None:
        self.codec = codec
        self.depth = depth
        self.sampling = sampling


class Asked:
    """What a command line asks of the device. `chain` is its filters as software does them."""

    __slots__ = (
        "chain", "codec", "decoder", "depth", "encoder", "last_filter", "quality", "rate_control", "rung",
    )  # fmt: skip

    def __init__(self, encoder: str, decoder: str) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.codec = encoder.partition("_")[0]
        self.rung = rung_of(encoder, decoder)
        self.chain: list[str] = []
        self.last_filter = ("null", 0)  # its name and place
        self.depth = 8
        self.rate_control = ""
        self.quality = 26.0


def rung_of(encoder: str, decoder: str) -> str:
    if encoder.endswith("_vaapi"):
        return "vaapi"
    return "qsv" if decoder.endswith("_qsv") else "qsv-encode"


class Machine:
    """The pretended machine, as `machine.json` tells of it, and the option tables of its ffmpeg."""

    def __init__(self, told: dict[str, Any], table: dict[str, Any]) -> None:
        self.version: str = told["version"]
        self.nodes: dict[str, dict[str, bool]] = told["nodes"]
        self.without: list[str] = told["without"]
        self.rate_controls: dict[str, list[str]] = told["rate_controls"]
        self.table = table

    def has(self, codec: str) -> bool:
        return codec.rpartition("_")[2] not in self.without

    def encoder_tag(self, encoder: str) -> str:
        """What this ffmpeg writes of an encoder into a file: `Lavc59.37.100 hevc_qsv`."""
        found = re.search(r"libavcodec +(\d+)\. *(\d+)\. *(\d+)", self.table["version"])
        return f"Lavc{'.'.join(found.groups())} {encoder}" if found else encoder


def understood(machine: Machine, files: list[File], source: Source) -> Asked:
    """What is asked of the device. Raises: Refusal, Strange."""
    reading, writing = _one_of_each(files)
    encoder, decoder = writing.codec, reading.codec
    asked = Asked(encoder, decoder)
    devices = _devices(machine, files, asked.rung)
    _check_input(machine, reading, decoder)
    _check_encoder_is_there(machine, writing, encoder)
    memory = _decoded(machine, reading, asked, devices, source)
    asked.depth = source.depth
    memory = _filtered(machine, writing, asked, devices, memory)
    _check_encoder_options(machine, writing, encoder)
    _check_encoder(machine, writing, asked, devices, memory)
    return asked


def _one_of_each(files: list[File]) -> tuple[File, File]:
    reading, writing = [file for file in files if file.reads], [file for file in files if not file.reads]
    if len(reading) != 1 or len(writing) != 1 or not writing[0].url:
        raise Strange(f"{len(reading)} inputs and {len(writing)} outputs, one of each is what is meant to be")
    return reading[0], writing[0]


# ---- devices


class Devices:
    """The devices a command line opens, by name, and the one of its filters."""

    __slots__ = ("for_filters", "kinds")

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}
        self.for_filters = ""

    def has(self, kind: str) -> bool:
        return kind in self.kinds.values()

    @property
    def filter_kind(self) -> str:
        """The kind of the device filters get: the one named for them, else the last."""
        return self.kinds[self.for_filters] if self.for_filters else [*self.kinds.values(), ""][-2:][0]


def _devices(machine: Machine, files: list[File], rung: str) -> Devices:
    devices = Devices()
    for option in (option for file in files for option in file.options):
        if option.name in ("vaapi_device", "qsv_device"):
            raise Strange(f"{option.flag} is not what archiverd asks with: -init_hw_device is")
        if option.name == "init_hw_device":
            _open(machine, devices, option.value or "", rung)
        if option.name == "filter_hw_device":
            if option.value not in devices.kinds:
                raise Refusal("qsv", "unknown_filter_device", {"qs": option.value or ""})
            devices.for_filters = option.value or ""
    return devices


def _open(machine: Machine, devices: Devices, value: str, rung: str) -> None:
    found = _DEVICE.match(value)
    kind = found[1] if found else ""
    if found is None or kind not in ("vaapi", "qsv"):
        raise Refusal("any", "unknown_device_type", {"qsw=qs": value})
    if kind in machine.without:
        raise Refusal(rung if kind == "qsv" and rung != "vaapi" else "vaapi", "not_built", _device_words(value))
    if found[3] == "@":
        _derive(machine, devices, kind, value, found[4], rung=rung)
    else:
        _check_node(machine, kind, value, found[4] or "", found[5] or "")
    devices.kinds[found[2] or f"{kind}{len(devices.kinds)}"] = kind


def _derive(machine: Machine, devices: Devices, kind: str, value: str, parent: str, *, rung: str) -> None:
    if parent not in devices.kinds:
        raise Refusal("qsv", "unknown_source_device", _device_words(value))
    if kind == "qsv" and not any(node["qsv"] for node in machine.nodes.values()):
        raise Refusal("qsv" if rung == "vaapi" else rung, "no_runtime", _device_words(value))


def _check_node(machine: Machine, kind: str, value: str, path: str, extra: str) -> None:
    """Whether a node is there, ours to open, and has a driver."""
    if kind == "qsv" or not path:
        if not machine.nodes:
            raise Refusal("qsv" if kind == "qsv" else "vaapi", _NO_DEFAULT[kind], _device_words(value))
        raise Strange(f"-init_hw_device {value} names no render node: on a machine with two it is any of them")
    node = machine.nodes.get(path)
    if node is None or not node["accessible"]:
        raise Refusal("vaapi", "no_device", {_SAMPLE_NODE: path, f"vaapi=va:{_SAMPLE_NODE},driver=iHD": value})
    driver = dict(part.partition("=")[::2] for part in split(extra, ",")).get("driver", node["driver"])
    if not node["vaapi"] or driver != node["driver"]:
        raise Refusal("vaapi", "no_driver", _device_words(value))


_NO_DEFAULT = {"qsv": "no_child_device", "vaapi": "no_default_device"}


def _device_words(value: str) -> dict[str, str]:
    samples = ("qsv=qs@va", "qsv=qs", "vaapi=va", f"vaapi=va:{_SAMPLE_NODE},driver=iHD")
    return dict.fromkeys(samples, value)


# ---- input


def _check_input(machine: Machine, reading: File, decoder: str) -> None:
    if decoder not in ("", *SOFTWARE) and (decoder not in machine.table["decoders"] or not machine.has(decoder)):
        raise Refusal("any", "unknown_decoder", {"h264_qsw": decoder})
    own = machine.table["decoders"].get(decoder, {})
    for option in reading.options:
        if option.name in machine.table["tool"] or _is_negated(machine, option) or option.name in own:
            continue
        generic = machine.table["codec"].get(option.name)
        if option.name in machine.table["format"] or (generic and "D" in generic.split()[0]):
            continue
        raise Refusal("any", "not_a_decoding_option", {_SAMPLE_NO_DECODING: option.name})


_SAMPLE_NO_DECODING = "crf (Select the quality for constant quality mode)"


def _is_negated(machine: Machine, option: Option) -> bool:
    return option.name.startswith("no") and option.name[2:] in machine.table["tool"]


def _decoded(machine: Machine, reading: File, asked: Asked, devices: Devices, source: Source) -> str:
    """Where decoded frames lie: "qsv", or "system" memory."""
    hwaccel = reading.value("-hwaccel")
    if not asked.decoder.endswith("_qsv"):
        if hwaccel:
            raise Strange(
                f"-hwaccel {hwaccel} without a decoder that is named: it decodes in software, and tells nobody"
            )
        return "system"
    own, words = machine.table["decoders"][asked.decoder], {"h264_qsv": asked.decoder, "h264": source.codec}
    for option in reading.options:
        if option.is_for_video and option.name in own:
            _check_value(option, own[option.name], "decoder", words)
    if hwaccel is None and not devices.has("qsv"):
        raise Refusal("qsv", "no_session_to_decode", words)
    if hwaccel != "qsv" or devices.kinds.get(reading.value("-hwaccel_device") or "") != "qsv":
        raise Refusal("qsv", "no_device_for_decoder", words)
    if reading.value("-hwaccel_output_format") != "qsv":
        raise Strange("-hwaccel qsv without -hwaccel_output_format qsv: versions differ in where the frames lie then")
    if asked.decoder.partition("_")[0] != source.codec:
        raise Refusal("any", "wrong_decoder", {"hevc": asked.decoder})
    if source.sampling != "420" or (source.codec == "h264" and source.depth > 8):
        raise Refusal("qsv", "profile_not_decoded", words)
    return "qsv"


def _check_value(option: Option, known: str, subject: str, words: dict[str, str]) -> None:
    try:
        options.check(option.name, option.value or "", known, subject)
    except Refusal as refusal:
        refusal.words |= words
        raise


# ---- filters


def _filtered(machine: Machine, writing: File, asked: Asked, devices: Devices, memory: str) -> str:
    """Where the frames lie after the filters; `asked.chain` is filled."""
    graph = writing.value("-vf", "-filter:v")
    if graph is None:
        return memory
    if any(mark in graph for mark in "[];"):
        raise Strange(f"the filter graph is no simple chain: {graph}")
    for position, (name, arguments) in enumerate(filters_of(graph)):
        asked.last_filter = (name, position)
        known = machine.table["filters"].get(name)
        if known is None:
            _check_software_filter(name, position, memory)
            asked.chain.append(f"{name}={arguments}" if arguments else name)
            if name == "format":
                asked.depth = _FORMATS.get(arguments.split("|")[0].removeprefix("pix_fmts="), asked.depth)
            continue
        if not machine.has({"vpp_qsv": "qsv", "scale_qsv": "qsv", "scale_vaapi": "vaapi"}.get(name, "")):
            raise Refusal("any", "unknown_filter", {"vpp_qsw": name})
        given = _check_filter(name, arguments, known, position)
        memory = _through(name, position, given, memory, asked, devices=devices)
    return memory


def _check_software_filter(name: str, position: int, memory: str) -> None:
    if name.endswith(("_qsv", "_vaapi", "_qsw")):
        raise Refusal("any", "unknown_filter", {"vpp_qsw": name})
    if memory != "system" and name not in _OF_ANY_FRAMES:
        raise Refusal("vaapi", "frames_in_memory", {"Parsed_format_0": f"Parsed_{name}_{position}"})


def _check_filter(name: str, arguments: str, known: dict[str, str], position: int) -> dict[str, str]:
    given: dict[str, str] = {}
    unnamed = list(known)
    for part in split(arguments, ":") if arguments else ():
        key, sign, value = part.partition("=")
        if not sign:
            key, value = unnamed.pop(0), part
        given[key] = value
        words = {
            "vpp_qsv": name, "Parsed_vpp_qsv_0": f"Parsed_{name}_{position}", "wow": key, "wow=3": arguments,
            "w=160:h=90:denoise=200": arguments, "w=160:h=90:deinterlace=nicely": arguments,
        }  # fmt: skip
        if key not in known:
            raise Refusal("any", "unknown_filter_option", words)
        _check_value(Option(f"-{key}", value), known[key], "filter", words)
    return given


def _through(name: str, position: int, given: dict[str, str], memory: str, asked: Asked, *, devices: Devices) -> str:
    """One hardware filter: what it does in software goes into the chain. Returns where its frames lie."""
    parsed = f"Parsed_{name}_{position}"
    if name == "hwupload":
        if not devices.kinds:
            raise Refusal("vaapi", "no_device_to_upload_to", {"Parsed_hwupload_1": parsed})
        return devices.filter_kind
    if name == "hwdownload":
        return "system"
    if name == "hwmap":
        raise Strange("hwmap is not in the repertoire")
    if name in ("vpp_qsv", "scale_qsv") and not devices.has("qsv"):
        raise Refusal("qsv", "no_device_to_scale_with", {"Parsed_vpp_qsv_0": parsed})
    if memory != name.rpartition("_")[2]:
        raise Refusal("vaapi", "frames_in_memory", {"Parsed_format_0": parsed})
    width, height = given.get("w", given.get("width")), given.get("h", given.get("height"))
    if width or height:
        if not all(size and size.isdigit() and int(size) % 2 == 0 for size in (width, height)):
            raise Strange(f"{name} to {width}x{height}: two even numbers are what every version takes")
        asked.chain.append(f"scale={width}:{height}:{AS_IT_IS}")
    asked.depth = _FORMATS.get(given.get("format", ""), asked.depth)
    return memory


# ---- encoder


def _check_encoder_is_there(machine: Machine, writing: File, encoder: str) -> None:
    if encoder not in machine.table["encoders"] or not machine.has(encoder):
        raise Refusal("any", "unknown_encoder", {"hevc_qsw": encoder})
    own = machine.table["encoders"][encoder]
    for option in writing.options:
        if not option.is_for_video or option.name in own or option.name in machine.table["tool"]:
            continue
        if _is_negated(machine, option) or option.name in machine.table["format"]:
            continue
        generic = machine.table["codec"].get(option.name)
        if generic is None:
            raise Strange(_UNUSED.format(option.name, writing.url))
        if "E" not in generic.split()[0]:
            raise Refusal("any", "not_an_encoding_option", {_SAMPLE_NO_ENCODING: option.name})


_SAMPLE_NO_ENCODING = "gpu_copy (A GPU-accelerated copy between video and system memory)"
# ffmpeg only warns of it, at a log level that nobody reads, and goes on without the option.
_UNUSED = (
    "Codec AVOption {} specified for output file #0 ({}) has not been used for any stream. The most likely reason is "
    "either wrong type (e.g. a video option with no video streams) or that it is a private option of some encoder "
    "which was not actually used for any stream."
)


def _check_encoder_options(machine: Machine, writing: File, encoder: str) -> None:
    own, generic = machine.table["encoders"][encoder], machine.table["codec"]
    for option in writing.options:
        if not option.is_for_video:
            continue
        if option.name in own:
            words = {"hevc_qsv encoder": machine.table["classes"][encoder], "hevc_qsv": encoder}
            _check_value(option, own[option.name], "encoder", words)
        elif option.name in generic and option.name not in machine.table["format"]:
            _check_value(
                option, generic[option.name], "encoder", dict.fromkeys(("hevc_qsv encoder", "hevc_qsv"), encoder)
            )


def _check_encoder(machine: Machine, writing: File, asked: Asked, devices: Devices, memory: str) -> None:
    """Whether the device encodes what reaches it the way it is told to."""
    family = asked.encoder.rpartition("_")[2]
    if memory not in ("system", family) or (family == "vaapi" and memory != "vaapi"):
        name, position = asked.last_filter
        words = {"Parsed_format_0": f"Parsed_{name}_{position}", "auto_scale_1": f"auto_scale_{position + 1}"}
        raise Refusal("vaapi", "frames_in_memory", words)
    if family == "qsv" and not devices.has("qsv"):
        raise Refusal("qsv-encode", "no_session", {"hevc_qsv": asked.encoder})
    sample = f"hevc_{family}"
    profile = writing.value("-profile:v", "-profile")
    if asked.depth > 8 and (asked.codec == "h264" or profile == "main"):
        raise Refusal(asked.rung, "p010_h264", {f"h264_{family}": asked.encoder})
    if family == "qsv":
        _tell_qsv_rate_control(writing, asked)
    else:
        _tell_vaapi_rate_control(writing, asked)
    allowed = machine.rate_controls.get(asked.encoder)
    if allowed is None or asked.rate_control in allowed:
        return
    low_power = asked.rate_control.startswith("low_power=1") and not any(
        told.startswith("low_power=1") for told in allowed
    )
    situation = "low_power_refused" if low_power else "rate_control_refused"
    modes = sorted({told.rpartition(" ")[2] for told in allowed})
    mode = asked.rate_control.rpartition(" ")[2]
    raise Refusal(asked.rung, situation, {sample: asked.encoder, "CQP, CBR, VBR": ", ".join(modes), "ICQ": mode})


def _low_power(writing: File) -> str:
    value = writing.value("-low_power", "-low_power:v")
    return "" if value is None else f"low_power={value} "


def _tell_qsv_rate_control(writing: File, asked: Asked) -> None:
    """Source: qsvenc.c, select_rc_mode."""
    quality, fixed = writing.value("-global_quality", "-global_quality:v"), writing.value("-q:v", "-qscale:v")
    rate, most = writing.value("-b:v", "-b"), writing.value("-maxrate", "-maxrate:v")
    mode = "CBR" if rate == most else "VBR"
    if fixed is not None:
        mode = "CQP"
    elif quality is not None:
        mode = "QVBR" if most else "ICQ"
    asked.rate_control = _low_power(writing) + mode
    asked.quality = options.number(fixed or quality or "26") or 26.0


def _tell_vaapi_rate_control(writing: File, asked: Asked) -> None:
    mode = writing.value("-rc_mode", "-rc_mode:v") or "auto"
    quality = writing.value("-qp", "-qp:v") or writing.value("-global_quality", "-global_quality:v")
    asked.rate_control = _low_power(writing) + mode
    asked.quality = options.number(quality or "26") or 26.0
