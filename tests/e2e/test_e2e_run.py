"""What somebody sees who runs archiverd: plans, questions, progress, summaries, exit codes, and their files."""

from __future__ import annotations

import functools
import grp
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.outcomes import RecordProperty, tell
from tests.program import ARCHIVERD, archiverd, environment, once, sha256_of, standing, typed
from tests.screen import screen_of, until
from tools import footage
from tools.footage import Clip

DAY = "2026/03/14"
OWN = (".archiverd-root", ".archiverd", "archived", ".deleted", "archiver.log")
HOUR_S = 3600.0


def clip_name(camera: str = "front", second: int = 0, suffix: str = ".mp4") -> str:
    return f"REO_{camera}_20260314153{second // 60}{second % 60:02}{suffix}"


@functools.cache
def content(name: str = "run") -> bytes:
    """Half a second of footage; another name is another content."""
    return footage.cached(Clip(f"e2e-run-{name}", 160, 120, "10", 0.5, crf=12, noise=8)).read_bytes()


def put(root: Path, name: str | bytes, data: bytes | None = None, *, age_s: float = HOUR_S) -> Path:
    """A file uploaded to DAY, last written `age_s` seconds ago."""
    folder = root / DAY
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / os.fsdecode(name)
    path.write_bytes(content() if data is None else data)
    at = time.time() - age_s
    os.utime(path, (at, at))
    return path


def config(folder: Path, *lines: str) -> Path:
    path = folder / "archiverd.toml"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "camera"
    root.mkdir()
    return root


def uploaded(root: Path) -> dict[bytes, Any]:  # Any: Entry, but for == alone
    """All that stands in the input, but what archiverd keeps there."""
    return {path: entry for path, entry in standing(root, but=OWN).items() if path}


def archives(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "archived").rglob("*.mp4"))


# ---- a day of footage, some of it damaged


