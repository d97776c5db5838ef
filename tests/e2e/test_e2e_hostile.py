"""Uploads that mean harm: scripts that name other files, names that mean something elsewhere, things that are no files.

One tree of them all is run under strace, and so is the same tree with words in place of the scripts: what the two runs
open is the same.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import socket
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archiverd.policy.model import State
from tests.e2e.rig import Rig, content
from tests.outcomes import RecordProperty, tell
from tests.program import (
    ARCHIVERD,
    CHECKOUT,
    NO_CONFIG,
    Standing,
    archiverd,
    once,
    sha256_of,
    standing,
    unmeasured,
)
from tools import damage

DAY = "2026/03/14"
BAIT = "bait.mp4"
# glibc reads it where a thread gives memory back (malloc/arena.c): in which run that comes about is chance.
_OF_THE_ALLOCATOR = '"/proc/sys/vm/overcommit_memory"'
TRACED = "open,openat,openat2,creat,socket,connect,bind,sendto,sendmsg,sendmmsg"

# Each script has a name that means something to a program, too.
NAMES = {
    "m3u8": b"-i_20260314100000",
    "m3u8 over the network": b"http:::127.0.0.1_20260314100100",
    "ffconcat, relative": b"%03d_20260314100200",
    "ffconcat, absolute": b"two\nlines \x1b[2J'\"_20260314100300",
    "SDP": b"caf\xff\xe9_20260314100400",
    "MPD": b"x" * 236 + b"_20260314100500",
}
ALIAS = "clip whose pictures lie in another file"
SPECIAL = {
    "symlink": ("symlink", 1),
    "FIFO": ("FIFO, socket or device", 3),
    "socket": ("FIFO, socket or device", 3),
    "device": ("FIFO, socket or device", 3),
    "directory": ("directory where files belong", 1),
}
OUTCOMES = {**dict.fromkeys(NAMES, "quarantined"), ALIAS: "verbatim", **dict.fromkeys(SPECIAL, "left alone")}


def uploaded_as(name: bytes) -> str:
    return os.fsdecode(name + b".mp4")


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    yesterday = time.time() - 24 * 3600
    os.utime(path, (yesterday, yesterday))


def _populate(root: Path, *, hostile: bool) -> None:
    """The tree; `hostile` or with harmless words where the scripts are, which are as little a clip."""
    day = root / DAY
    day.mkdir(parents=True)
    good = damage.clip(damage.SILENT)
    for bait in (day / BAIT, root.parent / BAIT):
        _write(bait, good)
    for index, (kind, name) in enumerate(NAMES.items()):
        bait = day / BAIT if index % 2 else root.parent / BAIT
        script = damage.SCRIPTS[kind].format(bait=bait) if hostile else f"these are words, and no {kind}\n"
        _write(day / uploaded_as(name), script.encode())
    alias = damage.elsewhere(good, day / BAIT) if hostile else damage.flipped(good, *damage.all_over(good))
    _write(day / "alias_20260314110000.mp4", alias)
    _write(day / "good_20260314120000.mp4", good)


def _add_what_is_no_file(day: Path) -> None:
    (day / "symlink_20260314130000.mp4").symlink_to(day.parents[3] / BAIT)
    os.mkfifo(day / "fifo_20260314130100.mp4")
    with contextlib.chdir(day), contextlib.closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind("socket_20260314130200.mp4")
    device = day / "device_20260314130300.mp4"
    try:
        os.mknod(device, stat.S_IFCHR | 0o644, os.makedev(1, 3))
    except PermissionError:  # only root makes devices; others have one more FIFO
        os.mkfifo(device)
    (day / "directory_20260314130400.mp4").mkdir()
    _write(day / "directory_20260314130400.mp4" / "inside_20260314130400.mp4", damage.clip(damage.SILENT))


@dataclass(frozen=True)
class Tree:
    """The hostile tree after its run, and what was seen of that run and of a harmless one."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "hostile" / "camera"

    @functools.cached_property
    def told(self) -> dict[str, Any]:  # Any: JSON as `_build` wrote it
        told: dict[str, Any] = json.loads((self.folder / "told.json").read_text())
        return told

    def calls(self, which: str) -> list[str]:
        """What a run and all its children called, without numbers: those of processes, descriptors and jobs differ.

        Without signals and ends too, whose lines tell how much time was taken.
        """
        folder = self.folder / which
        lines = (folder / "strace").read_text(errors="surrogateescape").replace(str(folder), "/tree").splitlines()
        calls = [re.sub(r"^\d+ +| *<unfinished.*|\) += .*", "", line) for line in lines]
        calls = [call for call in calls if not call.startswith(("---", "+++"))]
        told = (call for call in calls if "resumed>" not in call and _OF_THE_ALLOCATOR not in call)
        return [re.sub(r"\.archiverd-[0-9a-f-]+|\b\d+\b", "N", call) for call in told]

    def outcome(self, path: str) -> tuple[str, str]:
        (found,) = ((o["result"], o["reason"]) for o in self.told["run"]["outcomes"] if o["path"] == path)
        return found

    def row(self, name: bytes) -> dict[str, Any]:  # Any: JSON of `list`
        stamp = name[-14:].decode()
        (row,) = (row for row in self.told["list"] if row["path"].endswith(f"{stamp}.mp4"))
        return dict(row)


