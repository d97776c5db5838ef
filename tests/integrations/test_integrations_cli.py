"""The command line as a program: what it refuses and how, what it shows of its configuration, how light it starts."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from archiverd import __version__
from archiverd.errors import ConfigError
from tests.program import ARCHIVERD, NO_CONFIG, archiverd, environment, standing, unmeasured


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "camera"
    root.mkdir()
    return root


def written(folder: Path, text: str) -> Path:
    path = folder / "archiverd.toml"
    path.write_text(text)
    return path


# ---- version and help


def test_version_is_told() -> None:
    told = archiverd("--version", config=None)
    assert (told.code, told.out, told.err) == (0, f"archiverd, version {__version__}\n", "")


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("run", "--help"), ("run", "--no-such-option")])
def test_what_needs_no_work_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    command = (ARCHIVERD[0], "-X", "importtime", *ARCHIVERD[1:], *arguments)
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=unmeasured())
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "archiverd.cli" in loaded
    assert loaded & {"rich", "pydantic", "sqlite3", "subprocess", "watchdog", "archiverd.pipeline"} == set()


@pytest.mark.parametrize("verb", ["run", "discover", "status", "list", "why", "check", "config"])
def test_help_knows_each_verb(verb: str) -> None:
    assert re.search(rf"^  {verb}  ", archiverd("--help", config=None).out, re.MULTILINE)


@pytest.mark.parametrize("verb", ["run", "discover", "status", "list", "why", "check"])
def test_help_of_a_verb_gives_an_example(verb: str) -> None:
    assert f"\n    archiverd {verb} " in archiverd(verb, "--help", config=None).out


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("walk",), "No such command 'walk'"),
        (("run", "--no-such-option"), "No such option"),
        (("run", "{root}", "{root}"), "unexpected extra argument"),
        (("why",), "Missing argument 'PATH'"),
        (("list", "{root}", "--state", "lost"), "--state lost: there is no such state"),
        (("list", "{root}", "--since", "yore"), "--since yore: is neither a date nor a duration"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(root: Path, arguments: tuple[str, ...], words: str) -> None:
    told = archiverd(*(word.format(root=root) for word in arguments), config=None)
    assert (told.code, told.out) == (2, "")
    assert words in told.err


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (("--hardware", "gpu"), "hardware: must be auto, qsv, vaapi or software"),
        (("--codec", "av1"), "codec: must be hevc or h264"),
        (("--age", "soon"), 'age: "soon" is not a duration; write for instance "30 days", "90s" or "1h30m"'),
        (("--age", "0"), "age: must be more than zero"),
        (("--max-size", "500"), 'max_size: write a number and a unit, for instance "500GB" or "1.5TiB"'),
    ],
    ids=" ".join,
)
def test_option_that_cannot_be_had_exits_78_in_clear_words(root: Path, option: tuple[str, ...], line: str) -> None:
    told = archiverd("run", root, "--no-confirm", *option)
    assert (told.code, told.out, told.err) == (78, "", f"archiverd: command line: {line}\n")


def test_option_that_cannot_be_had_leaves_the_tree_alone(root: Path) -> None:
    before = standing(root)
    archiverd("run", root, "--no-confirm", "--age", "0")
    assert standing(root) == before


BAD = """\
setle = "5 s"
age = 30
file_mode = "0240"
max_height = 719
cleanup = true
directory = "camera"
hardware = "gpu"
[storage]
size = 3
"""


@pytest.mark.parametrize("verb", [("run",), ("run", "--dry-run"), ("status",), ("list",), ("config", "check")], ids=str)
def test_every_problem_of_a_configuration_is_told_at_once(tmp_path: Path, verb: tuple[str, ...]) -> None:
    bad = written(tmp_path, BAD)
    told = archiverd(*verb, config=bad)
    lines = told.err.splitlines()
    assert (told.code, told.out) == (78, "")
    keys = {line.removeprefix(f"archiverd: {bad}: ").split(":")[0] for line in lines}
    assert keys == {"setle", "age", "file_mode", "max_height", "cleanup", "directory", "hardware", "storage"}
    assert len(lines) == len(keys)


def test_problems_of_file_and_command_line_come_together(tmp_path: Path, root: Path) -> None:
    bad = written(tmp_path, "age = 30\n")
    told = archiverd("run", root, "--codec", "av1", "--output", root, config=bad)
    assert sorted(line.split(": ")[1:3] for line in told.err.splitlines()) == [
        [str(bad), "age"],
        ["command line", "codec"],
        ["command line", "output"],
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no such file"),
        (b"age = ", "not valid TOML"),
        (b"group = '\xff'", "not UTF-8 (at line 1)"),
    ],
    ids=["missing", "broken", "not UTF-8"],
)
def test_unreadable_configuration_exits_78(tmp_path: Path, text: bytes | None, words: str) -> None:
    path = tmp_path / "archiverd.toml"
    if text is not None:
        path.write_bytes(text)
    told = archiverd("config", "check", config=path)
    assert told.code == 78
    assert told.err.startswith(f"archiverd: {path}: {words}")


@pytest.mark.parametrize("verb", ["status", "list"])
def test_question_without_a_catalog_exits_69_and_says_how_to_begin(root: Path, verb: str) -> None:
    told = archiverd(verb, root)
    assert (told.code, told.out) == (69, "")
    assert told.err.splitlines() == [
        f"archiverd: {root}/.archiverd/catalog.sqlite: there is no catalog yet",
        f"  Begin with: archiverd run {root} --dry-run.",
    ]


@pytest.mark.parametrize("verb", [("status",), ("list",), ("run", "--dry-run"), ("config", "show")], ids=str)
def test_verb_that_asks_makes_nothing(root: Path, verb: tuple[str, ...]) -> None:
    before = standing(root)
    archiverd(*verb, root)
    assert standing(root) == before


def test_catalog_that_is_none_is_told(root: Path) -> None:
    (root / ".archiverd").mkdir()
    (root / ".archiverd" / "catalog.sqlite").write_bytes(b"no database at all" * 100)
    told = archiverd("status", root)
    assert told.code == 69
    assert "catalog.sqlite: the catalog is damaged" in told.err
    assert "no recording is lost by that" in told.err


# ---- an empty tree


@pytest.mark.parametrize("options", [("--dry-run",), ("--no-confirm",)], ids=" ".join)
def test_run_over_nothing_says_so(root: Path, options: tuple[str, ...]) -> None:
    told = archiverd("run", root, *options)
    assert (told.code, told.out.splitlines()[0]) == (0, "There is nothing here.")


def test_run_over_nothing_is_one_json_document(root: Path) -> None:
    told = archiverd("run", root, "--no-confirm", "--json")
    assert (told.code, told.json["outcomes"], told.json["stopped"]) == (0, [], None)


def test_list_of_nothing_says_so(root: Path) -> None:
    archiverd("run", root, "--no-confirm")
    assert archiverd("list", root).out == "No recordings.\n"


# ---- the configuration


def test_config_check_says_that_a_file_is_good_and_what_goes_when(tmp_path: Path) -> None:
    good = written(tmp_path, 'age = "90 days"\n')
    told = archiverd("config", "check", config=good)
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines() == [
        f"{good}: good",
        "  source: all cameras: what has been quarantined for longer than 90 days goes to the trash",
        "  trash: all cameras: what has lain there for longer than 90 days goes for good",
        "  archive: all cameras: nothing goes",
    ]
    rules = archiverd("config", "check", "--json", config=good).json["rules"]
    assert rules == [{"tree": tree, "cameras": ["*"], "age": "90 days"} for tree in ("source", "trash")]


def test_config_check_names_a_command_that_is_not_there_and_a_run_goes_on(tmp_path: Path, root: Path) -> None:
    doubtful = written(tmp_path, 'on_problem = ["no-such-program"]\n')
    told = archiverd("config", "check", config=doubtful)
    assert told.code == ConfigError.exit_code
    assert f"{doubtful}: on_problem: no-such-program was not found" in told.err
    assert archiverd("run", root, "--no-confirm", config=doubtful).code == 0


def test_config_show_tells_where_each_value_comes_from(tmp_path: Path, root: Path) -> None:
    file = written(tmp_path, 'age = "90 days"\nstate_dir = "/var/lib/archiverd"\n')
    lines = archiverd("config", "show", root, "--state-dir", tmp_path / "state", config=file).out.splitlines()
    assert f'directory = "{root}"  # command line' in lines
    assert f'output = "{root}/archived"  # default' in lines
    assert f'state_dir = "{tmp_path}/state"  # command line' in lines
    assert f'age = "90 days"  # {file}' in lines


def test_config_show_can_be_loaded_again(tmp_path: Path, root: Path) -> None:
    shown = archiverd("config", "show", root).out
    again = archiverd("config", "show", config=written(tmp_path, shown)).out
    values = [[line.partition("  # ")[0] for line in text.splitlines()] for text in (shown, again)]
    assert values[0] == values[1] != []


def test_config_show_is_json_for_programs(tmp_path: Path) -> None:
    file = written(tmp_path, "quality = 30\n")
    shown = json.loads(archiverd("config", "show", "--json", config=file).out)
    assert shown["file"] == str(file)
    assert shown["settings"]["quality"] == {"value": 30, "source": str(file)}


def test_catalog_stands_where_it_was_asked_for(tmp_path: Path, root: Path) -> None:
    state = tmp_path / "state"
    archiverd("run", root, "--no-confirm", "--state-dir", state)
    assert (state / "catalog.sqlite").is_file()
    assert not (root / ".archiverd").exists()


def test_log_stands_where_it_was_asked_for(tmp_path: Path, root: Path) -> None:
    log = tmp_path / "run.log"
    archiverd("run", root, "--no-confirm", "--log-file", log)
    assert "marked as the source tree" in log.read_text()
    assert not (root / "archiver.log").exists()


def test_log_without_its_directory_is_not_begun(tmp_path: Path, root: Path) -> None:
    told = archiverd("run", root, "--no-confirm", "--log-file", tmp_path / "nowhere" / "run.log")
    assert (told.code, told.err) == (0, "")
    assert not (tmp_path / "nowhere").exists()


def socket_there(folder: Path) -> Path:
    """Cannot even be opened."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(folder / "run.log"))
    return folder / "run.log"


