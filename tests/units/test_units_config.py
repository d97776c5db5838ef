from __future__ import annotations

import datetime as dt
import grp
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ByteSize, ValidationError

from archiverd.config import (
    COMMAND_LINE,
    DEFAULT,
    FILE_KEYS,
    MODES,
    Codec,
    Config,
    Hardware,
    Loaded,
    Order,
    WhenFull,
    as_json,
    doubts,
    load,
    show,
)
from archiverd.errors import ConfigError, Problem
from archiverd.policy.name_patterns import CANONICAL
from tests.program import unmeasured

COMMAND = 'write a list of texts, the program and its arguments, for instance ["mail", "root"]'
DAY_S = 86400
REFERENCE = Path(__file__).parents[2] / "docs" / "ref" / "config.md"
NOWHERE = Path("/nonexistent/archiverd.toml")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def to_file(text: str) -> Path:
        file = tmp_path / "archiverd.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return to_file


def load_options(**options: object) -> Loaded:
    return load(None, options, default_file=NOWHERE)


def problems_of(file: Path | None, **options: object) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(file, options, default_file=NOWHERE)
    return caught.value.problems


def problem_of(file: Path | None, **options: object) -> Problem:
    (problem,) = problems_of(file, **options)
    return problem


# --- values ----------------------------------------------------------------------------------------------


