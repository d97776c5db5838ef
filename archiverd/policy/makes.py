"""How the cameras of common makes name what they upload: data for `name_patterns`, each with where it was read.

A component that any directory may stand for begins with neither `.`, `@` nor `#`: those hide the trash and the
previews of desktops and of network storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from archiverd.policy.naming import CANONICAL_STEM


@dataclass(frozen=True, slots=True)
class Make:
    """One make of cameras: its word in `names`, its form for people, and its patterns, the likeliest first."""

    word: str
    form: str
    patterns: tuple[str, ...]


_ANY = r"[^.@#].*"

# The directory's date need not be the clip's: what a camera records across midnight lies with the day it was sent.
_REOLINK = Make(
    "reolink",
    "YYYY/MM/DD/[REO_]<camera>_<YYYYMMDDHHMMSS>",
    (rf"(?P<year>[0-9]{{4}})/(?P<month>[0-9]{{2}})/(?P<day>[0-9]{{2}})/{CANONICAL_STEM}",),
)

# User manuals of Hikvision cameras, "FTP": nothing, the device, or the device and the camera may be chosen as
# directories. Names as they are read by programs that receive them (HikVision FTP file name samples): address or
# prefix and serial number, channel, time to the millisecond, event.
_HIKVISION_STEM = r"(?P<camera>.+)_(?P<stamp>[0-9]{14})(?:[0-9]{3})?_[A-Za-z][A-Za-z0-9_-]*"
_HIKVISION = Make(
    "hikvision",
    "[<device>/[<camera>/]]<address>_<channel>_<YYYYMMDDHHMMSS>[mmm]_<EVENT>",
    (_HIKVISION_STEM, f"{_ANY}/{_HIKVISION_STEM}", f"{_ANY}/{_ANY}/{_HIKVISION_STEM}"),
)

# As programs that receive them read them: `2019-05-09/001/dav/21/21.04.49-21.05.14[M][0@0][0].mp4`, and of pictures
# `001/jpg/18/53/29[M][0@0][0].jpg`, `001/jpg/08/25.03[M]…`, `001/jpg/14/14.03.11[M]…`, `06hour/jpg/06.56.37[M]…`.
# Above the date stand the serial number, the directory that was set in the camera, both, or nothing; recorders that
# export or upload by themselves write `<recorder>_ch1_main_<begin>_<end>`.
_DATE = r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
_MARKS = r"\[[A-Z]+\](?:\[[0-9@]+\])*"
_BEGIN = r"(?P<time>[0-9]{2}\.[0-9]{2}\.[0-9]{2})"
_END = r"(?:-[0-9]{2}\.[0-9]{2}\.[0-9]{2})?"
_HOUR, _MINUTE, _SECOND = (rf"(?P<{unit}>[0-9]{{2}})" for unit in ("hour", "minute", "second"))
_CHANNEL = r"(?:pic_)?(?P<camera>[0-9]{3})"
_NO_DATE = r"(?![0-9]{4}-[0-9]{2}-[0-9]{2}\Z)"
_ABOVE = ("", f"{_NO_DATE}(?P<camera>{_ANY})/", f"(?P<camera>{_ANY})/{_NO_DATE}(?P<camera>{_ANY})/")
_BELOW_DATE = (
    rf"{_CHANNEL}/(?:dav|jpg)/[0-9]{{2}}/{_BEGIN}{_END}{_MARKS}",
    rf"{_CHANNEL}/jpg/{_HOUR}/{_MINUTE}/{_SECOND}{_MARKS}",
    rf"{_CHANNEL}/jpg/{_HOUR}/{_MINUTE}\.{_SECOND}{_MARKS}",
    rf"{_CHANNEL}/{_HOUR}/{_MINUTE}/{_SECOND}{_MARKS}",
)
_HOURLY = rf"[0-9]{{2}}hour/(?:dav|mp4|jpg)/{_BEGIN}{_END}{_MARKS}"
_EXPORTED = r"(?P<camera>.+_ch[0-9]+)_(?:main|sub[0-9]?|extra[0-9]?)_(?P<stamp>[0-9]{14})_[0-9]{14}"
_DAHUA = Make(
    "dahua",
    "[<directory>/][<serial>/]YYYY-MM-DD/<channel>/dav/HH/HH.MM.SS-HH.MM.SS[M][0@0][0]",
    (
        *(f"{above}{_DATE}/{below}" for above in _ABOVE for below in _BELOW_DATE),
        *(f"{above}{_DATE}/{_HOURLY}" for above in _ABOVE[1:]),
        *(f"{directories}{_EXPORTED}" for directories in ("", f"{_ANY}/", f"{_ANY}/{_ANY}/")),
    ),
)

MAKES: Mapping[str, Make] = MappingProxyType({make.word: make for make in (_REOLINK, _HIKVISION, _DAHUA)})
"""The makes by their words."""
