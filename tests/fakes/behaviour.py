"""What becomes of a call that the machine takes: works, or one of the ways a device has of not working."""

from __future__ import annotations

import os
import signal
import sys

from tests.fakes import refusals

TYPE_CHECKING = False  # as mypy takes it without `typing`, which a call would pay for
if TYPE_CHECKING:
    from typing import Any  # JSON

_FLOOD_LINE = "[{encoder} @ 0x5581a2c3d4e0] Error during encoding: device busy (2), frame {number}\n"
_FOREVER_S = 3600


class Work:
    """Who does the work, and as whom."""

    __slots__ = ("encoder", "real", "rung", "version")

    def __init__(self, real: str, version: str, rung: str, encoder: str) -> None:
        self.real = real
        self.version = version
        self.rung = rung
        self.encoder = encoder


def act(work: Work, told: dict[str, Any], words: list[str]) -> None:
    """Do what a script says, with a command line that works. Does not return."""
    if told.get("flood_mib"):
        _flood(work, told["flood_mib"])
    words = _changed(told, words)
    if told["kind"] == "works":
        os.execv(work.real, ["ffmpeg", *words])  # noqa: S606  (there is no shell to be had)
    if told["kind"] == "hangs":
        _heed_signals(ignores_sigterm=told["ignores_sigterm"])
    code = 0
    if told.get("after") is not None:
        code = _run(work, _first_frames(words, told["after"]), ends=told["kind"] in ("fails", "says"))
    if told["kind"] == "hangs":
        _hang()
    if told["kind"] == "dies":
        os.kill(os.getpid(), told["signal"])
    if told["kind"] == "cuts":
        _cut(words[-1], told["bytes"])
        sys.exit(code)
    text, code = _last_words(work, told)
    sys.stderr.write(refusals.put_in(text, _of_this_call(work, words)))
    sys.exit(code)


def _changed(told: dict[str, Any], words: list[str]) -> list[str]:
    """The command line with another picture, fewer frames or more bytes."""
    changed = list(words)
    if told.get("filter") and "-vf" in changed:
        changed[changed.index("-vf") + 1] += f",{told['filter']}"
    elif told.get("filter"):
        changed[-1:-1] = ["-vf", told["filter"]]
    if told.get("options"):
        changed[-1:-1] = told["options"]
    return changed


def _first_frames(words: list[str], after: int) -> list[str]:
    """`after` frames of it, or all of it for 0."""
    return [*words[:-1], *(["-frames:v", str(after)] if after else []), words[-1]]


def _run(work: Work, words: list[str], *, ends: bool) -> int:
    """Run the real program. Unless it `ends`, its last line of progress says that it goes on."""
    import subprocess  # noqa: PLC0415  (half of what a call costs, and only here)

    with subprocess.Popen((work.real, *words), stdout=subprocess.PIPE, close_fds=False) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.buffer.write(line if ends else line.replace(b"progress=end", b"progress=continue"))
            sys.stdout.buffer.flush()
    return process.returncode


def _heed_signals(*, ignores_sigterm: bool) -> None:
    stop = signal.SIG_IGN if ignores_sigterm else lambda *_: os._exit(255)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _hang() -> None:
    """Do nothing, for longer than anybody waits: then the alarm ends it."""
    signal.alarm(_FOREVER_S)
    while True:
        signal.pause()


def _cut(url: str, count: int) -> None:
    """Take the last bytes off the output."""
    path = url.removeprefix("file:")
    os.truncate(path, max(0, os.stat(path).st_size - count))


def _flood(work: Work, mib: int) -> None:
    """Fill stderr. Whoever does not read it has us hang here."""
    written = number = 0
    while written < mib << 20:
        number += 1
        written += sys.stderr.write(_FLOOD_LINE.format(encoder=work.encoder, number=number))


def _last_words(work: Work, told: dict[str, Any]) -> tuple[str, int]:
    if "text" in told:
        return told["text"], told["code"]
    return refusals.kept(work.version, told["rung"] or work.rung, told["situation"])


def _of_this_call(work: Work, words: list[str]) -> dict[str, str]:
    family = work.encoder.rpartition("_")[2]
    return {f"hevc_{family}": work.encoder, "file:out.mp4": words[-1], "file:full/out.mp4": words[-1]}