def test_defaults_hang_on_the_directory(tmp_path: Path) -> None:
    config = load_options(directory=tmp_path).config

    assert (config.output, config.trash_root, config.state_dir, config.log_file) == (
        tmp_path / "archived",
        tmp_path / ".deleted",
        tmp_path / ".archiverd",
        tmp_path / "archiver.log",
    )


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ('age = "30 days"', "age", 30 * DAY_S),
        ('age = "6 weeks"', "age", 42 * DAY_S),
        ('settle = "90s"', "settle", 90),
        ('settle = "1h30m"', "settle", 5400),
        ('settle = "0.25 seconds"', "settle", 0.25),
        ('settle = "0s"', "settle", 0),
        ('max_memory = "8GiB"', "max_memory", 8 * 2**30),
        ('max_memory = "500 gb"', "max_memory", 500 * 10**9),
        ('max_memory = "1.5TiB"', "max_memory", 3 * 2**39),
        ('hardware = "software"', "hardware", Hardware.SOFTWARE),
        ('codec = "h264"', "codec", Codec.H264),
        ('order = "newest"', "order", Order.NEWEST),
        ('preset = "veryslow"', "preset", "veryslow"),
        ('log_level = "debug"', "log_level", "debug"),
        ("quality = 0", "quality", 0),
        ('quality = "none"', "quality", None),
        ("max_height = 720", "max_height", 720),
        ("nice = 19", "nice", 19),
        ("delete = true", "delete", True),
        ("idle_io = false", "idle_io", False),
        ("confine = false", "confine", False),
        ('file_mode = "0600"', "file_mode", 0o600),
        ('file_mode = "644"', "file_mode", 0o644),
        ('dir_mode = "2750"', "dir_mode", 0o2750),
        ('max_size = "none"', "max_size", None),
        ('max_size = "500GB"', "max_size", 500 * 10**9),
        ("clean_output = true", "clean_output", True),
        ('when_full = "oldest"', "when_full", WhenFull.OLDEST),
        ("max_removal = 100", "max_removal", 100),
        ('history = "52 weeks"', "history", 364 * DAY_S),
        ('group = "root"', "group", "root"),
        ('log_file = "/var/log/archiver.log"', "log_file", Path("/var/log/archiver.log")),
        ('names = ["dahua", "reolink"]', "names", ("dahua", "reolink")),
        ('on_problem = ["mail", "-s", "", "a & b"]', "on_problem", ("mail", "-s", "", "a & b")),
        ("on_problem = []", "on_problem", ()),
        ('min_free = "none"', "min_free", None),
        ("names = ['(?P<camera>.+)_(?P<stamp>\\d{14})']", "names", (r"(?P<camera>.+)_(?P<stamp>\d{14})",)),
    ],
)
def test_value_in_the_file_is_read(write: Callable[[str], Path], text: str, key: str, value: object) -> None:
    assert getattr(load(write(text), {}).config, key) == value


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [
        ("age", "30", 30 * DAY_S),
        ("age", 45, 45 * DAY_S),
        ("age", "1.5", 1.5 * DAY_S),
        ("age", "6 weeks", 42 * DAY_S),
        ("quality", "28", 28),
        ("codec", "h264", Codec.H264),
        ("no_skip", True, True),
        ("dry_run", True, True),
        ("no_confirm", True, True),
        ("cleanup", True, True),
        ("clean_output", True, True),
        ("max_size", "500GB", 500 * 10**9),
    ],
)
def test_option_is_read_as_typed(key: str, typed: object, value: object) -> None:
    assert getattr(load_options(**{key: typed}).config, key) == value


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("age = 30", "age", 'write a number and a unit, for instance "30 days"'),
        ('age = "30"', "age", 'write a number and a unit, for instance "30 days"'),
        ("age = nan", "age", 'write a number and a unit, for instance "30 days"'),
        ('age = ""', "age", 'write a number and a unit, for instance "30 days"'),
        ("age = 2026-01-01", "age", 'write a number and a unit, for instance "30 days"'),
        ('age = "30 dys!"', "age", '"30 dys!" is not a duration; write for instance "30 days", "90s" or "1h30m"'),
        ('age = "1:30"', "age", '"1:30" is not a duration; write for instance "30 days", "90s" or "1h30m"'),
        ('age = "0 days"', "age", "must be more than zero"),
        ('age = "-1 day"', "age", "must not be negative"),
        ('settle = "-1 day"', "settle", "must not be negative"),
        ('age = "36501 days"', "age", "must be at most 36500 days"),
        ('job_timeout = "0s"', "job_timeout", "must be more than zero"),
        ('stop_timeout = "0.0001s"', "stop_timeout", "must be more than zero"),
        ("max_memory = 8589934592", "max_memory", 'write a number and a unit, for instance "500GB" or "1.5TiB"'),
        ('max_memory = "8G"', "max_memory", 'write a number and a unit, for instance "500GB" or "1.5TiB"'),
        ('max_memory = "8GiB or so"', "max_memory", 'write a number and a unit, for instance "500GB" or "1.5TiB"'),
        ('max_memory = "9PiB"', "max_memory", "must be at most 8PiB"),
        ('max_memory = "8MiB"', "max_memory", "must be at least 256MiB, or ffmpeg does not start"),
        (f'max_memory = "{"9" * 400}GiB"', "max_memory", 'write a number and a unit, for instance "500GB" or "1.5TiB"'),
        ('max_size = "0B"', "max_size", "must be more than zero"),
        ('hardware = "cuda"', "hardware", "must be auto, qsv, vaapi or software"),
        ("codec = 265", "codec", "must be hevc or h264"),
        ("order = []", "order", "must be oldest or newest"),
        ('log_level = "loud"', "log_level", "must be debug, info, warning or error"),
        ('quality = "26"', "quality", "write a whole number"),
        ("quality = 26.0", "quality", "write a whole number"),
        ("quality = true", "quality", "write a whole number"),
        ("quality = 52", "quality", "must be from 0 to 51"),
        ("nice = -1", "nice", "must be from 0 to 19"),
        ("nice = 0x" + "f" * 9000, "nice", "must be from 0 to 19"),
        ("age = 0x" + "f" * 9000, "age", 'write a number and a unit, for instance "30 days"'),
        ("attempts = 0", "attempts", "must be from 1 to 100"),
        ("max_removal = 0", "max_removal", "must be from 1 to 100"),
        ("max_removal = 101", "max_removal", "must be from 1 to 100"),
        ('max_removal = "20 %"', "max_removal", "write a whole number"),
        ('when_full = "newest"', "when_full", "must be stop or oldest"),
        ('clean_output = "yes"', "clean_output", "write true or false"),
        ('history = "0 days"', "history", "must be more than zero"),
        ("max_height = 14", "max_height", "must be from 16 to 8192"),
        ("max_height = 721", "max_height", "must be even: encoders take no odd height"),
        ("delete = 1", "delete", "write true or false"),
        ('delete = "yes"', "delete", "write true or false"),
        ("file_mode = 640", "file_mode", 'write the octal digits as text, for instance "0640"'),
        ('file_mode = "0849"', "file_mode", 'write the octal digits as text, for instance "0640"'),
        ('file_mode = "0440"', "file_mode", "must leave the owner at least 0600, or archiverd shuts itself out"),
        ('file_mode = "4755"', "file_mode", "must be at most 0777"),
        ('dir_mode = "0650"', "dir_mode", "must leave the owner at least 0700, or archiverd shuts itself out"),
        ('dir_mode = "4755"', "dir_mode", "must be at most 2777"),
        ('group = "no such group"', "group", 'there is no group "no such group" on this machine'),
        ('group = "a\\u0000b"', "group", 'there is no group "a\\u0000b" on this machine'),
        ("group = 0", "group", "write the name of a group"),
        ('group = ""', "group", "write the name of a group"),
        ('names = "reolink"', "names", 'write a list of texts, for instance ["reolink"]'),
        ("names = [1]", "names", 'write a list of texts, for instance ["reolink"]'),
        ('on_problem = "mail root"', "on_problem", COMMAND),
        ('on_problem = ["mail", 1]', "on_problem", COMMAND),
        ('on_problem = [""]', "on_problem", "names no program"),
        ('on_problem = ["mail", "a\\u0000b"]', "on_problem", "holds a NUL, which no argument can"),
        (
            'on_problem = ["bin/mail"]',
            "on_problem",
            '"bin/mail" is relative; write an absolute path, or the name of a program on PATH',
        ),
        ("names = []", "names", "is empty; name a make (reolink, hikvision, dahua) or a pattern"),
        (
            "names = ['reolink', '(?P<camera>.+)']",
            "names",
            (
                'element 2, "(?P<camera>.+)": the time is not complete: date and time missing; '
                "give a stamp, or date and time"
            ),
        ),
        ('output = "archived"', "output", '"archived" is relative; write an absolute path'),
        ('output = "~/archived"', "output", '"~/archived" is relative; write an absolute path'),
        ('output = ""', "output", 'write a path as text, for instance "/camera"'),
        ("output = 1", "output", 'write a path as text, for instance "/camera"'),
        ('output = "/a\\u0000b"', "output", '"/a\\u0000b" cannot be resolved (embedded null byte)'),
        ('log_file = "/a\\u0000b"', "log_file", '"/a\\u0000b" cannot be resolved (embedded null byte)'),
    ],
)
def test_value_that_cannot_be_used_is_said_in_words(
    write: Callable[[str], Path], text: str, key: str, said: str
) -> None:
    file = write(text)

    assert problem_of(file) == Problem(str(file), key, said)