def _build(folder: Path) -> None:
    told: dict[str, Any] = {}  # Any: JSON
    root = folder
    for which in ("harmless", "hostile"):
        root = folder / which / "camera"
        root.mkdir(parents=True)
        _populate(root, hostile=which == "hostile")
        _add_what_is_no_file(root / DAY)
        before = _pictures(root)
        trace = ("strace", "-f", "-qq", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", folder / which / "strace")
        command = (*trace, *ARCHIVERD, "run", root, "--no-confirm", "--json", "--config", NO_CONFIG)
        done = subprocess.run(command, capture_output=True, env=unmeasured(), timeout=240)
        told["run"] = json.loads(done.stdout)
        told["untouched"] = _pictures(root) == before
    told["list"] = archiverd("list", root, "--json").json
    told["log"] = (root / "archiver.log").read_text()
    told["why"] = {kind: _why(root, name) for kind, name in NAMES.items()}
    told["shown"] = [archiverd(verb, root).out for verb in ("list", "status")]
    (folder / "told.json").write_text(json.dumps(told))


def _why(root: Path, name: bytes) -> str:
    return archiverd("why", root / DAY / uploaded_as(name), "--directory", root).out


def _pictures(root: Path) -> list[str]:
    """What nobody is to touch: the baits, and all that is no file."""
    seen: Standing = standing(root / DAY, but=("alias_20260314110000.mp4", "good_20260314120000.mp4"))
    del seen[b""]  # the day itself, which the good clip leaves
    return [f"{path!r} {entry}" for path, entry in sorted(seen.items())] + [sha256_of(root.parent / BAIT)]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(once(tmp_path_factory, "hostility", _build))


each_script = pytest.mark.parametrize("kind", NAMES)


# ---- scripts


@each_script
def test_script_is_quarantined(tree: Tree, kind: str, record_property: RecordProperty) -> None:
    row = tree.row(NAMES[kind])
    tell(record_property, "hostile", kind, row["state"], row["reason"])
    assert row["state"] == OUTCOMES[kind]
    assert re.fullmatch(r"not a whole clip: the file begins with '.+' at 4, as no MP4 does", row["reason"])


def test_clip_that_points_elsewhere_is_kept_as_it_is(tree: Tree, record_property: RecordProperty) -> None:
    outcome, reason = tree.outcome(f"{DAY}/alias_20260314110000.mp4")
    tell(record_property, "hostile", ALIAS, outcome, reason)
    archive = tree.root / "archived" / DAY / "alias_20260314110000.mp4"
    assert outcome == OUTCOMES[ALIAS]
    assert archive.read_bytes() == damage.elsewhere(damage.clip(damage.SILENT), tree.root / DAY / BAIT)


def test_clip_among_the_scripts_is_archived(tree: Tree) -> None:
    assert tree.outcome(f"{DAY}/good_20260314120000.mp4") == ("transcoded", "")


def test_no_process_opens_what_a_script_names(tree: Tree) -> None:
    assert [call for call in tree.calls("hostile") if BAIT in call] == []


def test_scripts_make_no_process_open_anything_more(tree: Tree) -> None:
    assert set(tree.calls("hostile")) - set(tree.calls("harmless")) == set()


def test_no_process_opens_an_internet_socket(tree: Tree) -> None:
    assert [call for call in tree.calls("hostile") if "AF_INET" in call] == []


def test_trace_sees_the_children_and_what_they_read(tree: Tree) -> None:
    assert any(re.search(r'"/proc/self/fd/N", O_RDONLY', call) for call in tree.calls("hostile"))


def test_files_nobody_is_to_touch_are_as_they_were(tree: Tree) -> None:
    assert tree.told["untouched"] is True


# ---- what is no file


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_left_alone_and_counted(tree: Tree, kind: str, record_property: RecordProperty) -> None:
    reason, count = SPECIAL[kind]
    ignored = tree.told["run"]["plan"]["ignored"]
    outcome = "left alone" if reason in ignored else "not counted"
    tell(record_property, "hostile", f"{kind} named like a clip", outcome, f"{reason}: {ignored.get(reason, 0)}")
    assert ignored[reason] == count


def test_nothing_else_is_in_the_plan(tree: Tree) -> None:
    planned = [item["action"] for item in tree.told["run"]["plan"]["items"]]
    assert planned == ["archive"] * (len(NAMES) + 2)


# ---- names, told to people and programs


@each_script
def test_why_tells_of_each_name_on_one_line(tree: Tree, kind: str) -> None:
    lines = tree.told["why"][kind].split("\n")
    assert lines[0].startswith(f"{DAY}/")
    assert ": quarantined, not a whole clip: the file begins with" in lines[0]
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("shown", [0, 1], ids=["list", "status"])
def test_no_name_reaches_a_terminal_as_a_command(tree: Tree, shown: int) -> None:
    assert {c for c in tree.told["shown"][shown] if not c.isprintable()} == {"\n"}


def test_status_tells_of_each_name_on_one_line(tree: Tree) -> None:
    lines = tree.told["shown"][1].splitlines()
    told = lines[lines.index("Quarantined:") + 1 :]
    assert len([line for line in told if re.fullmatch(r"  \S.*_20260314\d{6}\.mp4: not a whole clip: .*", line)]) == 6


def test_log_tells_of_each_name_on_one_line(tree: Tree) -> None:
    lines = tree.told["log"].split("\n")
    assert all(line.isprintable() and re.match(r"\d{4}-\d\d-\d\dT", line) for line in lines[:-1])
    assert len([line for line in lines if "quarantined, it stays where it is" in line]) == len(NAMES)


# ---- what people are told


def test_document_tells_the_outcome_of_each_input() -> None:
    text = (CHECKOUT / "docs/design/bad-input.md").read_text()
    section = text.split("\n## Hostile input\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in section.splitlines() if line.startswith("|")]
    known = {kind if kind not in SPECIAL else f"{kind} named like a clip": said for kind, said in OUTCOMES.items()}
    assert {name: said for name, said in rows[2:] if name in known} == known


@pytest.mark.parametrize("tree", ["camera", "archived", ".deleted"])
@pytest.mark.parametrize("suffix", [".mp4", ".jpg"])
def test_time_that_no_catalog_can_hold_ends_no_run(rig: Rig, tree: str, suffix: str) -> None:
    """Whoever uploads can set any time on a file; ext4 holds times that SQLite does not."""
    good = rig.upload("a")
    root = rig.camera if tree == "camera" else rig.camera / tree
    odd = root / rig.path(7).with_suffix(suffix)
    odd.parent.mkdir(parents=True, exist_ok=True)
    odd.write_bytes(content("b").read_bytes())
    os.utime(odd, ns=(2**63 + 10**18,) * 2)

    rig.run_to_the_end()

    assert rig.row(good).state is State.DONE
    rig.run_to_the_end()
    assert odd.is_file() or (rig.trash / rig.path(7)).is_file()  # a clip like another: archived, and let go of
