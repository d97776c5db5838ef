"""The rungs, their rate controls, and which clips they take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archiverd.policy.clip_info import ClipInfo, Stream, StreamKind
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.fitness import kind_for, unfit
from archiverd.policy.rungs import Kind, RateControl, Rung, rate_controls

H264 = Stream(0, StreamKind.VIDEO, "h264", 30, 0.0, 2.0, 0.1, "v", width=1920, height=1080, pix_fmt="yuv420p")
HEVC = replace(H264, codec="hevc")
HEVC_10 = replace(HEVC, pix_fmt="yuv420p10le")
H264_10 = replace(H264, pix_fmt="yuv420p10le")
MJPEG = replace(H264, codec="mjpeg", pix_fmt="yuvj420p")
COLOURFUL = replace(HEVC, pix_fmt="yuv444p")
TO_HEVC, TO_H264 = EncodeSettings("hevc", 26, "fast"), EncodeSettings("h264", 23, "fast")
ON_DEVICE = (Rung.QSV, Rung.QSV_ENCODE, Rung.VAAPI)


def why(rung: Rung, video: Stream, settings: EncodeSettings = TO_HEVC) -> str:
    return unfit(rung, settings, ClipInfo((video,), 2.0, {}, ()))


# ---- rate controls


@pytest.mark.parametrize(
    ("rung", "controls"),
    [
        (Rung.QSV, "icq; icq, full power; qvbr; cqp"),
        (Rung.QSV_ENCODE, "icq; icq, full power; qvbr; cqp"),
        (
            Rung.VAAPI,
            "icq; icq, low power; qvbr; qvbr, low power; cqp; cqp, low power; vbr; vbr, low power",
        ),
        (Rung.SOFTWARE, "crf"),
    ],
)
def test_rate_controls_are_tried_in_order(rung: Rung, controls: str) -> None:
    assert "; ".join(rate_controls(rung)) == controls


@pytest.mark.parametrize("control", RateControl)
def test_low_power_is_asked_for_by_name(control: RateControl) -> None:
    assert control.low_power == control.name.endswith("_LOW_POWER")


# ---- which probe answers


@pytest.mark.parametrize(
    ("video", "qsv", "qsv_encode", "vaapi", "software"),
    [
        pytest.param(H264, Kind.H264, Kind.H264, Kind.H264, Kind.H264, id="h264"),
        pytest.param(HEVC, Kind.HEVC, Kind.H264, Kind.H264, Kind.H264, id="hevc: software decodes it alike"),
        pytest.param(HEVC_10, Kind.HEVC_10, Kind.HEVC_10, Kind.HEVC_10, Kind.HEVC_10, id="hevc of 10 bits"),
        pytest.param(H264_10, None, Kind.HEVC_10, Kind.HEVC_10, Kind.HEVC_10, id="h264 of 10 bits"),
        pytest.param(MJPEG, None, Kind.H264, Kind.H264, Kind.H264, id="a codec without a decoder in hardware"),
        pytest.param(COLOURFUL, None, None, None, Kind.H264, id="4:4:4"),
        pytest.param(replace(HEVC, pix_fmt=""), None, None, None, Kind.H264, id="a format nobody tells"),
    ],
)
def test_kind_for_a_clip(
    video: Stream, qsv: Kind | None, qsv_encode: Kind | None, vaapi: Kind | None, software: Kind
) -> None:
    assert [kind_for(rung, video) for rung in Rung] == [qsv, qsv_encode, vaapi, software]


# ---- which clips a rung takes


@pytest.mark.parametrize("rung", Rung)
@pytest.mark.parametrize("settings", [TO_HEVC, TO_H264], ids=lambda settings: settings.codec)
@pytest.mark.parametrize("video", [H264, HEVC, replace(H264, pix_fmt="yuvj420p"), replace(H264, pix_fmt="nv12")])
def test_usual_clip_fits_every_rung(rung: Rung, settings: EncodeSettings, video: Stream) -> None:
    assert why(rung, video, settings) == ""


@pytest.mark.parametrize("settings", [TO_HEVC, TO_H264], ids=lambda settings: settings.codec)
@pytest.mark.parametrize("video", [HEVC_10, H264_10, MJPEG, COLOURFUL, replace(H264, width=101, height=55)])
def test_software_takes_everything(video: Stream, settings: EncodeSettings) -> None:
    assert why(Rung.SOFTWARE, video, settings) == ""


@pytest.mark.parametrize("rung", ON_DEVICE)
@pytest.mark.parametrize(
    ("video", "settings", "reason"),
    [
        pytest.param(
            COLOURFUL, TO_HEVC, "it has pixels of yuv444p, and devices take 4:2:0 of 8 or 10 bits", id="4:4:4"
        ),
        pytest.param(
            replace(HEVC, pix_fmt="yuv420p12le"), TO_HEVC,
            "it has pixels of yuv420p12le, and devices take 4:2:0 of 8 or 10 bits", id="12 bits",
        ),
        pytest.param(
            replace(HEVC, pix_fmt=""), TO_HEVC,
            "it has pixels of an unknown format, and devices take 4:2:0 of 8 or 10 bits", id="a format nobody tells",
        ),
        pytest.param(HEVC_10, TO_H264, "it has 10 bits, and devices write H.264 of 8 only", id="10 bits to h264"),
        pytest.param(
            replace(H264, width=641), TO_HEVC, "its pictures are 641x1080, and devices take even sizes", id="odd width"
        ),
        pytest.param(
            replace(H264, height=361), TO_HEVC, "its pictures are 1920x361, and devices take even sizes",
            id="odd height",
        ),
        pytest.param(
            replace(H264, width=160, height=120), TO_HEVC,
            "its archive would be 160x120, and devices write 128x128 and more", id="too small",
        ),
        pytest.param(
            replace(HEVC, width=4608, height=1728), TO_H264,
            "its archive would be 4608x1728, and devices write H.264 of up to 4096x4096", id="too wide for H.264",
        ),
        pytest.param(
            replace(HEVC, width=8194, height=1728), TO_HEVC,
            "its archive would be 8194x1728, and devices write HEVC of up to 8192x8192", id="too wide",
        ),
    ],
)  # fmt: skip
def test_clip_that_no_device_takes_is_told_why(
    rung: Rung, video: Stream, settings: EncodeSettings, reason: str
) -> None:
    assert why(rung, video, settings) == reason


@pytest.mark.parametrize("rung", ON_DEVICE)
@pytest.mark.parametrize(("width", "height"), [(128, 128), (4096, 2160), (4096, 4096)])
def test_clip_at_the_edge_of_what_devices_take_fits(rung: Rung, width: int, height: int) -> None:
    assert why(rung, replace(H264, width=width, height=height), TO_H264) == ""


@pytest.mark.parametrize(
    ("video", "reason"),
    [
        (MJPEG, "Quick Sync is asked to decode H.264 and HEVC only, and this is mjpeg"),
        (replace(MJPEG, codec=""), "Quick Sync is asked to decode H.264 and HEVC only, and this is an unknown codec"),
        (H264_10, "it is H.264 of 10 bits, which Quick Sync does not decode"),
        (replace(H264, width=4608, height=1728), "it is H.264 of 4608x1728, and Quick Sync decodes up to 4096x4096"),
        (replace(H264, width=96, height=96), "its archive would be 96x96, and devices write 128x128 and more"),
    ],
)
def test_clip_that_quick_sync_does_not_decode_is_told_why(video: Stream, reason: str) -> None:
    assert why(Rung.QSV, video) == reason


@pytest.mark.parametrize("rung", [Rung.QSV_ENCODE, Rung.VAAPI])
@pytest.mark.parametrize("video", [MJPEG, H264_10, replace(H264, width=4608, height=1728)])
def test_what_only_the_decoder_refuses_fits_where_software_decodes(rung: Rung, video: Stream) -> None:
    assert why(rung, video) == ""


@pytest.mark.parametrize("rung", [Rung.QSV_ENCODE, Rung.VAAPI])
def test_picture_counts_as_it_is_scaled(rung: Rung) -> None:
    wide = replace(HEVC, width=4608, height=1728)
    assert why(rung, wide, replace(TO_H264, max_height=1080)) == ""
    assert why(rung, replace(wide, height=1729), replace(TO_H264, max_height=1080)) != ""


@pytest.mark.parametrize(
    ("rung", "video", "max_height", "fits"),
    [
        (Rung.QSV, replace(H264, color_range="pc"), 240, False),
        (Rung.QSV, replace(HEVC, pix_fmt="yuvj420p"), 240, False),
        (Rung.QSV, replace(H264, color_range="pc"), None, True),
        (Rung.QSV, replace(H264, color_range="pc"), H264.height, True),
        (Rung.QSV, H264, 240, True),
        (Rung.QSV_ENCODE, replace(H264, color_range="pc"), 240, True),
        (Rung.VAAPI, replace(H264, color_range="pc"), 240, True),
    ],
)
def test_full_range_is_not_scaled_by_quick_sync(rung: Rung, video: Stream, max_height: int | None, fits: bool) -> None:
    reason = why(rung, video, replace(TO_HEVC, max_height=max_height))
    assert reason == (
        "" if fits else "it has the full range and is to be scaled down, which Quick Sync does not do well"
    )


@pytest.mark.parametrize("rung", ON_DEVICE)
def test_clip_without_video_fits_no_device(rung: Rung) -> None:
    assert unfit(rung, TO_HEVC, ClipInfo((), 2.0, {}, ())) == "it has no video"