@pytest.mark.parametrize(
    ("key", "typed", "said"),
    [
        ("age", "0", "must be more than zero"),
        ("age", "-3", "must not be negative"),
        ("settle", "30", 'write a number and a unit, for instance "30 days"'),
        ("max_memory", "1000", 'write a number and a unit, for instance "500GB" or "1.5TiB"'),
        ("quality", "good", "write a whole number"),
        ("output", "", 'write a path as text, for instance "/camera"'),
        ("age", "\udcff", r'"\udcff" is not a duration; write for instance "30 days", "90s" or "1h30m"'),
        ("group", "\udcff", r'there is no group "\udcff" on this machine'),
        ("codec", "\udcff", "is not UTF-8"),
        ("log_file", "/usr/nonexistent/..", "/usr is a directory; write the path of a file"),
        ("dryrun", True, "there is no such option"),
    ],
)
def test_option_that_cannot_be_used_is_said_in_words(key: str, typed: object, said: str) -> None:
    assert problem_of(None, **{key: typed}) == Problem(COMMAND_LINE, key, said)


@pytest.mark.parametrize(
    ("values", "key", "value"),
    [
        ({"settle": 0.1}, "settle", 0.1),
        ({"age": 86400}, "age", 86400.0),
        ({"max_memory": ByteSize(2**30)}, "max_memory", 2**30),
        ({"file_mode": 0o600}, "file_mode", 0o600),
    ],
)
def test_config_from_python_takes_plain_numbers(values: dict[str, Any], key: str, value: object) -> None:
    assert getattr(Config(**values), key) == value


