"""What archiverd makes of every kind of bad upload, and of good ones that are odd: one tree of them all, three runs.

The inputs stand in `tools/damage.py`, what becomes of each in `CASES`, and for people in `docs/design/bad-input.md`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import select
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiverd.cli import run_command_line
from tests.outcomes import RecordProperty, tell
from tests.program import ARCHIVERD, CHECKOUT, environment, once, sha256_of
from tools import damage

MIB = 1 << 20
MAX_MEMORY = 2 << 30  # bytes, of each ffmpeg
START = datetime.now().replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=2)
A_DAY_S, A_WHILE_S = 24 * 3600, 5 * 60
CONFIG = 'settle = "1 s"\npreset = "ultrafast"\nnice = 0\nidle_io = false\nmax_memory = "2GiB"\n'
IMPATIENT = CONFIG + 'quarantine_after = "3 minutes"\n'  # less than A_WHILE_S


@dataclass(frozen=True, slots=True)
class Case:
    """What archiverd is to say of one input in the end, and what is to be in the archive then."""

    outcome: str
    reason: str = ""  # a regular expression that matches all of it
    frames: int = 0  # of a transcoded archive


QUARANTINED = functools.partial(Case, "quarantined")
VERBATIM = functools.partial(Case, "verbatim")
TRANSCODED = functools.partial(Case, "transcoded", "")

_CUT = r"not a whole clip: box \w+ at \d+ needs \d+ bytes, \d+ are there"
_BEYOND = r"not a whole clip: track 1 in box stbl at \d+ has samples beyond the end of the file at \d+"
_NO_MP4 = r"not a whole clip: the file begins with '.+' at 4, as no MP4 does"
_NOT_STRICTLY = r"it does not decode strictly: .+"
_FALLING = r"the times of its video do not rise from packet to packet, and those of a transcode must"

BAD = {
    "cut off, index last": QUARANTINED(_CUT),
    "cut off, index first": QUARANTINED(_CUT),
    "cut off within a fragment": QUARANTINED(_CUT),
    "cut off between two fragments": TRANSCODED(10),
    "second half zeros, index last": QUARANTINED(r"not a whole clip: no moov in \d+ bytes"),
    "second half zeros, index first": VERBATIM(_NOT_STRICTLY),
    "first half zeros": QUARANTINED(_NO_MP4),
    "hole in the pictures": VERBATIM(_NOT_STRICTLY),
    "glitched, its structure whole": VERBATIM(_NOT_STRICTLY),
    "bits of the sound flipped": VERBATIM(_NOT_STRICTLY),
    "a bit flipped that no decoder notices": TRANSCODED(10),
    "bits of the index flipped": QUARANTINED(_BEYOND),
    "index points beyond the file": QUARANTINED(_BEYOND),
    "index points at the wrong bytes": QUARANTINED(
        r"not a whole clip: the samples at 4 share bytes with other samples"
    ),
    "frame larger than the file": QUARANTINED(_BEYOND),
    "box larger than the file": QUARANTINED(_CUT),
    "two clips in one file": QUARANTINED(r"not a whole clip: a second file begins with box ftyp at \d+"),
    "JPEG": QUARANTINED(_NO_MP4),
    "HTML": QUARANTINED(_NO_MP4),
    "nothing": QUARANTINED(r"not a whole clip: the file is empty"),
    "garbage": QUARANTINED(_NO_MP4),
    "sound alone": QUARANTINED(r"not a whole clip: it has no video track"),
    "pictures larger than any camera's": VERBATIM(
        r"it does not decode strictly: .*exceeds specified max pixel count.*"
    ),
    "pictures larger than the memory allowed": QUARANTINED(r"ffmpeg .+ \(after 3 attempts\)"),
    "4000 tracks": QUARANTINED(r"not a whole clip: too many tracks: box trak at \d+ is one more than 64"),
    "3 million frames": QUARANTINED(r"not a whole clip: track 1 has 3000000 frames, more than are worked on"),
}
ODD = {
    "two frames of one time": VERBATIM(_FALLING),
    "a frame's length below zero": TRANSCODED(10),
    "a clock set back a little": TRANSCODED(20),
    "a clock set back by two frames": VERBATIM(r"source frames: \d+ of 20 declared ones decode"),
    "a clock set back to the start": VERBATIM(_FALLING),
    "no key frame at first": VERBATIM(r"source frames: \d+ of 27 declared ones decode"),
    "no key frame at all": VERBATIM(r"source frames: 0 of 7 declared ones decode"),
    "edit list that begins late": VERBATIM(r"source frames: 6 of 10 declared ones decode"),
    "edit list that begins with a pause": TRANSCODED(10),
    "edit list that shows a part twice": VERBATIM(r"source frames: 15 of 10 declared ones decode"),
    "negative composition offsets": TRANSCODED(10),
    "free and uuid boxes everywhere": TRANSCODED(10),
    "box of size 0 at the end": TRANSCODED(10),
    "empty box at the end": TRANSCODED(10),
    "zeros at the end": TRANSCODED(10),
    "empty box of no type at the end": TRANSCODED(10),
    "fragments, then zeros": TRANSCODED(20),
    "fragments without an index": TRANSCODED(20),
    "two videos": VERBATIM(r"it has 2 video streams, and a transcode keeps one"),
}
CASES = BAD | ODD

# As the system tells them apart, these may still become whole: the first run finds them quiet for a while only.
YOUNG = ("cut off, index last", "cut off between two fragments", "fragments without an index")

each_case = pytest.mark.parametrize("name", CASES)


# ---- one tree of them all


def path_of(name: str) -> Path:
    """Where a case was uploaded, below the root."""
    at = START + timedelta(minutes=list(CASES).index(name))
    return Path(f"{at:%Y/%m/%d}", f"REO_{'bad' if name in BAD else 'odd'}_{at:%Y%m%d%H%M%S}.mp4")


@dataclass(frozen=True)
class Tree:
    """The tree after three runs, and what they said. Of these the last two are impatient with what is YOUNG."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "camera"

    @functools.cached_property
    def told(self) -> dict[str, Any]:  # Any: JSON as `_build` wrote it
        told: dict[str, Any] = json.loads((self.folder / "told.json").read_text())
        return told

    def said(self, name: str) -> list[tuple[str, str]]:
        """Result and reason that each run gave, where it said anything of the case."""
        path = str(self.told["paths"][name])
        return [(o["result"], o["reason"]) for run in self.told["runs"] for o in run["outcomes"] if o["path"] == path]

    def place(self, tree: str, name: str) -> Path:
        return self.root / tree / str(self.told["paths"][name])


