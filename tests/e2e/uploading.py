"""Cameras that upload to an FTP server, in all the ways they do: at once, slowly, broken off, taken up again."""

from __future__ import annotations

import contextlib
import ftplib
import hashlib
import io
import socket
import struct
import textwrap
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import PurePosixPath

from tests.e2e.rig import Rig, Upload, content, picture
from tests.screen import until
from tools import damage, footage

PAUSE_S = 2.5  # of an upload that is taken up again: longer than `settle_closed`, shorter than `quarantine_after`
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset
_PATIENCE_S = 120
_FRAGMENTED = footage.Clip("e2e-fragmented", 160, 120, "10", 1.5, layout="fragmented", crf=12, noise=8)
_MOOV_FIRST = footage.Clip("e2e-moov-first", 160, 120, "10", 0.5, layout="moov_first", crf=12, noise=8)


class Way(StrEnum):
    """How a clip is uploaded. Those come first that would be worked on in their pause, if they were taken for whole."""

    CUT_RESUMED = "fragmented, ends between two fragments, and is taken up again"
    APPENDED = "broken off at half, taken up again with APPE"
    RESTARTED = "broken off at half, taken up again with REST and STOR"
    REPLACED_DURING = "another clip comes under the same name while the first is transcoded"
    REPLACED_AFTER = "another clip comes under the same name when the first is archived"
    CUT = "fragmented, ends between two fragments, for good"
    BROKEN_OFF = "the connection is closed at half, for good"
    RESET = "the connection is reset at half, for good"
    SLOW = "a little now and then, the file closed several times, as while the camera records"
    AT_ONCE = "as it should be"


class Gate:
    """Holds the transcode of some clips, in the fake that stands before ffmpeg, until something was done."""

    _HOLD = """
    if transcoding:
        import json
        told = next(word for word in arguments if word.startswith("archiverd={{"))
        gate = os.path.join({folder!r}, os.path.basename(json.loads(told.partition("=")[2])["source"]))
        if os.path.exists(gate):
            os.rename(gate, gate + ".reached")
            until = time.monotonic() + {patience_s}
            while not os.path.exists(gate + ".open") and time.monotonic() < until:
                time.sleep(0.01)
    """

    def __init__(self, rig: Rig, more: str = "", *, patience_s: float = _PATIENCE_S) -> None:
        """`more`: what else the fake is to do, see `Rig.fake_ffmpeg`. No wait is longer than `patience_s`."""
        self.patience_s = patience_s
        self._folder = rig.base / "gates"
        self._folder.mkdir()
        hold = self._HOLD.format(folder=str(self._folder), patience_s=patience_s)
        rig.fake_ffmpeg(textwrap.dedent(hold) + textwrap.dedent(more))

    def close(self, path: PurePosixPath) -> None:
        """Hold the next transcode of a clip."""
        (self._folder / path.name).touch()

    def reached(self, path: PurePosixPath) -> bool:
        """Whether that transcode has begun, and is held."""
        return (self._folder / f"{path.name}.reached").exists()

    def open(self, path: PurePosixPath) -> None:
        """Let it go on."""
        (self._folder / f"{path.name}.open").touch()