@pytest.mark.parametrize("values", [{"age": "30 days"}, {"age": True}, {"settle": float("nan")}, {"unheard_of": 1}])
def test_config_from_python_refuses_what_is_not_of_its_types(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config(**values)


def test_patterns_are_those_of_the_names() -> None:
    assert Config().patterns == CANONICAL
    assert {pattern.element for pattern in Config(names=("dahua",)).patterns.patterns} == {"dahua"}


@pytest.mark.parametrize(
    ("codec", "quality", "crf"),
    [(Codec.HEVC, None, 25), (Codec.H264, None, 23), (Codec.HEVC, 30, 30), (Codec.H264, 0, 0)],
)
def test_crf_is_the_quality_or_what_suits_the_codec(codec: Codec, quality: int | None, crf: int) -> None:
    assert Config(codec=codec, quality=quality).crf == crf


def test_gid_is_the_number_of_the_group() -> None:
    entry = max(grp.getgrall(), key=lambda group: group.gr_gid)

    assert Config(group=entry.gr_name).gid == entry.gr_gid


def test_gid_is_none_without_a_group() -> None:
    assert Config().gid is None


# --- paths -----------------------------------------------------------------------------------------------


def test_option_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_options(directory="in").config.directory == tmp_path / "in"


def test_option_path_expands_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load_options(output="~/out").config.output == tmp_path / "out"


def test_path_is_resolved_through_its_symlinks(tmp_path: Path) -> None:
    (tmp_path / "disk" / "archive").mkdir(parents=True)
    (tmp_path / "camera").mkdir()
    (tmp_path / "link").symlink_to("camera")
    (tmp_path / "camera" / "archived").symlink_to(tmp_path / "disk" / "archive")

    config = load_options(directory=tmp_path / "link").config

    assert (config.directory, config.output) == (tmp_path / "camera", tmp_path / "disk" / "archive")


def test_default_that_is_a_link_to_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archived").symlink_to(".")

    said = problem_of(None, directory=tmp_path).message

    assert said == f"directory and output are the same directory ({tmp_path}); each needs its own"


def test_path_that_is_not_utf8_survives() -> None:
    path = os.fsdecode(b"/camera\xff")

    assert os.fsencode(load_options(directory=path).config.directory) == b"/camera\xff"


# --- the file --------------------------------------------------------------------------------------------


def test_default_file_is_read_where_it_exists(write: Callable[[str], Path]) -> None:
    file = write('codec = "h264"')

    loaded = load(None, {}, default_file=file)

    assert (loaded.file, loaded.config.codec) == (file, Codec.H264)


def test_missing_default_file_is_no_file() -> None:
    assert load_options().file is None


def test_named_file_is_read_instead_of_the_default_file(write: Callable[[str], Path], tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("nice = 1")

    assert load(other, {}, default_file=write("nice = 2")).config.nice == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'codec = "h264"\nnice == 3\n', r"not valid TOML: .*at line 2"),
        (b"nice = 1\nnice = 2\n", r"not valid TOML: .*at line 2"),
        (b"file_mode = 0640\n", r"not valid TOML: .*at line 1"),
        (b'codec = "h264"\ngroup = "\xff"\n', r"not UTF-8 \(at line 2\)"),
        (b"nice = " + b"[" * 100_000, r"not valid TOML: "),
        (b"nice = " + b"9" * 5000, r"not valid TOML: "),
    ],
)
def test_file_that_is_not_toml_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)

    problem = problem_of(file)

    assert (problem.where, problem.key) == (str(file), "")
    assert re.match(said, problem.message)


def test_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "no.toml") == Problem(str(tmp_path / "no.toml"), "", "there is no such file")


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path) == Problem(str(tmp_path), "", "cannot be read (Is a directory)")


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("trash = 1", "trash", "there is no such key"),
        ('keep = "7 days"', "keep", "there is no such key but in a rule; write it below [[retention]]"),
        ("[[retentions]]\n", "retentions", "there is no such key; did you mean retention?"),
        ('trash_rot = "/t"', "trash_rot", "there is no such key; did you mean trash_root?"),
        ('log-file = "/l"', "log-file", "there is no such key; did you mean log_file?"),
        ("[archiverd]\nnice = 3", "archiverd", "there is no such table; keys stand at the top of the file"),
        ("no_skip = true", "no_skip", "is a mode of one call, not a setting; give --no-skip on the command line"),
        ("dry-run = true", "dry-run", "is a mode of one call, not a setting; give --dry-run on the command line"),
        ("cleanup = true", "cleanup", "is a mode of one call, not a setting; give --cleanup on the command line"),
    ],
)
def test_unknown_key_is_refused_and_the_nearest_named(
    write: Callable[[str], Path], text: str, key: str, said: str
) -> None:
    problem = problem_of(write(text))

    assert (problem.key, problem.message[: len(said)]) == (key, said)


# --- where values come from, and all problems at once --------------------------------------------------------


def test_sources_name_where_each_value_came_from(write: Callable[[str], Path]) -> None:
    file = write('codec = "h264"\nnice = 5')

    loaded = load(file, {"nice": 6, "no_skip": True, "quality": None})

    assert {key: loaded.sources[key] for key in ("codec", "nice", "no_skip", "quality", "output")} == {
        "codec": str(file),
        "nice": COMMAND_LINE,
        "no_skip": COMMAND_LINE,
        "quality": DEFAULT,
        "output": DEFAULT,
    }
    assert loaded.sources.keys() == Config.model_fields.keys()