def _build(folder: Path) -> None:
    root = folder / "camera"
    sha256 = {}
    for name, make in (damage.BAD | damage.ODD).items():
        path = root / path_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        damage.place(make(), path)
        written_at = time.time() - (A_WHILE_S if name in YOUNG else A_DAY_S)
        os.utime(path, (written_at, written_at))
        sha256[name] = sha256_of(path)
    runs = [_run(folder, text) for text in (CONFIG, IMPATIENT, IMPATIENT)]
    paths = {name: str(path_of(name)) for name in CASES}
    why = {name: _why(root, path) for name, path in paths.items()}
    (folder / "told.json").write_text(json.dumps({"paths": paths, "sha256": sha256, "runs": runs, "why": why}))


def _run(folder: Path, config: str) -> dict[str, Any]:  # Any: JSON
    """One run as a program: what it said, how long it took, how much memory it and the largest process of it took."""
    (folder / "config.toml").write_text(config)
    command = (*ARCHIVERD, "run", folder / "camera", "--no-confirm", "--json", "--config", folder / "config.toml")
    own_kib, began = 0, time.monotonic()
    with (folder / "out").open("w+") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment())
        over = os.pidfd_open(process.pid)
        while not select.select([over], [], [], 0.02)[0]:
            own_kib = max(own_kib, _peak_kib(process.pid))
        os.close(over)
        _, status, used = os.wait4(process.pid, 0)  # of the process and all it waited for
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = json.loads(out.read())
    figures = {"own": own_kib * 1024, "largest": used.ru_maxrss * 1024, "seconds": time.monotonic() - began}
    return {"code": process.returncode, "outcomes": said["outcomes"], "used": figures}


