"""How the footage of a clip is decoded, filtered and encoded on each rung, in the options of ffmpeg.

One line serves every ffmpeg. Options, words and ranges are the same in the help of 5.1 (libmfx), 7.1 and 9.0 (libvpl),
which also take each golden line up to the opening of the device; what 6 and later have besides (`out_range` of
`vpp_qsv`, `-scenario`) is left alone, and so is what one codec alone has (`-look_ahead`). Read in libavcodec:

- qsvdec.c ends in an error where the device reports one, and passes over pictures that are only damaged, whatever
  `-err_detect` says: `-xerror` is kept, and a transcode on Quick Sync's decoder proves nothing of the source.
- qsvenc.c: `-global_quality` alone is ICQ, with `-maxrate` QVBR, as `-q:v` CQP; time stamps are counted in 1/90000, as
  ours are; each I-frame of HEVC is a key frame. The times of decoding are the runtime's own, which for HEVC counts them
  from a constant rate: with B-frames and frames off their beat they would not rise. So there are none (`-bf 0`).
- vaapi_encode.c: takes the times of decoding from those of earlier frames, which rise, so B-frames are left to it; a
  named `-rc_mode` that the driver lacks is an error, where none named would be replaced unseen.
- All write the range of `-color_range` into the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from archiverd.policy.rungs import Engine, RateControl, Rung

QSV_DECODERS = {"h264": "h264_qsv", "hevc": "hevc_qsv"}
# The pixel formats that a device's surfaces hold without loss: colour halved both ways (4:2:0).
EIGHT_BITS = frozenset({"yuv420p", "yuvj420p", "nv12"})
TEN_BITS = frozenset({"yuv420p10le", "p010le"})

_EXTRA_FRAMES = "48"  # surfaces beside the decoder's own: what filter and encoder hold at the same time
_QSV_PRESETS = {
    "ultrafast": "veryfast",
    "superfast": "veryfast",
    "placebo": "veryslow",
}  # words only x264 and x265 have


@dataclass(frozen=True, slots=True)
class Picture:
    """What is to be made of the footage of one clip."""

    index: int  # of its stream in the source
    source_codec: str
    codec: str  # "hevc" or "h264"
    quality: int  # CRF in software; what a device is told in its place
    preset: str
    deep: bool  # more than 8 bits
    full_range: bool
    scaled_to: tuple[int, int] | None  # pixels; None keeps the source's
    key_frames_every: int  # frames, on a device
    bits_per_s: int  # on a device whose rate control needs them


def device_options(engine: Engine) -> tuple[str, ...]:
    """Open the render node of an engine, by its name: ffmpeg's own choice may be another one, or software."""
    driver = f",driver={engine.driver}" if engine.driver else ""
    vaapi = ("-init_hw_device", f"vaapi=va:{engine.device}{driver}")
    match engine.rung:
        case Rung.SOFTWARE:
            return ()
        case Rung.VAAPI:
            return (*vaapi, "-filter_hw_device", "va")
        case Rung.QSV | Rung.QSV_ENCODE:
            return (*vaapi, "-init_hw_device", "qsv=qs@va", "-filter_hw_device", "qs")
        case _:
            assert_never(engine.rung)


def decoder_options(engine: Engine, picture: Picture) -> tuple[str, ...]:
    """Decode the footage on the device, by a named decoder, which does not fall back to software unseen."""
    if engine.rung is not Rung.QSV:
        return ()
    return (
        "-hwaccel", "qsv", "-hwaccel_device", "qs", "-hwaccel_output_format", "qsv",
        "-extra_hw_frames", _EXTRA_FRAMES, f"-c:{picture.index}", QSV_DECODERS[picture.source_codec],
    )  # fmt: skip


def encoder_options(engine: Engine, picture: Picture) -> tuple[str, ...]:
    """Filter and encode the footage."""
    filters = _filters(engine.rung, picture)
    return (
        *(("-vf", ",".join(filters)) if filters else ()),
        *(("-color_range", "pc") if picture.full_range else ()),
        "-c:v", *_encoder(engine, picture),
    )  # fmt: skip