def test_option_stands_over_the_file(write: Callable[[str], Path]) -> None:
    assert load(write("nice = 5"), {"nice": 6}).config.nice == 6


def test_option_none_unsets_what_the_file_sets(write: Callable[[str], Path]) -> None:
    assert load(write("max_height = 720"), {"max_height": "none"}).config.max_height is None


def test_every_problem_is_named_at_once(write: Callable[[str], Path]) -> None:
    file = write(
        'age = 30\ncodec = "av1"\nqualty = 3\ndry_run = true\ndirectory = "/c"\noutput = "/c/2026"\n'
        'trash_root = "/t"\nstate_dir = "/t/s"\nlog_file = "/t/l"\n'
    )

    named = {(problem.where, problem.key) for problem in problems_of(file, hardware="gpu", settle="5", max_size="1")}

    assert named == {
        (str(file), "age"),
        (str(file), "codec"),
        (str(file), "qualty"),
        (str(file), "dry_run"),
        (str(file), "output"),
        (str(file), "state_dir"),
        (str(file), "log_file"),
        (COMMAND_LINE, "hardware"),
        (COMMAND_LINE, "settle"),
        (COMMAND_LINE, "max_size"),
    }


def test_problem_of_the_directory_raises_none_with_what_hangs_on_it(write: Callable[[str], Path]) -> None:
    # Were the default /camera put in its place, this output would seem to lie in a year.
    file = write('directory = "camera"\noutput = "/camera/2026"')

    assert {problem.key for problem in problems_of(file)} == {"directory"}


def test_problem_of_the_directory_hides_none_of_the_other_trees(write: Callable[[str], Path]) -> None:
    # The same default /camera would seem to lie in this output.
    file = write('directory = "camera"\noutput = "/camera"\ntrash_root = "/camera/t"')

    assert {problem.key for problem in problems_of(file)} == {"directory", "trash_root"}


def test_default_that_cannot_be_resolved_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ("n" * 200)).mkdir()
    where = tmp_path / ("n" * 200)
    loop = where / ".deleted"
    loop.symlink_to(".deleted")

    if sys.version_info < (3, 13):  # since then a loop resolves to itself
        assert problem_of(None, directory=where).key == "trash_root"
    else:
        assert load_options(directory=where).config.trash_root == loop


def test_error_prints_every_problem_on_a_line(write: Callable[[str], Path]) -> None:
    file = write("age = 30\nnice = 20")

    with pytest.raises(ConfigError) as caught:
        load(file, {})

    assert str(caught.value).splitlines() == [
        f'{file}: age: write a number and a unit, for instance "30 days"',
        f"{file}: nice: must be from 0 to 19",
    ]


# --- how settings stand to each other ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ({"output": "/c"}, "output", "directory and output are the same directory (/c)"),
        ({"state_dir": "/c"}, "state_dir", "directory and state_dir are the same directory (/c)"),
        ({"output": "/x", "trash_root": "/x"}, "trash_root", "output and trash_root are the same directory (/x)"),
        ({"trash_root": "/c/archived/t"}, "trash_root", "trash_root (/c/archived/t) lies inside output (/c/archived)"),
        ({"output": "/c/.deleted/o"}, "output", "output (/c/.deleted/o) lies inside trash_root (/c/.deleted)"),
        ({"state_dir": "/c/archived/s"}, "state_dir", "state_dir (/c/archived/s) lies inside output (/c/archived)"),
        ({"trash_root": "/c/.archiverd/t"}, "trash_root", "trash_root (/c/.archiverd/t) lies inside state_dir"),
        ({"output": "/c/x/../.deleted"}, "output", "output and trash_root are the same directory (/c/.deleted)"),
        ({"output": "/c/2026"}, "output", "output (/c/2026) lies where the footage of a year lies"),
        ({"trash_root": "/c/2026/03"}, "trash_root", "trash_root (/c/2026/03) lies where the footage of a year lies"),
        ({"log_file": "/c/archived/log"}, "log_file", "log_file (/c/archived/log) lies inside output (/c/archived)"),
        ({"log_file": "/c/.deleted/log"}, "log_file", "log_file (/c/.deleted/log) lies inside trash_root"),
        ({"log_file": "/c/archived"}, "log_file", "log_file (/c/archived) is, or holds, the directory of output"),
        ({"log_file": "/usr"}, "log_file", "/usr is a directory; write the path of a file"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(options: dict[str, object], key: str, said: str) -> None:
    problem = problem_of(None, **{"directory": "/c", **options})

    assert (problem.where, problem.key, problem.message[: len(said)]) == (COMMAND_LINE, key, said)


def test_directory_inside_another_tree_is_refused_once() -> None:
    said = problem_of(None, directory="/o/camera", output="/o").message

    assert said == "directory (/o/camera) lies inside output (/o); neither may hold the other"


def test_trees_that_are_all_the_directory_are_each_refused() -> None:
    problems = problems_of(None, directory="/c", output="/c", trash_root="/c", state_dir="/c")

    assert [problem.key for problem in problems] == ["output", "trash_root", "state_dir"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"output": "/archive", "trash_root": "/trash", "state_dir": "/var/lib/archiverd", "log_file": "/var/log/a.log"},
        {"output": "/c/archive/2026"},
        {"output": "/c/20260"},
        {"output": "/c-archive"},
        {"log_file": "/c/.archiverd/log"},
        {"hardware": "software"},
    ],
)
def test_settings_that_go_together_load(options: dict[str, object]) -> None:
    assert load_options(**{"directory": "/c", **options}).config.directory == Path("/c")


