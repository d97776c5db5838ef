"""What a machine has to encode with, as it was seen, and which of its devices a rung may try.

The looking itself is `archiverd/media/hardware.py`; paths here are absolute.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from archiverd.policy.machine import AMD, NVIDIA, RenderNode
from archiverd.policy.rungs import Rung

_VERSION = re.compile(r"^ffmpeg version (\S+)", re.MULTILINE)
_FLAGS = re.compile(r"^\s*configuration: (.*)$", re.MULTILINE)
_LIBAVCODEC = re.compile(r"^libavcodec\s+(\d+)\.", re.MULTILINE)
_RELEASE = re.compile(r"n?(\d+)(\.|$)")
_ID = re.compile(r'^ID(?:_LIKE)?="?([^"\n]*)"?$', re.MULTILINE)
_AVCODEC_OF_5 = 59  # ffmpeg 5 has libavcodec 59, 6 has 60, and so on

_QSV_FLAGS = frozenset({"--enable-libmfx", "--enable-libvpl", "--enable-libonevpl"})


class Place(StrEnum):
    """Where archiverd runs, as far as it can tell: that decides how a device is handed to it."""

    MACHINE = "machine"
    GUEST = "virtual machine"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """An ffmpeg as it tells of itself. `major` is 0 where it does not say."""

    path: str
    version: str = ""
    major: int = 0
    flags: tuple[str, ...] = ()  # --enable-… and --disable-… of its configuration; none where it does not tell them

    @property
    def has_qsv(self) -> bool | None:
        """Whether it was built with Quick Sync; None where it does not tell."""
        return not _QSV_FLAGS.isdisjoint(self.flags) if self.flags else None

    @property
    def words(self) -> str:
        built = {True: "with Quick Sync", False: "without Quick Sync", None: "how it was built it does not tell"}
        return f"ffmpeg {self.version or 'of an unknown version'} ({self.path}; {built[self.has_qsv]})"


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a machine has to encode with. What could not be seen is empty."""

    ffmpeg: Ffmpeg = Ffmpeg("ffmpeg")
    nodes: tuple[RenderNode, ...] = ()
    va_drivers: tuple[str, ...] = ()  # iHD, i965, radeonsi, …
    runtimes: tuple[str, ...] = ()  # the libraries behind Quick Sync
    kernel: str = ""  # its release
    guc: str = ""  # i915's enable_guc; only root may read it
    distribution: str = ""  # "debian" for all that install with apt
    place: Place = Place.MACHINE
    user: str = ""  # that archiverd runs as
    others: tuple[PurePosixPath, ...] = ()  # render nodes that are there, and that it may not use

    def node(self, path: str) -> RenderNode | None:
        """The node at a path, where it was seen."""
        return next((node for node in self.nodes if str(node.path) == path), None)


def parse_version(path: str, text: str) -> Ffmpeg:
    """Read what `ffmpeg -version` prints.

    A build from git has a name in place of a number (N-118315-g0a1b2c3d4e); there libavcodec's version tells.
    """
    version = _first(_VERSION, text)
    release = _RELEASE.match(version)
    avcodec = _first(_LIBAVCODEC, text)
    major = int(release[1]) if release else 0
    if not release and avcodec:
        major = max(0, int(avcodec) - _AVCODEC_OF_5 + 5)
    flags = tuple(word for word in _first(_FLAGS, text).split() if word.startswith(("--enable-", "--disable-")))
    return Ffmpeg(path, version, major, flags)


def distribution_of(os_release: str) -> str:
    """The family of a distribution by its /etc/os-release: "debian", or its own ID. Source: os-release(5)."""
    ids = [word for line in _ID.findall(os_release) for word in line.split()]
    return "debian" if {"debian", "ubuntu"} & set(ids) else next(iter(ids), "")


def candidates(rung: Rung, nodes: Sequence[RenderNode]) -> list[RenderNode]:
    """The nodes a rung may work on, the likeliest first. A vendor that is not known is tried: a container hides it."""
    if not rung.on_device:
        return []
    if rung is Rung.VAAPI:
        # NVIDIA's have no VA driver of the maker's, and the one there is does not encode.
        return sorted(nodes, key=lambda node: (node.vendor == NVIDIA, node.vendor != AMD and not node.is_intel))
    return sorted((node for node in nodes if node.is_intel or not node.vendor), key=lambda node: not node.is_intel)


def va_driver(rung: Rung, va_drivers: Sequence[str]) -> str:
    """The VA driver to name on a rung; "" leaves it to libva, which goes by the kernel's.

    Quick Sync stands on iHD alone, where libva may take i965 first.
    """
    if rung in (Rung.QSV, Rung.QSV_ENCODE) and "iHD" in va_drivers:
        return "iHD"
    return ""


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