def _filters(rung: Rung, picture: Picture) -> list[str]:
    """Scale, and hand the picture over as the encoder takes it.

    A full range is kept by saying so at each turn: `scale` and `format` would narrow it, Quick Sync's decoder takes it
    from the stream alone, where the container may have told it, and `setparams` changes the word and no pixel.
    """
    if rung is Rung.QSV:
        size = [] if picture.scaled_to is None else ["vpp_qsv=w={}:h={}".format(*picture.scaled_to)]
        return [*size, *(["setparams=range=pc"] if picture.full_range else [])]
    scale = [] if picture.scaled_to is None else ["{}:{}".format(*picture.scaled_to)]
    scale += ["in_range=pc:out_range=pc"] if picture.full_range else []
    filters = [f"scale={':'.join(scale)}"] if scale else []
    if rung is Rung.SOFTWARE:
        return filters
    surface = "format=p010le" if picture.deep else "format=nv12"
    return [*filters, surface, *(["hwupload"] if rung is Rung.VAAPI else [])]


def _encoder(engine: Engine, picture: Picture) -> tuple[str, ...]:
    match engine.rung:
        case Rung.SOFTWARE:
            return _software_encoder(picture)
        case Rung.VAAPI:
            return (*_device_encoder("vaapi", picture), *_vaapi_rate_control(engine.rate_control, picture))
        case Rung.QSV | Rung.QSV_ENCODE:
            preset = _QSV_PRESETS.get(picture.preset, picture.preset)
            return (
                *_device_encoder("qsv", picture), "-bf", "0", "-preset", preset,
                *_qsv_rate_control(engine.rate_control, picture),
            )  # fmt: skip
        case _:
            assert_never(engine.rung)


def _software_encoder(picture: Picture) -> tuple[str, ...]:
    encoder: tuple[str, ...] = ("libx264",)
    if picture.codec == "hevc":
        # hash=1 writes an MD5 of every picture, which a strict decode then checks; 1 % of the size.
        encoder = ("libx265", "-x265-params", "log-level=error:hash=1", "-tag:v", "hvc1")
    return (*encoder, "-preset", picture.preset, "-crf", str(picture.quality))


def _device_encoder(family: str, picture: Picture) -> tuple[str, ...]:
    return (
        f"{picture.codec}_{family}",
        *(("-tag:v", "hvc1", "-profile:v", "main10" if picture.deep else "main") if picture.codec == "hevc" else ()),
        "-g", str(picture.key_frames_every),
    )  # fmt: skip


def _qsv_rate_control(control: RateControl, picture: Picture) -> tuple[str, ...]:
    quality, bits = str(picture.quality), _bits(picture)
    match control:
        case RateControl.ICQ:
            return ("-global_quality", quality)
        case RateControl.ICQ_FULL_POWER:
            return ("-low_power", "0", "-global_quality", quality)
        case RateControl.QVBR:
            return ("-global_quality", quality, *bits)
        case RateControl.CQP:
            return ("-q:v", quality)
        case _:
            raise ValueError(f"Quick Sync has no rate control {control}")


def _vaapi_rate_control(control: RateControl, picture: Picture) -> tuple[str, ...]:
    quality, bits = str(picture.quality), _bits(picture)
    low_power = ("-low_power", "1") if control.low_power else ()
    match control:
        case RateControl.ICQ | RateControl.ICQ_LOW_POWER:
            return (*low_power, "-rc_mode", "ICQ", "-global_quality", quality)
        case RateControl.QVBR | RateControl.QVBR_LOW_POWER:
            return (*low_power, "-rc_mode", "QVBR", "-global_quality", quality, *bits)
        case RateControl.CQP | RateControl.CQP_LOW_POWER:
            return (*low_power, "-rc_mode", "CQP", "-qp", quality)
        case RateControl.VBR | RateControl.VBR_LOW_POWER:
            return (*low_power, "-rc_mode", "VBR", *bits)
        case _:
            raise ValueError(f"VA-API has no rate control {control}")


def _bits(picture: Picture) -> tuple[str, ...]:
    return ("-b:v", str(picture.bits_per_s), "-maxrate", str(2 * picture.bits_per_s))