def test_overlap_blames_the_key_of_the_command_line_over_that_of_the_file(write: Callable[[str], Path]) -> None:
    problem = problem_of(write('directory = "/c"\ntrash_root = "/x/t"'), output="/x")

    assert (problem.where, problem.key) == (COMMAND_LINE, "output")


def test_overlap_blames_the_key_that_was_set_over_a_default(write: Callable[[str], Path]) -> None:
    file = write('directory = "/c"\noutput = "/c/.deleted"')

    assert (problem_of(file).where, problem_of(file).key) == (str(file), "output")


# --- showing -------------------------------------------------------------------------------------------------


def reloaded(loaded: Loaded, folder: Path) -> Config:
    file = folder / "shown.toml"
    file.write_text("".join(f"{key} = {value}\n" for key, value, _ in show(loaded)), encoding="utf-8")
    return load(file, {}).config


def test_show_names_every_key_of_the_file_with_value_and_source(write: Callable[[str], Path]) -> None:
    file = write('directory = "/c"\nmax_memory = "4GiB"')

    shown = {key: (value, source) for key, value, source in show(load(file, {"age": "45"}))}

    assert tuple(shown) == FILE_KEYS
    assert shown["max_memory"] == ('"4GiB"', str(file))
    assert shown["age"] == ('"45 days"', COMMAND_LINE)
    assert shown["output"] == ('"/c/archived"', DEFAULT)
    assert shown["quality"] == ('"none"', DEFAULT)
    assert shown["file_mode"] == ('"0640"', DEFAULT)
    assert shown["idle_io"] == ("true", DEFAULT)
    assert shown["names"] == ('["reolink"]', DEFAULT)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, '"0 seconds"'),
        (0.001, '"0.001 seconds"'),
        (1.0, '"1 second"'),
        (90.0, '"90 seconds"'),
        (5400.0, '"90 minutes"'),
        (7200.0, '"2 hours"'),
        (86400.0, '"1 day"'),
        (90000.5, '"90000.500 seconds"'),
    ],
)
def test_show_writes_a_duration_with_its_unit(seconds: float, text: str) -> None:
    loaded = Loaded(Config(settle=seconds), dict.fromkeys(Config.model_fields, DEFAULT), None)

    assert {key: value for key, value, _ in show(loaded)}["settle"] == text


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
milliseconds = st.integers(1, 36500 * DAY_S * 1000).map(lambda count: f"{count // 1000}.{count % 1000:03} s")
valid_options = st.fixed_dictionaries(
    {"directory": names.map("/nonexistent/{}".format)},
    optional={
        "age": milliseconds,
        "settle": milliseconds,
        "max_memory": st.integers(256 * 2**20, 2**53).map("{}B".format),
        "quality": st.integers(0, 51),
        "max_height": st.integers(8, 4096).map(lambda half: 2 * half),
        "codec": st.sampled_from(Codec),
        "delete": st.booleans(),
        "idle_io": st.booleans(),
        "confine": st.booleans(),
        "file_mode": st.integers(0, 0o177).map(lambda mode: f"{0o600 | mode:04o}"),
        "group": st.sampled_from([entry.gr_name for entry in grp.getgrall()]),
        "on_problem": st.lists(st.sampled_from(["mail", "a b", '\\"\n']), max_size=3),
        "names": st.lists(st.sampled_from(["dahua", r'(?P<camera>["\\\n].+)_(?P<stamp>\d{14})']), min_size=1),
    },
)