def full_disk(_: Path) -> Path:
    """Can be opened, and takes nothing."""
    return Path("/dev/full")


@pytest.mark.parametrize(
    ("make", "reason"), [(socket_there, "No such device or address"), (full_disk, "No space left on device")]
)
def test_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, root: Path, make: Callable[[Path], Path], reason: str
) -> None:
    log = make(tmp_path)
    told = archiverd("run", root, "--no-confirm", "--log-file", log)
    assert (told.code, told.out.splitlines()[0]) == (0, "There is nothing here.")
    assert f"log file {log} cannot be written: {reason}; the console takes its lines" in told.err
    assert "marked as the source tree" in told.err


@pytest.mark.parametrize(
    ("options", "levels"),
    [((), set()), (("-v",), {"INFO"}), (("-q",), set())],
    ids=str,
)
def test_console_says_as_much_as_asked(root: Path, options: tuple[str, ...], levels: set[str]) -> None:
    told = archiverd("run", root, "--no-confirm", *options)
    assert {line.split()[1] for line in told.err.splitlines()} == levels


def test_whole_program_runs_from_any_directory(root: Path) -> None:
    done = subprocess.run(
        (*ARCHIVERD, "run", os.path.relpath(root, "/"), "--dry-run", "--config", "/dev/null"),
        check=False, capture_output=True, text=True, cwd="/", env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("config", "show", "/camera"), id="what was asked for"),
        pytest.param(("run", "/not there", "--no-confirm"), id="an error"),
    ],
)
def test_output_that_cannot_be_written_does_not_become_the_exit_code_of_python(arguments: tuple[str, ...]) -> None:
    """Python ends with 120 where it can't flush at its end."""
    with Path("/dev/full").open("w") as full:
        command = (*ARCHIVERD, *arguments, "--config", str(NO_CONFIG))
        done = subprocess.run(command, env=environment(), stdout=full, stderr=full, check=False, timeout=60)
    assert done.returncode == 69