@dataclass(frozen=True)
class Sample:
    """The sample tree after a dry run, a run, another dry run and another run."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "camera"

    @functools.cached_property
    def told(self) -> dict[str, Any]:  # Any: JSON as `_build_sample` wrote it
        told: dict[str, Any] = json.loads((self.folder / "told.json").read_text())
        return told

    def outcomes(self) -> dict[str, str]:
        return {Path(o["path"]).name[-18:-4]: o["result"] for o in self.told["run"]["outcomes"]}

    def by_hour(self, clock: str) -> Path:
        """The path of the clip taken at HHMM, below its root."""
        (path,) = (Path(path) for path in self.told["before"] if path.endswith(f"{clock}00.mp4"))
        return path


def _build_sample(folder: Path) -> None:
    root = folder / "camera"
    footage.sample(root)
    before = {str(path.relative_to(root)): sha256_of(path) for path in root.rglob("*") if path.is_file()}
    stood = standing(folder)
    dry = archiverd("run", root, "--dry-run", "--json")
    dry_text = archiverd("run", root, "--dry-run")
    changed_by_dry_run = standing(folder) != stood
    run = archiverd("run", root, "--no-confirm", "--json")
    stood = standing(folder)
    dry_again = archiverd("run", root, "--dry-run", "--json")
    changed_by_second_dry_run = standing(folder) != stood
    again = archiverd("run", root, "--no-confirm", "--json")
    told = {
        "before": before,
        "dry": dry.json,
        "dry_text": dry_text.out,
        "changed_by_dry_runs": [changed_by_dry_run, changed_by_second_dry_run],
        "run": run.json,
        "dry_again": dry_again.json,
        "again": again.json,
        "codes": {"dry": dry.code, "run": run.code, "dry again": dry_again.code, "again": again.code},
    }
    (folder / "told.json").write_text(json.dumps(told))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(once(tmp_path_factory, "sample", _build_sample))


@pytest.mark.parametrize(
    ("clock", "result"),
    [
        ("0700", "transcoded"),
        ("0747", "transcoded"),
        ("0834", "transcoded"),
        ("0921", "transcoded"),
        ("1008", "transcoded"),
        ("1055", "verbatim"),  # a transcode of it grows
        ("1142", "quarantined"),  # its index is cut off
        ("1229", "quarantined"),  # its pictures are cut off
        ("1500", "quarantined"),  # a script
    ],
)
def test_each_clip_of_the_sample_comes_to_its_end(sample: Sample, clock: str, result: str) -> None:
    path = str(sample.by_hour(clock))
    assert [o["result"] for o in sample.told["run"]["outcomes"] if o["path"] == path] == [result]


@pytest.mark.parametrize(
    ("run", "code"),
    [("dry", 0), ("run", 1), ("dry again", 0), ("again", 0)],  # 1 where clips were quarantined by this run
)
def test_exit_code_tells_whether_this_run_had_trouble(sample: Sample, run: str, code: int) -> None:
    assert sample.told["codes"][run] == code


@pytest.mark.parametrize("clock", ["1142", "1229", "1500"])
def test_what_is_no_clip_stays_where_it_is(sample: Sample, clock: str) -> None:
    path = sample.by_hour(clock)
    assert sha256_of(sample.root / path) == sample.told["before"][str(path)]


@pytest.mark.parametrize("clock", ["1142", "1229", "1500"])
def test_what_is_no_clip_gets_no_archive(sample: Sample, clock: str) -> None:
    assert not (sample.root / "archived" / sample.by_hour(clock)).exists()


def test_snapshot_without_a_clip_stays_where_it_is(sample: Sample) -> None:
    (orphan,) = sample.told["run"]["plan"]["orphans"]
    assert sha256_of(sample.root / orphan["path"]) == sample.told["before"][orphan["path"]]


def test_every_file_of_the_sample_is_in_one_place_as_it_was(sample: Sample) -> None:
    found = {
        str(path.relative_to(tree)): sha256_of(path)
        for tree in (sample.root, sample.root / ".deleted")
        for path in (tree / next(iter(sample.told["before"])).split("/")[0]).rglob("*")
        if path.is_file()
    }
    assert found == sample.told["before"]


def test_dry_run_writes_nothing(sample: Sample) -> None:
    assert sample.told["changed_by_dry_runs"][0] is False


def test_dry_run_writes_nothing_where_there_is_a_catalog(sample: Sample) -> None:
    assert sample.told["changed_by_dry_runs"][1] is False


def test_dry_run_plans_what_the_run_does(sample: Sample) -> None:
    assert sample.told["dry"]["plan"] == sample.told["run"]["plan"]


def test_dry_run_plans_what_the_run_does_where_there_is_a_catalog(sample: Sample) -> None:
    assert sample.told["dry_again"]["plan"] == sample.told["again"]["plan"]


def test_plan_names_every_clip_of_the_sample(sample: Sample) -> None:
    planned = {item["path"]: item["action"] for item in sample.told["dry"]["plan"]["items"]}
    assert planned == {path: "archive" for path in sample.told["before"] if path.endswith(".mp4")}


def test_dry_run_tells_people_that_nothing_was_changed(sample: Sample) -> None:
    assert sample.told["dry_text"].splitlines()[-1] == "Nothing was changed (--dry-run)."


def test_second_run_leaves_what_is_quarantined(sample: Sample) -> None:
    again = sample.told["again"]
    assert ([item["action"] for item in again["plan"]["items"]], again["outcomes"]) == (["leave"] * 3, [])


# ---- asking what is known


@pytest.mark.parametrize("tree", ["", "archived", ".deleted"])
def test_why_tells_the_story_of_a_clip_from_its_place_in_any_tree(sample: Sample, tree: str) -> None:
    path = sample.by_hour("0747")
    told = archiverd("why", sample.root / tree / path, "--directory", sample.root)
    assert told.code == 0
    states = re.findall(r"^  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* +(\w+):", told.out, re.MULTILINE)
    assert states == ["waiting", "active", "publishing", "archived", "done"]


def test_why_finds_the_clip_of_a_snapshot(sample: Sample) -> None:
    path = sample.by_hour("0747")
    told = archiverd("why", (sample.root / path).with_suffix(".jpg"), "--directory", sample.root)
    assert (told.code, told.out.split(":")[0]) == (0, str(path))


def test_why_tells_why_a_clip_was_set_aside(sample: Sample) -> None:
    told = archiverd("why", sample.root / sample.by_hour("1500"), "--directory", sample.root)
    assert told.out.splitlines()[0].split(": ", 1)[1].startswith("quarantined, not a whole clip: the file begins with")


def test_why_finds_the_input_above_the_path(sample: Sample) -> None:
    path = sample.by_hour("0834")
    told = archiverd("why", sample.root / "archived" / path)
    assert (told.code, told.out.splitlines()[0].startswith(str(path))) == (0, True)


def test_why_as_json_holds_the_receipt(sample: Sample) -> None:
    path = sample.by_hour("0834")
    (row,) = archiverd("why", sample.root / path, "--directory", sample.root, "--json").json
    archive = sample.root / "archived" / path
    assert row["receipt"]["archive_sha256"] == sha256_of(archive)
    assert row["receipt"]["source_sha256"] == sample.told["before"][str(path)]
    assert row["history"][-1]["state"] == "done"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("REO_front_20200101000000.mp4", "There is no such file either."),
        ("archiver.log", "It is not a recording: its name does not end in .mp4 or .jpg."),
    ],
)
def test_why_says_what_can_be_said_of_an_unknown_file(sample: Sample, name: str, words: str) -> None:
    told = archiverd("why", sample.root / name, "--directory", sample.root)
    assert told.code == 1
    assert words in told.out


def test_why_refuses_a_file_in_no_tree(sample: Sample) -> None:
    told = archiverd("why", "/etc/hostname", "--directory", sample.root)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("archiverd: /etc/hostname: lies in none of the trees")


def test_status_counts_what_there_is(sample: Sample) -> None:
    told = archiverd("status", sample.root, "--json").json
    assert {state: numbers["recordings"] for state, numbers in told["states"].items()} == {"done": 6, "quarantined": 3}
    assert len(told["quarantined"]) == 3


def test_status_tells_people_what_needs_a_look(sample: Sample) -> None:
    lines = archiverd("status", sample.root).out.splitlines()
    assert lines[lines.index("Quarantined:") + 1].startswith(f"  {sample.by_hour('1142')}: not a whole clip")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ((), 9),
        (("--camera", "front"), 5),
        (("--camera", "Garden*"), 4),
        (("--camera", "garden*"), 0),
        (("--state", "quarantined"), 3),
        (("--state", "done", "--camera", "front"), 3),
        (("--since", "3 days"), 9),
        (("--since", "1 minute"), 0),
        (("--since", "2001-01-01"), 9),
    ],
)
def test_list_shows_what_fits(sample: Sample, options: tuple[str, ...], count: int) -> None:
    assert len(archiverd("list", sample.root, *options, "--json").json) == count


def test_list_since_a_moment_leaves_out_what_was_before(sample: Sample) -> None:
    noon = f"{(datetime.now() - timedelta(days=1)):%Y-%m-%d}T12:00"
    listed = archiverd("list", sample.root, "--since", noon, "--json").json
    since = {row["taken_at"][11:16] for row in listed}
    assert since in ({"12:29", "15:00"}, set())  # empty when midnight passed since the sample was made


def test_list_is_a_table_for_people(sample: Sample) -> None:
    out = archiverd("list", sample.root).out
    assert len([line for line in out.splitlines() if "REO_" in line]) == 9


def test_questions_change_nothing(sample: Sample) -> None:
    before = standing(sample.root)
    for arguments in (("status",), ("list",), ("list", "--json"), ("config", "show")):
        archiverd(*arguments, sample.root)
    assert standing(sample.root) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "{root}"),
        ("list", "{root}", "--json"),
        ("status", "{root}"),
        ("why", "{root}/{clip}", "--directory", "{root}"),
        ("run", "{root}", "--dry-run"),
        ("run", "{root}", "--dry-run", "--json"),
        ("config", "show", "{root}"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_reader_that_goes_away_is_no_fault(sample: Sample, arguments: tuple[str, ...]) -> None:
    words = [word.format(root=sample.root, clip=sample.by_hour("0700")) for word in arguments]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            (*ARCHIVERD, *words), check=False, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment()
        )
    finally:
        os.close(writing)
    assert done.stderr == ""


# ---- asking before anything is done


def test_run_without_a_terminal_to_ask_on_is_refused_before_anything_is_done(root: Path) -> None:
    put(root, clip_name())
    before = standing(root)
    told = archiverd("run", root)
    assert told.code == 2
    assert "there is no terminal to ask on" in told.err
    assert "Give --no-confirm to go ahead without asking" in told.err
    assert standing(root) == before


@pytest.mark.parametrize("answer", ["n", "", "nonsense", "\x04"], ids=["n", "nothing", "nonsense", "end of input"])
def test_any_answer_but_yes_changes_nothing(root: Path, answer: str) -> None:
    put(root, clip_name())
    before = uploaded(root)
    with typed("run", root) as session:
        until(lambda: session.shows("[y/N] "))
        session.type(answer if answer == "\x04" else f"{answer}\n")
        code = session.end()
    assert (code, uploaded(root), archives(root)) == (0, before, [])
    assert "No recording was touched." in session.output


@pytest.mark.parametrize("answer", ["y", "YES"])
def test_yes_goes_ahead(root: Path, answer: str) -> None:
    put(root, clip_name())
    with typed("run", root) as session:
        until(lambda: session.shows("[y/N] "))
        session.type(f"{answer}\n")
        code = session.end()
    assert (code, uploaded(root).keys() & {f"{DAY}/{clip_name()}".encode()}) == (0, set())
    assert archives(root) == [clip_name()]


def test_question_shows_the_plan_first(root: Path) -> None:
    put(root, clip_name())
    with typed("run", root) as session:
        until(lambda: session.shows("[y/N] "))
    before_question = session.output.split("Go ahead")[0]
    assert clip_name() in before_question
    assert "To archive: 1 recording, " in before_question


@dataclass(frozen=True)
class OnTerminal:
    """A run on a terminal, by what came out and by its log file."""

    code: int
    output: str
    log: list[str]


@pytest.fixture(scope="session")
def on_terminal(tmp_path_factory: pytest.TempPathFactory) -> OnTerminal:
    root = tmp_path_factory.mktemp("terminal")
    clip = Clip("on-terminal", 320, 240, "15", 4.0)
    for second in range(3):
        put(root, clip_name(second=second), footage.cached(clip).read_bytes() + b"\0\0\0\x08free" * second)
    put(root, clip_name(second=9), b"no clip at all")
    with typed("run", root, "--no-confirm", "-v") as session:
        code = session.end()
    return OnTerminal(code, session.output, (root / "archiver.log").read_text().splitlines())


def test_terminal_shows_a_bar_for_the_clip_and_one_for_all(on_terminal: OnTerminal) -> None:
    assert re.search(r"REO_f…\d{14}\.mp4 .*━.* % ", on_terminal.output)
    assert re.search(r"[0-3]/4 files .*━.* % ", on_terminal.output)


def test_terminal_shows_the_stage_of_a_clip(on_terminal: OnTerminal) -> None:
    assert re.search(r" % .*(transcoding|verifying)", on_terminal.output)


def test_no_bar_stands_when_all_is_done(on_terminal: OnTerminal) -> None:
    assert [line for line in screen_of(on_terminal.output) if "━" in line] == []


def test_each_line_of_the_log_stands_whole_on_the_terminal(on_terminal: OnTerminal) -> None:
    told = [line for line in screen_of(on_terminal.output) if re.match(r"\d{4}-\d\d-\d\dT", line)]
    assert told == on_terminal.log
    assert len([line for line in told if ": archived" in line]) == 3


def test_summary_is_the_last_on_the_terminal(on_terminal: OnTerminal) -> None:
    screen = screen_of(on_terminal.output)
    assert screen[screen.index("transcoded: 3") + 1] == "quarantined: 1"
    assert re.fullmatch(r"Took \d+:\d\d\.", screen[-1])


def test_no_bar_is_drawn_where_there_is_no_terminal(root: Path) -> None:
    put(root, clip_name())
    told = archiverd("run", root, "--no-confirm")
    assert "\x1b" not in told.err + told.out
    assert re.fullmatch(rf"1/1 files, {clip_name()}: transcoded, took 0:00:\d\d\n", told.err)


def test_quiet_run_says_nothing_on_stderr(root: Path) -> None:
    put(root, clip_name())
    assert archiverd("run", root, "--no-confirm", "-q").err == ""


# ---- what may still be uploading


def settled_run(root: Path, folder: Path) -> list[str]:
    """The results of a run that waits for no more than a second of quiet."""
    told = archiverd("run", root, "--no-confirm", "--json", config=config(folder, 'settle = "1 s"'))
    return [outcome["result"] for outcome in told.json["outcomes"]]


def test_young_file_is_left(root: Path) -> None:
    put(root, clip_name(), age_s=0)
    before = uploaded(root)
    told = archiverd("run", root, "--no-confirm")
    assert (told.code, uploaded(root), archives(root)) == (0, before, [])
    assert "Too young: 1 recording" in told.out


def test_young_file_is_archived_when_it_has_been_quiet(root: Path, tmp_path: Path) -> None:
    put(root, clip_name(), age_s=0)
    assert archiverd("run", root, "--no-confirm").code == 0
    until(lambda: settled_run(root, tmp_path) == ["transcoded"])
    assert archives(root) == [clip_name()]


def test_file_of_the_future_is_left_at_first(root: Path) -> None:
    put(root, clip_name(), age_s=-24 * HOUR_S)
    told = archiverd("run", root, "--no-confirm", "--json")
    assert (told.code, [item["action"] for item in told.json["plan"]["items"]]) == (0, ["wait"])


def test_file_of_the_future_is_archived_when_it_was_seen_quiet(root: Path, tmp_path: Path) -> None:
    path = put(root, clip_name(), age_s=-24 * HOUR_S)
    mtime_ns = path.stat().st_mtime_ns
    until(lambda: settled_run(root, tmp_path) == ["transcoded"])
    assert (root / "archived" / DAY / path.name).stat().st_mtime_ns == mtime_ns


def test_file_that_somebody_has_open_for_writing_waits(root: Path) -> None:
    path = put(root, clip_name())
    with path.open("ab"):
        told = archiverd("run", root, "--no-confirm", "--json")
    assert [(o["result"], o["reason"]) for o in told.json["outcomes"]] == [("waiting", "is being written")]
    assert (told.code, path.exists(), archives(root)) == (0, True, [])


def test_file_that_was_open_for_writing_is_archived_later(root: Path) -> None:
    path = put(root, clip_name())
    with path.open("ab"):
        archiverd("run", root, "--no-confirm")
    assert archiverd("run", root, "--no-confirm").code == 0
    assert archives(root) == [clip_name()]


def test_file_that_grows_during_the_run_is_not_taken(root: Path, tmp_path: Path) -> None:
    path, whole = put(root, clip_name()), content() + b"\0\0\0\x08free" * 3000
    over = threading.Event()

    def upload() -> None:
        end = len(content())
        while not over.wait(0.02) and end < len(whole):
            with path.open("ab") as file:
                file.write(whole[end : end + 8])
            end += 8

    uploading = threading.Thread(target=upload)
    uploading.start()
    told = archiverd("run", root, "--no-confirm", config=config(tmp_path, 'settle = "0.2 s"'))
    over.set()
    uploading.join()
    assert (told.code, path.exists(), archives(root)) == (0, True, [])


def test_clip_that_was_cut_off_waits_until_it_will_not_become_whole(root: Path) -> None:
    path = put(root, clip_name(), content()[:-200], age_s=300)
    told = archiverd("run", root, "--no-confirm", "--json")
    assert [o["result"] for o in told.json["outcomes"]] == ["waiting"]
    assert (told.code, path.exists()) == (0, True)


# ---- names


NAMES = {
    "spaces": b"Front Door  West_20260314153001",
    "quotes": b'it\'s "the" gate_20260314153002',
    "newline": b"two\nlines_20260314153003",
    "option": b"-v_20260314153004",
    "pattern": b"%03d_20260314153005",
    "protocol": b"http://x".replace(b"/", b":") + b"_20260314153006",
    "not UTF-8": b"caf\xff\xe9_20260314153007",
    "255 bytes": b"x" * 236 + b"_20260314153008",
    "markup": b"[red]a[bold]$(touch pwned)_20260314153009",
    "terminal escape": b"\x1b]0;title\x07\x1b[2J_20260314153010",
    "other scripts": "カメラ_玄関_20260314153011".encode(),
    "copy": b"front_20260314153012~2",
}


@dataclass(frozen=True)
class Named:
    """A tree of clips of all NAMES after a run."""

    root: Path
    told: dict[str, Any]  # Any: JSON as archiverd wrote it
    code: int
    table: str  # what `list` shows of it
    listed: list[dict[str, Any]]  # the same as JSON


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory) -> Named:
    root = tmp_path_factory.mktemp("names")
    for name in NAMES.values():
        put(root, name + b".mp4")
        put(root, name + b".jpg", name)
    ran = archiverd("run", root, "--no-confirm", "--json")
    return Named(root, ran.json, ran.code, archiverd("list", root).out, archiverd("list", root, "--json").json)


each_name = pytest.mark.parametrize("name", [pytest.param(name, id=kind) for kind, name in NAMES.items()])


def test_names_are_no_trouble(named: Named) -> None:
    assert (named.code, [o["result"] for o in named.told["outcomes"]]) == (0, ["transcoded"] * len(NAMES))


@each_name
def test_archive_has_the_name_of_its_source(
    named: Named, name: bytes, request: pytest.FixtureRequest, record_property: RecordProperty
) -> None:
    when = name.decode("latin-1")[-14:]
    (told,) = (outcome for outcome in named.told["outcomes"] if outcome["path"].endswith(f"{when}.mp4"))
    tell(record_property, "name", request.node.callspec.id, told["result"], told["path"][:60])
    assert (named.root / "archived" / DAY / os.fsdecode(name + b".mp4")).is_file()


@each_name
def test_source_and_snapshot_keep_their_names_in_the_trash(named: Named, name: bytes) -> None:
    trash = named.root / ".deleted" / DAY
    found = [(trash / os.fsdecode(name + suffix)).read_bytes() for suffix in (b".mp4", b".jpg")]
    assert found == [content(), name]


@each_name
def test_why_finds_a_file_of_any_name(named: Named, name: bytes) -> None:
    path = os.fsencode(named.root / DAY) + b"/" + name + b".mp4"
    told = archiverd("why", path, "--directory", named.root)
    assert (told.code, told.out.splitlines()[0].endswith(": done, source moved to the trash")) == (0, True)


def test_no_name_reaches_a_terminal_as_a_command(named: Named) -> None:
    assert {c for c in named.table if not c.isprintable()} == {"\n"}


def test_each_name_is_listed_for_programs(named: Named) -> None:
    taken = [row["taken_at"] for row in named.listed]
    assert (len(taken), len(set(taken))) == (len(NAMES), len(NAMES))


def test_log_tells_of_each_name_on_one_line(named: Named) -> None:
    lines = (named.root / "archiver.log").read_text().splitlines()
    assert all(line.isprintable() and re.match(r"\d{4}-\d\d-\d\dT", line) for line in lines)
    assert len([line for line in lines if ": archived (transcoded by software): " in line]) == len(NAMES)


def test_no_name_is_run_by_a_shell(named: Named) -> None:
    assert list(named.root.rglob("pwned")) == []


# ---- what is left alone


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory outside the input, with a clip in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / clip_name()).write_bytes(content())
    an_hour_ago = time.time() - HOUR_S
    os.utime(folder / clip_name(), (an_hour_ago, an_hour_ago))
    return folder


def test_symlinked_clip_is_left_alone(root: Path, outside: Path) -> None:
    put(root, clip_name("other"))
    (root / DAY / clip_name()).symlink_to(outside / clip_name())
    before = standing(outside)
    told = archiverd("run", root, "--no-confirm", "--json").json
    assert (archives(root), told["plan"]["ignored"]) == ([clip_name("other")], {"symlink": 1})
    assert (standing(outside), (root / DAY / clip_name()).is_symlink()) == (before, True)


def test_symlinked_date_directory_is_left_alone(root: Path, outside: Path) -> None:
    (root / DAY).parent.mkdir(parents=True)
    (root / DAY).symlink_to(outside)
    before = standing(outside)
    told = archiverd("run", root, "--no-confirm", "--json").json
    assert (archives(root), told["plan"]["ignored"]) == ([], {"symlink": 1})
    assert standing(outside) == before


def test_protected_clip_is_archived_and_stays(root: Path) -> None:
    path = put(root, clip_name())
    path.with_suffix(".keep").touch()
    assert archiverd("run", root, "--no-confirm").code == 0
    assert (archives(root), path.read_bytes()) == ([clip_name()], content())


def test_delete_leaves_nothing_in_the_trash(root: Path) -> None:
    put(root, clip_name())
    put(root, clip_name(suffix=".jpg"), b"snapshot")
    assert archiverd("run", root, "--no-confirm", "--delete").code == 0
    left = [path for path in root.rglob("REO_*") if "archived" not in path.parts]
    assert (left, archives(root)) == ([], [clip_name()])


# ---- where archives and trash stand


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than the tree of the test."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="archiverd-test-") as folder:
        assert os.stat(folder).st_dev != tmp_path.stat().st_dev
        yield Path(folder)


def test_trash_may_stand_on_another_file_system(root: Path, other_disk: Path) -> None:
    path = put(root, clip_name())
    mtime_ns = path.stat().st_mtime_ns
    put(root, clip_name(suffix=".jpg"), b"snapshot")
    assert archiverd("run", root, "--no-confirm", "--trash-root", other_disk).code == 0
    moved = other_disk / DAY / clip_name()
    assert (moved.read_bytes(), moved.stat().st_mtime_ns) == (content(), mtime_ns)
    assert moved.with_suffix(".jpg").read_bytes() == b"snapshot"
    assert (list((root / DAY).iterdir()), sorted(p.name for p in moved.parent.iterdir())) == (
        [],
        [clip_name(suffix=".jpg"), clip_name()],
    )


def test_archives_may_stand_on_another_file_system(root: Path, other_disk: Path) -> None:
    put(root, clip_name())
    assert archiverd("run", root, "--no-confirm", "--output", other_disk).code == 0
    assert [path.name for path in (other_disk / DAY).iterdir()] == [clip_name()]


def other_group() -> grp.struct_group:
    """A group files may be given to that they do not have by themselves."""
    named = grp.getgrall() if os.geteuid() == 0 else [grp.getgrgid(gid) for gid in os.getgroups()]
    return next((group for group in named if group.gr_gid != os.getegid()), grp.getgrgid(os.getegid()))


def test_archives_get_the_group_and_modes_asked_for(root: Path, tmp_path: Path) -> None:
    put(root, clip_name())
    group = other_group()
    asked = config(tmp_path, f'group = "{group.gr_name}"', 'file_mode = "0664"', 'dir_mode = "2771"')
    assert archiverd("run", root, "--no-confirm", config=asked).code == 0
    archive = root / "archived" / DAY / clip_name()
    seen = [(path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) for path in (archive, archive.parent)]
    assert seen == [(group.gr_gid, 0o664), (group.gr_gid, 0o2771)]


# ---- what cannot begin


def test_missing_input_is_told_and_exits_69(tmp_path: Path) -> None:
    told = archiverd("run", tmp_path / "nowhere", "--no-confirm")
    assert (told.code, told.out) == (69, "")
    last = told.err.splitlines()[-2:]
    assert last == [
        f"archiverd: {tmp_path}/nowhere: the input directory is not there",
        "  Is it mounted, and is the name right?",
    ]


def test_missing_input_is_not_made(tmp_path: Path) -> None:
    archiverd("run", tmp_path / "nowhere", "--no-confirm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", ["ffmpeg", "ffprobe"])
def test_machine_without_ffmpeg_is_told_what_to_install(root: Path, tmp_path: Path, program: str) -> None:
    path = put(root, clip_name())
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in {"ffmpeg", "ffprobe", "setpriv", "prlimit", "nice", "ionice"} - {program}:
        (bare / name).symlink_to(shutil.which(name) or name)
    told = archiverd("run", root, "--no-confirm", PATH=str(bare))
    assert told.code == 69
    assert f"{program} was not found (PATH is {bare})" in told.err
    assert "apt install ffmpeg" in told.err
    assert path.read_bytes() == content()


def test_second_archiverd_on_a_tree_is_refused(root: Path) -> None:
    put(root, clip_name())
    with typed("run", root) as session:
        until(lambda: session.shows("[y/N] "))
        told = archiverd("run", root, "--no-confirm")
    assert told.code == 75
    assert "another archiverd is at work on this source tree" in told.err


def test_second_archiverd_may_still_ask(root: Path) -> None:
    put(root, clip_name())
    with typed("run", root) as session:
        until(lambda: session.shows("[y/N] "))
        asked = [archiverd(verb, root).code for verb in ("status", "list")]
    assert asked == [0, 0]