class Cameras:
    """Uploads clips through one server, from any thread, and knows what is to become of each.

    `rig.uploads` are the contents that stood whole under their names for long enough: each is to be archived.
    """

    def __init__(self, rig: Rig, port: int, gate: Gate) -> None:
        self._rig = rig
        self._port = port
        self._gate = gate
        self._noted = threading.Lock()
        self.overwritten: set[str] = set()  # contents that the camera itself destroyed before they were archived
        self.partial: dict[PurePosixPath, str] = {}  # what is left of an upload that broke off for good
        self.cut: list[Upload] = []  # that nothing but time tells from whole ones

    def upload(self, way: Way, path: PurePosixPath) -> None:
        """Upload a snapshot and a clip, whose content is of this path alone."""
        self._snapshot(path.with_suffix(".jpg"))
        self._ways()[way](path)

    def _ways(self) -> dict[Way, Callable[[PurePosixPath], None]]:
        return {
            Way.REPLACED_DURING: self._replaced_during,
            Way.REPLACED_AFTER: self._replaced_after,
            Way.CUT: self._cut,
            Way.CUT_RESUMED: self._cut_resumed,
            Way.BROKEN_OFF: lambda path: self._broken_off(path, reset=False),
            Way.RESET: lambda path: self._broken_off(path, reset=True),
            Way.APPENDED: lambda path: self._resumed(path, append=True),
            Way.RESTARTED: lambda path: self._resumed(path, append=False),
            Way.SLOW: self._slow,
            Way.AT_ONCE: self._at_once,
        }

    # -- the ways -----------------------------------------------------------------------------------------

    def _at_once(self, path: PurePosixPath) -> None:
        self._store_whole(path, _clip(path))

    def _slow(self, path: PurePosixPath) -> None:
        data = _clip(path)
        third = len(data) // 3 + 1
        self._trickle(f"STOR {path}", data[:third])
        self._trickle(f"APPE {path}", data[third : 2 * third])
        self._trickle(f"APPE {path}", data[2 * third :])
        self._is_whole(path, data)

    def _trickle(self, command: str, part: bytes) -> None:
        quarter = len(part) // 4 + 1
        with self._connected() as ftp:
            with self._transfer(ftp, command) as connection:
                for at in range(0, len(part), quarter):
                    connection.sendall(part[at : at + quarter])
                    _pause(0.1)
            ftp.voidresp()

    def _broken_off(self, path: PurePosixPath, *, reset: bool) -> None:
        self.partial[path] = self._half(path, _clip(path), reset=reset)

    def _resumed(self, path: PurePosixPath, *, append: bool) -> None:
        data = _clip(path)
        self._half(path, data, reset=append)
        _pause(PAUSE_S)
        with self._connected() as ftp:
            there = ftp.size(str(path)) or 0
            rest = io.BytesIO(data[there:])
            if append:
                ftp.storbinary(f"APPE {path}", rest)
            else:
                ftp.storbinary(f"STOR {path}", rest, rest=there)
        self._is_whole(path, data)

    def _cut(self, path: PurePosixPath) -> None:
        data = damage.cut_between_fragments(_fragmented(path), 2)
        self._store_whole(path, data)
        self.cut.append(Upload(path, _sha256(data)))

    def _cut_resumed(self, path: PurePosixPath) -> None:
        data = _fragmented(path)
        first = damage.cut_between_fragments(data, 2)
        self._store(path, first)
        _pause(PAUSE_S)
        with self._connected() as ftp:
            ftp.storbinary(f"APPE {path}", io.BytesIO(data[len(first) :]))
        self._is_whole(path, data)

    def _replaced_during(self, path: PurePosixPath) -> None:
        self._gate.close(path)
        self._store_whole(path, _clip(path))
        until(lambda: self._gate.reached(path), self._gate.patience_s)
        self._store_whole(path, _clip(path, "another"))
        self.overwritten.add(_sha256(_clip(path)))
        self._gate.open(path)

    def _replaced_after(self, path: PurePosixPath) -> None:
        self._store_whole(path, _clip(path))
        until(lambda: not (self._rig.camera / path).exists(), self._gate.patience_s)
        self._store_whole(path, _clip(path, "another"))

    # -- FTP ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connected(self) -> Iterator[ftplib.FTP]:
        with ftplib.FTP() as ftp:
            ftp.connect("127.0.0.1", self._port, timeout=60)
            ftp.login()
            ftp.voidcmd("TYPE I")
            yield ftp

    def _snapshot(self, path: PurePosixPath) -> None:
        data = picture("ftp").read_bytes() + str(path).encode()
        with self._connected() as ftp:
            for directory in list(path.parents)[-2::-1]:
                with contextlib.suppress(ftplib.error_perm):  # it is there
                    ftp.mkd(str(directory))
            ftp.storbinary(f"STOR {path}", io.BytesIO(data))
        with self._noted:
            self._rig.snapshots[path] = _sha256(data)

    def _store(self, path: PurePosixPath, data: bytes) -> None:
        with self._connected() as ftp:
            ftp.storbinary(f"STOR {path}", io.BytesIO(data))

    def _store_whole(self, path: PurePosixPath, data: bytes) -> None:
        self._store(path, data)
        self._is_whole(path, data)

    def _half(self, path: PurePosixPath, data: bytes, *, reset: bool) -> str:
        """Break off an upload at half; what the server kept of it stands closed then. Returns its SHA-256."""
        half, file = data[: len(data) // 2], self._rig.camera / path
        with self._connected() as ftp:
            with self._transfer(ftp, f"STOR {path}") as connection:
                connection.sendall(half)
                until(
                    lambda: file.exists() and file.stat().st_size == len(half), 60
                )  # a reset drops what is on the way
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            ftp.close()
        return _sha256(half)

    @contextlib.contextmanager
    def _transfer(self, ftp: ftplib.FTP, command: str) -> Iterator[socket.socket]:
        with ftp.transfercmd(command) as connection:
            yield connection

    def _is_whole(self, path: PurePosixPath, data: bytes) -> None:
        with self._noted:
            self._rig.uploads.append(Upload(path, _sha256(data)))


def _clip(path: PurePosixPath, which: str = "") -> bytes:
    """A clip of this path alone: a box that players skip tells it from the others. Every second has `moov` first."""
    whole = footage.cached(_MOOV_FIRST) if _sha256(str(path).encode()) < "8" else content("ftp")
    return whole.read_bytes() + _tell(path, which)


def _fragmented(path: PurePosixPath) -> bytes:
    """A fragmented one, its index at the end. What tells it apart stands in front, and in a part of it too."""
    data = damage.clip(_FRAGMENTED)
    end = damage.boxes(data)[0][2]
    return data[:end] + _tell(path) + data[end:]


def _tell(path: PurePosixPath, which: str = "") -> bytes:
    return damage.box(b"free", f"{path} {which}".encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