@settings(max_examples=60, deadline=None)
@given(options=valid_options)
@example(options={"directory": '/nonexistent/"\\\x7f\n\t'})
def test_show_loads_again_as_the_same_config(options: dict[str, object]) -> None:
    loaded = load_options(**options)

    with tempfile.TemporaryDirectory() as folder:
        assert reloaded(loaded, Path(folder)) == loaded.config


def test_show_of_a_path_that_is_not_utf8_can_be_printed() -> None:
    shown = {key: value for key, value, _ in show(load_options(directory=os.fsdecode(b"/c\xff")))}

    assert shown["directory"].encode("utf-8") == rb'"/c\udcff"'


def test_as_json_holds_what_show_holds(write: Callable[[str], Path]) -> None:
    file = write('directory = "/c"\nnice = 5')

    told = json.loads(json.dumps(as_json(load(file, {"age": "45"}))))

    assert told["file"] == str(file)
    assert tuple(told["settings"]) == FILE_KEYS
    assert told["settings"]["age"] == {"value": "45 days", "source": COMMAND_LINE}
    assert told["settings"]["nice"] == {"value": 5, "source": str(file)}
    assert told["settings"]["max_size"] == {"value": None, "source": DEFAULT}
    assert told["settings"]["delete"] == {"value": False, "source": DEFAULT}
    assert told["settings"]["names"] == {"value": ["reolink"], "source": DEFAULT}


# --- what will not work ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sh", ""),
        ("{bin}/told", ""),
        ("no-such-program", "no-such-program was not found; nobody would be told"),
        ("{bin}/nothing", "{bin}/nothing was not found; nobody would be told"),
        ("{bin}/readable", "{bin}/readable may not be executed; nobody would be told"),
    ],
)
def test_command_that_is_not_there_holds_and_is_doubted(
    tmp_path: Path, write: Callable[[str], Path], program: str, why: str
) -> None:
    for name, mode in (("told", 0o755), ("readable", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    file = write(f'on_problem = ["{program}"]'.replace("{bin}", str(tmp_path)))
    expected = Problem(str(file), "on_problem", why.replace("{bin}", str(tmp_path)))
    assert doubts(load(file, {})) == ((expected,) if why else ())


def test_command_of_nobody_is_not_doubted() -> None:
    assert doubts(load_options()) == ()


# --- whatever the file holds ----------------------------------------------------------------------------------


def toml_text(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml_text, value))}]"
        case dict():
            return "{" + ", ".join(f"{toml_text(key)} = {toml_text(item)}" for key, item in value.items()) + "}"
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return str(value)


texts = st.text(st.characters(codec="utf-8"), max_size=30)
numbers = st.integers(-9, 99).map(str) | st.sampled_from(["1e3", "1.5", ".5", "9" * 30])
units = st.sampled_from(["", " ", "s", "days", " h", "GB", "TiB", "bit", "%", "m 3s", ":30"])
scalars = (
    st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.builds(str.__add__, numbers, units)
    | texts.map("/{}".format)
    | st.dates()
    | st.times()
    | st.datetimes()
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
keys = st.sampled_from([*FILE_KEYS, *MODES]) | texts


def told_by(file: Path | None, options: dict[str, object]) -> tuple[Problem, ...]:
    """The problems of a configuration: none where it loads, and then all of it can be shown and used."""
    try:
        loaded = load(file, options, default_file=NOWHERE)
    except ConfigError as error:
        return error.problems or (Problem("", "", ""),)
    for _, value, _ in show(loaded):
        value.encode("utf-8")
    for key in ("directory", "output", "trash_root", "state_dir", "log_file"):
        path = getattr(loaded.config, key)
        assert path.is_absolute()
        assert b"\0" not in os.fsencode(path)
    return ()


def assert_in_our_words(problems: tuple[Problem, ...]) -> None:
    """Each says something, in words of ours and not of a library, that any terminal takes."""
    for problem in problems:
        assert problem.message.strip()
        assert "Input should" not in problem.message
        problem.message.encode("utf-8")


@settings(max_examples=300, deadline=None)
@given(table=st.dictionaries(keys, values, max_size=8))
def test_any_table_loads_or_is_a_config_error(table: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "any.toml")
        file.write_text("".join(f"{toml_text(k)} = {toml_text(v)}\n" for k, v in table.items()), "utf-8", newline="")
        told = told_by(file, {})

    assert not [problem for problem in told if problem.message.startswith("not valid TOML")]
    assert table.keys() - set(FILE_KEYS) <= {problem.key for problem in told}
    assert_in_our_words(told)


# Nearly TOML: keys of ours, and behind them what looks like a value.
scraps = st.text("\"'\\[]{}#=,._-+:/ \t\n0123456789abfinorstuxTGiB", max_size=25)
nearly_toml = st.lists(st.builds("{} = {}".format, st.sampled_from(FILE_KEYS), scraps), max_size=5).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(str.encode) | nearly_toml.map(str.encode))
@example(content=b"\xef\xbb\xbfnice = 1\n")  # a byte order mark
@example(content=b'directory = "/a"\r\n\x00')
def test_any_content_of_the_file_loads_or_is_a_config_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "any.toml")
        file.write_bytes(content)
        assert_in_our_words(told_by(file, {}))


