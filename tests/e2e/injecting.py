"""The durable system calls of a program, one by one and in order, and the strace that strikes at one of them.

First the program is run to its end under `listening`, and `calls` reads what strace wrote down. Then each run under
`striking` meets its fault at one of these calls: a signal comes before the call is made, an error instead of it.
`struck` says where it did.

strace counts a call for each thread by itself. What becomes another program is let go of: what ffmpeg does is no call
of ours. Files are opened, and lines are written, in numbers that differ from run to run; these calls are counted
among those that concern one path.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# All that changes what stands on a disk, or brings it there. Of the opened files those that may be made by it.
DURABLE = (
    "openat", "creat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range",
    "fallocate", "ftruncate", "truncate", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range",
    "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat",
    "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "utimensat", "chmod", "fchmod", "fchmodat",
    "chown", "fchown", "fchownat", "setxattr", "fsetxattr", "removexattr", "fremovexattr",
)  # fmt: skip

_COUNTED_WITHIN = ("openat", "write")
_MAKING = ("O_CREAT", "O_TRUNC", "O_TMPFILE")
_LOG = "archiver.log"  # tells people; nothing goes by it
_LINE = re.compile(r"(?P<thread>\d+) +(?P<name>[a-z]\w+)\((?P<rest>.*)")
_PATHS = re.compile(r'(?P<handle>\w+)<(?P<opened>[^>]*)>|"(?P<named>(?:[^"\\]|\\.)+)"')
_IDS = re.compile(
    r"(?<=\.archiverd-)[0-9a-f]{8}(?=-)|[0-9a-f]{12}(?=s?\d*\.(?:part|gone))|[0-9a-f]{16}(?=\.new)|(?<=/#)\d+|(?<=/fd/)\d+"
)


@dataclass(frozen=True, slots=True)
class Call:
    """A durable call: which one it is, and what it concerns, with the places by their names and no id in it.

    `nth` counts the calls of this name in this thread; where there is a `within`, those that concern that path.
    """

    name: str
    what: str
    nth: int
    within: str
    thread: int
    failed: bool

    def __str__(self) -> str:
        return f"{self.name} {self.nth} of {self.what}"


Places = Mapping[str, Path]  # the name of a directory -> where it stands in this run


def listening(record: Path) -> tuple[str, ...]:
    """What to put before a command to have its durable calls written down."""
    return (*_strace(record), "-e", f"trace={','.join(f'?{name}' for name in DURABLE)}")


def striking(call: Call, places: Places, record: Path, fault: str = "signal=KILL") -> tuple[str, ...]:
    """What to put before a command to have a fault (`signal=…`, `error=…`, `retval=…`, `delay_enter=…`) at a call."""
    inject = ("-e", f"trace={call.name}", "-e", f"inject={call.name}:{fault}:when={call.nth}")
    within = ("-P", _unnamed(call.within, places)) if call.within else ()
    return (*_strace(record), *within, *inject)


def _strace(record: Path) -> tuple[str, ...]:
    # No --seccomp-bpf, which would spare much time: with it strace 6.1 loses the signals it is to send.
    return ("strace", "-f", "-b", "execve", "-qq", "-y", "-s", "0", "-o", str(record))


def calls(record: Path, places: Places) -> list[Call]:
    """The durable calls that concern something in one of the places, in order."""
    return [call for call, _ in _read(record, places)]


def struck(record: Path, places: Places) -> Call | None:
    """The call at which the fault was: of an error the one that says so, else the last that did not return."""
    found = None
    for call, line in _read(record, places):
        if line.endswith("(INJECTED)"):
            return call
        if line.endswith("= ?"):
            found = call
    return found


def reachable(every: Iterable[Call]) -> list[Call]:
    """Those at which `striking` strikes: no other thread makes as many calls of that name before."""
    seen: set[tuple[str, str, int]] = set()
    found = []
    for call in every:
        key = (call.name, call.within, call.nth)
        if key not in seen:
            seen.add(key)
            found.append(call)
    return found


def _read(record: Path, places: Places) -> Iterator[tuple[Call, str]]:
    counted: Counter[tuple[int, str, str]] = Counter()
    threads: dict[str, int] = {}
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, thread = match["name"], threads.setdefault(match["thread"], len(threads))
        arguments, _, result = match["rest"].partition(") = ")
        looked_at, concerned = _paths(arguments)
        within = ""
        counted[thread, name, ""] += 1
        for path in looked_at:
            counted[thread, name, path] += 1
        if name in _COUNTED_WITHIN and looked_at and _IDS.search(looked_at[0]) is None:
            within = looked_at[0]
        named = [_named(path, places) for path in concerned]
        if not _is_durable(name, arguments) or not any(path.startswith("<") for path in named):
            continue
        what = " -> ".join(named)
        if what.endswith(_LOG):
            continue
        yield (
            Call(name, what, counted[thread, name, within], _named(within, places), thread, result.startswith("-1")),
            line,
        )


def _is_durable(name: str, arguments: str) -> bool:
    return name in DURABLE and (name != "openat" or any(flag in arguments for flag in _MAKING))


def _paths(arguments: str) -> tuple[list[str], list[str]]:
    """The paths `-P` goes by, likeliest first, and those the call concerns, names put to their directories."""
    looked_at, concerned = [], []
    directory = None
    for match in _PATHS.finditer(arguments):
        if match["handle"] is not None:
            if directory is not None:
                concerned.append(directory)
            directory = match["opened"]
            if match["handle"] != "AT_FDCWD":
                looked_at.append(directory)
            continue
        looked_at.append(match["named"])
        concerned.append(str(PurePosixPath(directory or "", match["named"])))
        directory = None
    if directory is not None:
        concerned.append(directory)
    return looked_at, concerned


def _named(path: str, places: Places) -> str:
    """With the innermost place by its name, and ids left out."""
    for name, root in sorted(places.items(), key=lambda place: len(str(place[1])), reverse=True):
        if PurePosixPath(path).is_relative_to(root):
            path = f"<{name}>{path.removeprefix(str(root))}"
            break
    return _IDS.sub("…", path)


def _unnamed(path: str, places: Places) -> str:
    name, _, below = path.removeprefix("<").partition(">")
    return f"{places[name]}{below}" if path.startswith("<") else path
