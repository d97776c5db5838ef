"""`config init`: as a person has it on a terminal, as a script has it with --yes, and what its file says."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import click
import pytest
from click.testing import CliRunner

from archiverd.config import DEFAULT, Config, load
from archiverd.dialogue import answers, ask_person, check, file_text, see_place, take_found, write
from archiverd.errors import ConfigError, StartupError, UsageError
from archiverd.policy.setup import Answer, Key
from archiverd.survey import survey
from tests.machine import Machine
from tests.program import ARCHIVERD, Ran, environment, standing
from tests.screen import Terminal, terminal, until

# As root, without the rights that make root one: permissions are then those of anybody.
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def init(*arguments: str | Path, wrapper: tuple[str, ...] = ()) -> Ran:
    """The program, without a terminal."""
    done = subprocess.run(
        (*wrapper, *ARCHIVERD, "config", "init", *arguments),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), timeout=60,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def in_force(text: str) -> dict[str, object]:
    return tomllib.loads(text)


def explained(text: str) -> list[tuple[str, str]]:
    """Each setting of a file, in force or not, with the comment above it."""
    return [(line, why) for why, line in re.findall(r"(?m)^# (.+)\n(?:# )?(\w+ = .+)$", text)]


# ---- on a made-up machine, the answers typed beforehand


def asked(machine: Machine, typed: str, given: Path | None = None) -> tuple[dict[Key, str], str]:
    """The answers a person comes to, and all that was shown; click.Abort where it comes to none."""
    seen = survey(None if given is None else PurePosixPath(given), root=machine.root)
    with CliRunner().isolation(input=typed) as (shown, _, _):
        found = answers(seen, None if given is None else PurePosixPath(given), ask_person)
        return {key: answer.value for key, answer in found.items()}, shown.getvalue().decode()


def found(machine: Machine) -> dict[Key, str]:
    seen = survey(root=machine.root)
    return {key: answer.value for key, answer in answers(seen, None, take_found).items()}


def test_every_answer_that_is_found_is_taken_by_return(machine: Machine) -> None:
    where = machine.uploads("srv/ftp/cams", 1, 2)
    chosen, _ = asked(machine, "\n" * 7)
    assert (
        chosen
        == found(machine)
        == {
            Key.DIRECTORY: str(where),
            Key.OUTPUT: str(where / "archived"),
            Key.DELETE: "trash",
            Key.TRASH_ROOT: str(where / ".deleted"),
            Key.AGE: "30 days",
            Key.WHEN_FULL: "stop",
            Key.GROUP: "none",
        }
    )


def test_what_was_seen_is_shown_before_it_is_asked_about(machine: Machine) -> None:
    machine.mount("mnt/disk", "xfs")
    machine.mount("mnt/stick", "vfat", device="8:33")
    machine.mount("mnt/nas", "nfs4", device="0:50")
    machine.node("renderD128", "0x8086")
    where = machine.uploads("mnt/disk/cams", 1, 2, 3, size=2**29)
    machine.uploads("srv/old", 900)
    _, shown = asked(machine, "\n" * 7)
    upload, archive, original, trash, age, full, group, hardware = re.split(r"\n(?=\w[^\n]*\?\n)", shown.lstrip("\n"))
    assert f"{where}: Clips of 1 camera were found, " in upload
    assert " About 1.07 GB a day." in upload
    assert f"{machine.path('srv/old')}: Clips of 1 camera were found, " in upload
    assert re.search(rf"{machine.path('mnt/disk')}  xfs, .+ free of .+\n", archive)
    assert re.search(r"stick  vfat, .*; takes no file of 4 GiB or more; may know no owners", archive)
    assert re.search(r"nas  nfs4, size not known; lies behind another machine", archive)
    assert re.search(rf"trash: {machine.path('mnt/disk')} lasts for [0-9]+ days or more\.", original)
    assert re.search(rf"delete: {machine.path('mnt/disk')} lasts for [0-9]+ days or more\.", original)
    assert "renamed there and not copied" in trash
    assert "its archive stays" in age
    assert "the work stops, and says so" in full
    assert "Your groups: " in group
    assert "Seen: /dev/dri/renderD128 (Intel, open to this user). `archiverd probe` tells what works." in hardware


def test_nothing_to_reckon_from_shows_no_days(machine: Machine) -> None:
    machine.path("camera").mkdir()
    assert "lasts for" not in asked(machine, "\n" * 7)[1]


def test_other_answers_are_taken_as_typed(machine: Machine) -> None:
    machine.uploads("srv/cams", 1)
    disk = machine.mount("mnt/disk", "ext4")
    other = machine.uploads("mnt/disk/other", 9)
    (disk / "bin").mkdir()
    chosen, shown = asked(machine, f"{other}/\n{disk}/archive\ntrash\n {disk}/bin \n14\noldest\nroot\n")
    assert chosen == {
        Key.DIRECTORY: str(other), Key.OUTPUT: f"{disk}/archive", Key.DELETE: "trash",
        Key.TRASH_ROOT: f"{disk}/bin", Key.AGE: "14 days", Key.WHEN_FULL: "oldest", Key.GROUP: "root",
    }  # fmt: skip
    assert "Error" not in shown


def test_deleting_asks_for_no_trash(machine: Machine) -> None:
    machine.uploads("srv/cams", 1)
    chosen, shown = asked(machine, "\n\ndelete\n\n\n")
    assert (chosen[Key.DELETE], {Key.TRASH_ROOT, Key.AGE} & chosen.keys()) == ("delete", set())
    assert "the trash?" not in shown


def test_link_that_is_typed_stays_one(machine: Machine) -> None:
    """Where it leads may change, and archiverd goes by it at each start."""
    where = machine.uploads("srv/cams", 1)
    link = machine.path("link")
    link.symlink_to(where)
    assert asked(machine, f"{link}" + "\n" * 7)[0][Key.DIRECTORY] == str(link)


def test_relative_answer_is_made_absolute(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    where = machine.uploads("srv/cams", 1)
    monkeypatch.chdir(where)
    assert asked(machine, "../cams" + "\n" * 7)[0][Key.DIRECTORY] == str(where)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/nowhere\n{where}\n\n\n\n\n\n\n", "/nowhere: there is no such directory"),
        ("{where}/2026-file\n{where}\n\n\n\n\n\n\n", "there is no such directory"),
        ("a\0b\n{where}\n\n\n\n\n\n\n", "cannot be resolved"),
        ("\n{where}\n\n\n\n\n\n\n", "directory and output are the same directory"),
        ("\n{where}/2026\n\n\n\n\n\n\n", "lies where the footage of a year lies"),
        ("\n/nowhere/deep/archive\n\n\n\n\n\n\n", "can't be made, for /nowhere/deep is not there"),
        ("\n/dev/null\n\n\n\n\n\n\n", "/dev/null: there is no such directory"),
        ("\n\nyes\n\n\n\n\n\n", "write trash or delete"),
        ("\n\n\n{where}/archived/x\n\n\n\n\n", "neither may hold the other"),
        ("\n\n\n\nsoon\n\n\n\n", '"soon" is not a duration'),
        ("\n\n\n\n\nnewest\n\n\n", "must be stop or oldest"),
        ("\n\n\n\n\n\nno such group\n\n", "group"),
    ],
)
def test_wrong_answer_is_told_and_asked_again(machine: Machine, typed: str, told: str) -> None:
    where = machine.uploads("srv/cams", 1)
    chosen, shown = asked(machine, typed.replace("{where}", str(where)))
    (error,) = re.findall(r"Error: (.*)", shown)
    assert told in error
    assert chosen == found(machine)


@pytest.mark.parametrize("answered", range(7))
def test_end_of_input_comes_to_nothing(machine: Machine, answered: int) -> None:
    machine.uploads("srv/cams", 1)
    with pytest.raises(click.Abort):
        asked(machine, "\n" * answered)


def test_nothing_found_is_asked_until_there_is_an_answer(machine: Machine) -> None:
    where = machine.uploads("opt/cams", 1)
    chosen, shown = asked(machine, f"\n\n{where}" + "\n" * 7)
    assert "No clips below YYYY/MM/DD were found on the disks of this machine." in shown
    assert chosen[Key.DIRECTORY] == str(where)


def test_nothing_found_can_not_be_taken(machine: Machine) -> None:
    with pytest.raises(UsageError, match="Name the directory"):
        found(machine)


def test_given_directory_is_not_asked_for(machine: Machine) -> None:
    machine.uploads("srv/cams", 1)
    given = machine.uploads("opt/cams", 1)
    chosen, shown = asked(machine, "\n" * 6, given)
    assert chosen[Key.DIRECTORY] == str(given)
    assert f"directory: {given}" in shown


@pytest.mark.parametrize(
    ("kind", "told"),
    [("vfat", "Beware: vfat on {disk}: it takes no file of 4 GiB"), ("nfs4", "Beware: nfs4 on {disk}: it lies behind")],
)
def test_limits_of_a_chosen_disk_are_told(machine: Machine, kind: str, told: str) -> None:
    machine.uploads("srv/cams", 1)
    disk = machine.mount("mnt/disk", kind)
    assert told.format(disk=disk) in asked(machine, f"\n{disk}/archived" + "\n" * 6)[1]


def test_names_are_shown_without_what_a_terminal_would_obey(machine: Machine) -> None:
    machine.uploads("srv/ca\x1b[2Jms", 1)
    _, shown = asked(machine, "\n" * 7)
    assert "\x1b" not in shown
    assert r"srv/ca\x1b[2Jms" in shown


# ---- the file


def text_for(machine: Machine, **changed: str) -> str:
    seen = survey(root=machine.root)
    with CliRunner().isolation():
        chosen = answers(seen, None, take_found)
    chosen |= {Key(key): Answer(value, "As answered.") for key, value in changed.items()}
    return file_text(chosen, seen)


def test_file_puts_in_force_only_what_differs_from_the_defaults(machine: Machine, tmp_path: Path) -> None:
    where = machine.uploads("srv/cams", 1)
    text = text_for(machine)
    assert in_force(text) == {"directory": str(where)}
    target = tmp_path / "archiverd.toml"
    target.write_text(text)
    loaded = load(target, {})
    default = Config(directory=where)
    assert loaded.config == default
    assert {key for key, source in loaded.sources.items() if source != DEFAULT} == {"directory"}


def test_file_holds_each_answer_with_its_reason(machine: Machine) -> None:
    where = machine.uploads('srv/c"a\\m\ts', 1)
    disk = machine.mount("mnt/disk")
    text = text_for(machine, output=f"{disk}/archive", delete="delete", age="9 days", when_full="oldest", group="root")
    assert in_force(text) == {
        "directory": str(where), "output": f"{disk}/archive", "delete": True, "age": "9 days", "when_full": "oldest",
        "group": "root",
    }  # fmt: skip
    keys = [line.partition(" = ")[0] for line, _ in explained(text)]
    assert keys == ["directory", "output", "delete", "trash_root", "age", "when_full", "group", "hardware"]
    assert all(len(why) > 10 for _, why in explained(text))


def test_commented_lines_say_the_defaults(machine: Machine, tmp_path: Path) -> None:
    machine.uploads("srv/cams", 1)
    text = text_for(machine)
    plain, all_in_force = tmp_path / "plain.toml", tmp_path / "all.toml"
    plain.write_text(text)
    all_in_force.write_text(re.sub(r"(?m)^# (\w+ = )", r"\1", text))
    assert load(all_in_force, {}).config == load(plain, {}).config


def test_file_that_would_not_load_is_told_by_its_name(tmp_path: Path) -> None:
    target = tmp_path / "archiverd.toml"
    with pytest.raises(ConfigError) as caught:
        check("age = 30\n", target)
    assert str(caught.value).startswith(f"{target}: age: ")


def test_file_is_for_all_to_read_whatever_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "etc" / "archiverd.toml"
    before = os.umask(0o077)
    try:
        write("age = '9 days'\n", target)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o755
    assert target.read_text() == "age = '9 days'\n"
    assert list(target.parent.iterdir()) == [target]


def test_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "archiverd.toml"
    target.write_text("# mine\n")
    with pytest.raises(UsageError, match="is there already"):
        write("age = '9 days'\n", target)
    assert target.read_text() == "# mine\n"
    assert list(tmp_path.iterdir()) == [target]


def see_and_write(target: Path) -> None:
    see_place(target)
    write("", target)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("no/where/archiverd.toml", "is not there"),
        ("a file/archiverd.toml", "can't be"),
        ("n" * 300, "can't be written: File name too long"),
    ],
)
def test_place_that_takes_no_file_is_told(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(StartupError, match=words):
        see_and_write(tmp_path / place)


# ---- the program


@pytest.fixture
def cams(machine: Machine) -> Path:
    return machine.uploads("cams", 1)


def test_yes_writes_what_was_found(cams: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "archiverd.toml"
    told = init(cams, "--yes", "--file", target)
    assert (told.code, told.out.splitlines()[0]) == (0, f"Written: {target}")
    assert load(target, {}).config == Config(directory=cams)
    assert f"archiverd run --dry-run --config {target}" in told.out


def test_dry_run_prints_the_file_alone_and_writes_nothing(cams: Path, tmp_path: Path) -> None:
    before = standing(tmp_path)
    told = init(cams, "--yes", "--dry-run", "--file", tmp_path / "archiverd.toml")
    assert (told.code, in_force(told.out)) == (0, {"directory": str(cams)})
    assert "Where do the cameras upload?" in told.err
    assert standing(tmp_path) == before


def test_file_that_is_there_is_never_overwritten(cams: Path, tmp_path: Path) -> None:
    target = tmp_path / "archiverd.toml"
    target.write_text("# mine\n")
    told = init(cams, "--yes", "--file", target)
    assert (told.code, told.out) == (2, "")
    assert told.err.splitlines() == [
        f"archiverd: {target}: is there already, and is not overwritten",
        "  Write another file with --file FILE, or print it with --dry-run.",
    ]
    assert target.read_text() == "# mine\n"


def test_dry_run_prints_also_where_a_file_is_there(cams: Path, tmp_path: Path) -> None:
    target = tmp_path / "archiverd.toml"
    target.touch()
    assert init(cams, "--yes", "--dry-run", "--file", target).code == 0


def test_link_to_nowhere_is_a_file_that_is_there(cams: Path, tmp_path: Path) -> None:
    target = tmp_path / "archiverd.toml"
    target.symlink_to("nowhere")
    told = init(cams, "--yes", "--file", target)
    assert (told.code, len(told.err.splitlines())) == (2, 2)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=str)
def test_without_a_terminal_nothing_is_asked(cams: Path, options: tuple[str, ...]) -> None:
    told = init(cams, *options)
    assert (told.code, told.out) == (2, "")
    assert told.err.splitlines() == [
        "archiverd: there is no terminal to ask on",
        "  Give --yes to take the answers that are found.",
    ]


def test_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    told = init(tmp_path / "nowhere", "--yes", "--file", tmp_path / "archiverd.toml")
    assert told.code == 2
    assert told.err.splitlines()[-1] == f"archiverd: {tmp_path}/nowhere: there is no such directory"
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_told_before_anything_is_looked_at(cams: Path, tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o555)
    told = init(cams, "--yes", "--file", shut / "archiverd.toml", wrapper=UNPRIVILEGED)
    assert told.code == 69
    assert told.err.splitlines() == [
        f"archiverd: {shut}/archiverd.toml: can't be made, for this user may not write in {shut}",
        "  Do it as root (sudo archiverd config init), or write another file with --file FILE.",
    ]


def test_directory_nobody_may_write_is_told(cams: Path) -> None:
    cams.chmod(0o555)
    told = init(cams, "--yes", "--dry-run", wrapper=UNPRIVILEGED)
    cams.chmod(0o755)
    assert "This user may not write there, so that no clip could go" in told.err


# ---- a person at a terminal


@contextmanager
def at_terminal(*arguments: str | Path, **env: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    """The program with a terminal of its own, whose Ctrl-C is a real one."""
    command = ("setsid", "--ctty", *ARCHIVERD, "config", "init", *arguments)
    with terminal(200) as screen:
        stream = screen.stream
        process = subprocess.Popen(command, stdin=stream, stdout=stream, stderr=stream, env=environment(**env))
        try:
            yield screen, process
        finally:
            process.kill()
            process.wait(10)


def last_line_is(text: str) -> Callable[[list[str]], bool]:
    return lambda lines: bool(lines) and lines[-1] == text


def test_person_answers_and_gets_a_file_that_loads(cams: Path, tmp_path: Path) -> None:
    target = tmp_path / "archiverd.toml"
    disk = tmp_path / "disk"
    disk.mkdir()
    with at_terminal(cams, "--file", target) as (screen, process):
        screen.shows(last_line_is(f"output [{cams}/archived]:"))
        screen.type(f"{tmp_path}/no/archive\n")
        shown = screen.shows(lambda lines: lines[-1] == f"output [{cams}/archived]:" and "Error" in lines[-2])
        assert shown[-2] == f"Error: {tmp_path}/no/archive: can't be made, for {tmp_path}/no is not there"
        screen.type(f"{disk}/archive\n")
        screen.shows(last_line_is("delete [trash]:"))
        screen.type("\n")
        screen.shows(last_line_is(f"trash_root [{cams}/.deleted]:"))
        screen.type("\n")
        screen.shows(last_line_is("age [30 days]:"))
        screen.type("2 weeks\n")
        screen.shows(last_line_is("when_full [stop]:"))
        screen.type("oldest\n")
        screen.shows(last_line_is("group [none]:"))
        assert not target.exists()
        screen.type("\n")
        assert process.wait(20) == 0
    assert in_force(target.read_text()) == {
        "directory": str(cams), "output": f"{disk}/archive", "age": "14 days", "when_full": "oldest"
    }  # fmt: skip
    reasons = dict(explained(target.read_text()))
    assert reasons[f'output = "{disk}/archive"'] == "The answer to: Where do the archives go?"
    assert screen.screen[-2:] == [
        f"Written: {target}",
        f"Look at what would be done: archiverd run --dry-run --config {target}",
    ]


def test_answer_that_is_not_utf8_is_told_and_asked_again(cams: Path, tmp_path: Path) -> None:
    prompt = f"output [{cams}/archived]:"
    with at_terminal(cams, "--dry-run", PYTHONIOENCODING="utf-8:strict") as (screen, _):  # as in most locales
        screen.shows(last_line_is(prompt))
        screen.type(bytes(tmp_path) + b"/\xff\n")
        shown = screen.shows(lambda lines: lines[-1] == prompt and "Error" in lines[-2])
    assert shown[-2] == f"Error: {tmp_path}/\\xff is not UTF-8, which the file can't hold; give it another name"


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
@pytest.mark.parametrize("answered", [0, 3])
def test_person_who_turns_away_leaves_nothing(cams: Path, tmp_path: Path, key: str, answered: int) -> None:
    prompts = [f"output [{cams}/archived]:", "delete [trash]:", f"trash_root [{cams}/.deleted]:", "age [30 days]:"]
    with at_terminal(cams, "--file", tmp_path / "new" / "archiverd.toml") as (screen, process):
        for prompt in prompts[:answered]:
            screen.shows(last_line_is(prompt))
            screen.type("\n")
        screen.shows(last_line_is(prompts[answered]))
        screen.type(key)
        assert process.wait(20) == 130
        until(lambda: screen.screen[-1] == "Nothing was written.")
    assert not (tmp_path / "new").exists()


def test_questions_leave_the_output_to_the_file(cams: Path, tmp_path: Path) -> None:
    """`archiverd config init --dry-run > archiverd.toml`, at a terminal."""
    target = tmp_path / "archiverd.toml"
    command = (*ARCHIVERD, "config", "init", cams, "--dry-run")
    with terminal(200) as screen, target.open("wb") as output:
        screen.type("\n" * 6)
        done = subprocess.run(command, stdin=screen.stream, stdout=output, stderr=screen.stream, env=environment())
        until(lambda: "group [none]:" in screen.output)
    assert done.returncode == 0
    assert target.read_text().startswith("# archiverd: the settings of this machine")
    assert in_force(target.read_text()) == {"directory": str(cams)}