# What a command line can hold: any bytes but NUL. And what Python may hand over.
typed = st.binary(max_size=25).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
any_option = typed | typed.map("/{}".format) | st.builds(str.__add__, numbers, units) | values | st.none() | st.binary()


@settings(max_examples=500, deadline=None)
@given(options=st.dictionaries(st.sampled_from(list(Config.model_fields)) | texts, any_option, max_size=8))
@example(options={"age": "\udcff"})
@example(options={"codec": "\udcff"})
@example(options={"log_file": "/a\0b"})
@example(options={"log_file": "/nonexistent/.."})
def test_any_options_load_or_are_a_config_error(options: dict[str, object]) -> None:
    told = told_by(None, options)

    given_unknown = {key for key, value in options.items() if value is not None} - Config.model_fields.keys()
    assert given_unknown <= {problem.key for problem in told}
    assert_in_our_words(told)


# --- the reference, and the cost --------------------------------------------------------------------------------


def reference_rows() -> dict[str, str]:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| `([^|]+)` \| [^|]+ \|$", REFERENCE.read_text("utf-8"), re.MULTILINE)
    return dict(rows)


def test_reference_names_every_key_with_its_default() -> None:
    shown = {key: value.replace("/c/", "{input}/") for key, value, _ in show(load_options(directory="/c"))}
    shown["directory"] = f'"{Config.model_fields["directory"].default}"'

    assert reference_rows() == shown


def test_reference_names_every_mode() -> None:
    options = re.findall(r"^\| `--([\w-]+)` \|", REFERENCE.read_text("utf-8"), re.MULTILINE)

    assert {option.replace("-", "_") for option in options} == set(MODES)


def test_import_takes_none_of_the_heavy_modules() -> None:
    heavy = {"archiverd.storage", "archiverd.media", "click", "rich", "sqlite3", "subprocess", "watchdog"}
    program = "import sys, archiverd.config; print(*sys.modules)"
    command = (sys.executable, "-c", program)
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=unmeasured())

    assert heavy & set(loaded.stdout.split()) == set()


def test_log_file_that_is_a_symlink_is_not_resolved(tmp_path: Path) -> None:
    """It stands where uploads arrive: where it leads is for the opening to refuse."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    planted = tmp_path / "real" / "archiver.log"
    planted.symlink_to("/etc/passwd")
    config = load(None, {"directory": str(tmp_path / "link")}, default_file=tmp_path / "none").config
    assert config.log_file == planted


def test_example_file_shows_every_key_with_its_default() -> None:
    example = Path(__file__).parents[2] / "etc" / "archiverd.toml"
    shown = [line[2:] for line in example.read_text().splitlines() if re.match(r"# \w+ = ", line)]
    defaults = load(None, {}, default_file=Path("/nonexistent"))
    assert shown == [f"{key} = {value}" for key, value, _ in show(defaults)]


def test_example_file_loads_as_it_is_and_with_every_line_in_force(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "etc" / "archiverd.toml"
    in_force = tmp_path / "archiverd.toml"
    in_force.write_text(re.sub(r"(?m)^# (\w+ = )", r"\1", example.read_text()))
    defaults = load(None, {}, default_file=Path("/nonexistent")).config
    assert load(example, {}).config == load(in_force, {}).config == defaults
