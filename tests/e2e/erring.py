"""Every call of archiverd's own to the kernel that is about its files, and one of them answered with an error.

A first run under strace lists the calls; each is a point at which another run gets an error. Only the main thread is
traced: it does all that is done to the trees and the catalog, and ffmpeg goes its way untouched. What it looks at is
listed apart from what it changes, by path, for Python opens and reads files of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

CHANGES = (
    "pwrite64", "write", "ftruncate", "fallocate", "fsync", "fdatasync", "mkdir", "mkdirat", "rmdir", "rename",
    "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "fchmod", "fchown", "utimensat",
)  # fmt: skip
LOOKS = ("openat", "pread64", "read", "getdents64", "newfstatat", "flock")

_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?)[0-9a-f?x]+")
_NOISE = (
    (re.compile(r"\b\d+(?=<)"), ""),  # the numbers of handles
    (re.compile(r"(?<=archiverd-)[0-9a-f]{8,}(?:-[0-9a-f]+)?"), "*"),
    (re.compile(r"(?<=\.)[0-9a-f]{16}(?=\.new)"), "*"),
    (re.compile(r" /\*.*?\*/"), ""),
    (re.compile(r"\{.*?\}+|0x[0-9a-f]+|\[\.\.\.\]"), "…"),
    (re.compile(r'""(?:\.\.\.)?'), "…"),
)
_DATES = ((re.compile(r"/\d{4}(?:/\d\d){0,2}(?=[>/])"), "/DATE"), (re.compile(r'"\d{4}"|"\d\d"'), '"DATE"'))
_TIME = re.compile(r"(?<=_)\d{14}")
_NUMBERS = re.compile(r"(?<=…)(?:, \d+)+$")


@dataclass(frozen=True, slots=True)
class Call:
    """One call, the `number`-th of its name; `what` it is about: its arguments, without what differs in each run.

    `after` is the name of the call before it. `commits`: how many of the catalog were made before it, and `to_come`:
    how many after, till the end of the run.
    """

    name: str
    number: int
    what: str
    failed: bool  # as it is
    after: str
    commits: int
    to_come: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.number}, with {self.to_come} commits to come: {self.what}"

    @property
    def is_look(self) -> bool:
        return self.name in LOOKS

    @property
    def site(self) -> tuple[str, str]:
        """What it has in common with all calls of its kind: in another directory of a date, at another offset."""
        what = _TIME.sub("TIME", _NUMBERS.sub("", self.what))
        for date, instead in _DATES:
            what = date.sub(instead, what)
        return self.name, what


def listening(record: Path, calls: Iterable[str], paths: Sequence[Path] = ()) -> tuple[str, ...]:
    """The strace that lists calls, where there are `paths` only those about them; `-p` and a process are to follow."""
    about = tuple(word for path in paths for word in ("-P", str(path)))
    return ("strace", "-y", "-s0", "-o", str(record), *about, "-e", f"trace={','.join(calls)}")


def erring(record: Path, call: Call, error: str, paths: Sequence[Path], *, lasting: bool = False) -> tuple[str, ...]:
    """The strace that answers one call with an error; `lasting`: and all later ones of its name."""
    fault = f"inject={call.name}:error={error}:when={call.number}{'+' if lasting else ''}"
    return (*listening(record, (call.name,), paths if call.is_look else ()), "-e", fault)


def listed(record: Path, base: Path, journal: Path) -> list[Call]:
    """The calls of a record, in their order. A commit ends with the removal of the journal."""
    seen: Counter[str] = Counter()
    found: list[Call] = []
    commits, before = 0, ""
    end_of_commit = f'"{plain(str(journal), base)}"'
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, arguments, sign = match.groups()
        seen[name] += 1
        found.append(Call(name, seen[name], plain(arguments, base), bool(sign), before, commits))
        commits += name == "unlink" and found[-1].what == end_of_commit
        before = name
    return [replace(call, to_come=commits - call.commits) for call in found]


def plain(arguments: str, base: Path) -> str:
    """The arguments of a call without what differs in each run."""
    text = arguments.replace(str(base), "ROOT")
    for noise, instead in _NOISE:
        text = noise.sub(instead, text)
    return text.strip()


def injected(record: Path, base: Path) -> list[str]:
    """What the calls were about that got an error."""
    lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
    return [plain(match[2], base) for line in lines if line.endswith("(INJECTED)") and (match := _LINE.match(line))]