def _peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def _why(root: Path, path: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        run_command_line(["why", str(root / path), "--directory", str(root), "--config", os.devnull])
    return said.getvalue()


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(once(tmp_path_factory, "bad-input", _build))


# ---- what becomes of each


@each_case
def test_each_input_comes_to_its_end(tree: Tree, name: str, record_property: RecordProperty) -> None:
    outcome, reason = tree.said(name)[-1]
    tell(record_property, "bad" if name in BAD else "odd", name, outcome, reason)
    assert outcome == CASES[name].outcome
    assert re.fullmatch(CASES[name].reason, reason)


@each_case
def test_bytes_of_each_input_stand_as_they_were_uploaded(tree: Tree, name: str) -> None:
    """In the trash once there is an archive, in their place until then; never in neither."""
    archived = CASES[name].outcome != "quarantined"
    places = {kind: tree.place(kind, name) for kind in ("", ".deleted")}
    standing = {kind: sha256_of(path) for kind, path in places.items() if path.exists()}
    assert standing == {".deleted" if archived else "": tree.told["sha256"][name]}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.outcome == "verbatim"])
def test_verbatim_archive_has_the_bytes_of_its_source(tree: Tree, name: str) -> None:
    assert sha256_of(tree.place("archived", name)) == tree.told["sha256"][name]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.outcome == "quarantined"])
def test_input_that_is_quarantined_has_no_archive(tree: Tree, name: str) -> None:
    assert not tree.place("archived", name).exists()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.frames])
def test_transcoded_archive_shows_every_frame_there_was(tree: Tree, name: str) -> None:
    shown = ("-v", "error", "-select_streams", "v", "-count_frames", "-show_entries", "stream=nb_read_frames")
    command = ("ffprobe", *shown, "-of", "csv=p=0", f"file:{tree.place('archived', name)}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (str(CASES[name].frames), "")


@each_case
def test_why_prints_the_reason_of_each(tree: Tree, name: str) -> None:
    lines = tree.told["why"][name].splitlines()
    case = CASES[name]
    words = case.reason if case.outcome == "quarantined" else r"source moved to the trash"
    state = "quarantined" if case.outcome == "quarantined" else "done"
    assert re.fullmatch(rf"{tree.told['paths'][name]}: {state}, {words}", lines[0])
    if case.outcome == "verbatim":
        assert [line for line in lines if re.fullmatch(rf".* archived: the original bytes: {case.reason}", line)]


# ---- what can't be told apart but by waiting


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cut off, index last", rf"not a whole clip yet: {_CUT.partition(': ')[2]}"),
        ("cut off between two fragments", "fragmented without an index, may still be uploading"),
        ("fragments without an index", "fragmented without an index, may still be uploading"),
    ],
)
def test_what_may_still_be_uploading_waits_first(
    tree: Tree, name: str, reason: str, record_property: RecordProperty
) -> None:  # fmt: skip
    outcome, said = tree.said(name)[0]
    tell(record_property, "young", name, outcome, said)
    assert outcome == "waiting"
    assert re.fullmatch(reason, said)


def test_clip_too_large_for_the_memory_allowed_fails_twice_before_it_is_quarantined(tree: Tree) -> None:
    results = [result for result, _ in tree.said("pictures larger than the memory allowed")]
    assert results == ["failed", "failed", "quarantined"]


def test_no_run_looks_twice_at_what_has_come_to_its_end(tree: Tree) -> None:
    again = {outcome["path"] for run in tree.told["runs"][1:] for outcome in run["outcomes"]}
    unfinished = (*YOUNG, "pictures larger than the memory allowed")
    assert again == {tree.told["paths"][name] for name in unfinished}


# ---- what it costs


def test_memory_and_time_stay_within_bounds(tree: Tree, record_property: RecordProperty) -> None:
    """The bounds are generous: a busy machine is slow, and every core takes x265 some memory more."""
    used = [run["used"] for run in tree.told["runs"]]
    own, largest, seconds = (max(figures[key] for figures in used) for key in ("own", "largest", "seconds"))
    figures = f"{own / MIB:.0f} MiB of its own, {largest / MIB:.0f} MiB of its largest ffmpeg"
    tell(record_property, "cost", "a run over all that is bad and odd", f"{seconds:.1f} s", figures)
    assert own < 400 * MIB
    assert largest < MAX_MEMORY
    assert seconds < 240


# ---- what people are told


def test_every_kind_of_damage_has_its_outcome() -> None:
    assert [*damage.BAD, *damage.ODD] == [*CASES]


@pytest.mark.parametrize(("title", "cases"), [("Bad input", BAD), ("Good input that is odd", ODD)])
def test_document_tells_the_outcome_of_each_input(title: str, cases: dict[str, Case]) -> None:
    text = (CHECKOUT / "docs/design/bad-input.md").read_text()
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in section.splitlines() if line.startswith("|")]
    assert rows[2:] == [[name, case.outcome] for name, case in cases.items()]
