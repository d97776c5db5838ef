"""The guide to being told: every program and every line of configuration in it does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archiverd.config import load
from archiverd.policy.problems import Change, Notice, Problem, ProblemKind, is_serious, times_of
from archiverd.policy.telling import details, environment
from archiverd.teller import Teller
from tests.asked import Asked
from tests.program import CHECKOUT
from tests.screen import until

GUIDE = (CHECKOUT / "docs" / "guide" / "being-told.md").read_text("utf-8")
NOTICE = Notice(Change.OPENED, Problem(ProblemKind.QUIET, "front `id`", '@$(id) "; is quiet', "Look"), 0.0, 60.0)


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", GUIDE)


def rows(column: str) -> list[str]:
    """The first cells of the table with this heading, without backticks."""
    (table,) = re.findall(rf"(?m)^\| {column} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", GUIDE)
    return [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])]


class Box:
    """A machine with the guide's scripts, and programs that note what they were asked."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base = base
        self.programs = base / "bin"
        self.programs.mkdir()
        monkeypatch.setenv("PATH", f"{self.programs}:{os.environ['PATH']}")
        for name in ("curl", "mail"):
            self._program(name, f'#!/bin/sh\nprintf "%s\\n" "$@" > {base}/{name}.argv\ncat > {base}/{name}.stdin\n')
        for script in blocks("sh"):
            (place,) = re.findall(r"(?m)^# /usr/local/bin/([\w-]+)$", script)
            self._program(place, script)

    def _program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def commands(self) -> Iterator[tuple[str, ...]]:
        """Each `on_problem` of the guide, as a configuration file gives it."""
        file = self.base / "archiverd.toml"
        for text in blocks("toml"):
            file.write_text(text)
            command = load(file, {}).config.on_problem
            local = (str(self.programs / Path(command[0]).name), *command[1:])
            yield tuple(part.replace("/var/lib/archiverd", str(self.base)) for part in local)

    def read(self, name: str) -> str:
        return (self.base / name).read_text()


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def command(box: Box, name: str) -> tuple[str, ...]:
    (found,) = (command for command in box.commands() if Path(command[0]).name == name)
    return found


def tell(command: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    with closing(Asked()) as stop:
        teller = Teller(command, stop, pauses_s=(), turn_s=0.01)
        teller.start()
        teller.offer(NOTICE)
        until(lambda: teller.settled() == [NOTICE])
        stop()
        assert teller.join(time.monotonic() + 10)
    assert caplog.records == []


HOST = os.uname().nodename
MESSAGE = '@$(id) "; is quiet'


def test_web_hook_gets_the_json(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    tell(command(box, "curl"), caplog)
    assert box.read("curl.argv").splitlines()[-3:] == ["--data-binary", "@-", "https://example.org/hook"]
    assert json.loads(box.read("curl.stdin"))["message"] == MESSAGE


def test_push_says_what_is_wrong_and_reads_no_file(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    tell(command(box, "archiverd-ntfy"), caplog)
    assert box.read("curl.argv").splitlines() == [
        "-fsS", "--max-time", "30", "-H", f"Title: {HOST}: quiet front `id` opened", "-H", "Priority: high",
        "--data-raw", f"{MESSAGE}. Look", "https://ntfy.sh/my-secret-topic",
    ]  # fmt: skip


def test_mail_says_what_is_wrong(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    tell(command(box, "archiverd-mail"), caplog)
    subject = f"archiverd on {HOST}: quiet front `id` opened"
    assert box.read("mail.argv").splitlines() == ["-s", subject, "root"]
    assert box.read("mail.stdin").splitlines()[:3] == [MESSAGE, "Look", ""]


def send(box: Box) -> None:
    subprocess.run((box.programs / "archiverd-send", box.base / "problems"), check=True, timeout=20)


def test_what_is_put_down_is_sent_by_another_service_once(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    tell(command(box, "archiverd-put-down"), caplog)
    send(box)
    assert box.read("mail.argv").splitlines() == ["-s", f"archiverd on {HOST}: a problem opened or closed", "root"]
    assert json.loads(box.read("mail.stdin"))["message"] == MESSAGE
    assert list((box.base / "problems").iterdir()) == []
    send(box)


def test_what_could_not_be_sent_is_kept(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    tell(command(box, "archiverd-put-down"), caplog)
    (box.programs / "mail").write_text("#!/bin/sh\nexit 1\n")
    send(box)
    (left,) = (box.base / "problems").iterdir()
    assert left.name.endswith(".json.failed")


def test_units_are_ones_that_systemd_takes(box: Box) -> None:
    (box.base / "units").mkdir()
    files = []
    for text in blocks("ini"):
        (place,) = re.findall(r"(?m)^# /etc/systemd/system/([\w.-]+)$", text)
        file = box.base / "units" / place
        files.append(file)
        file.write_text(
            text.replace("/usr/local/bin", str(box.programs)).replace("User=archiverd", "User=daemon")
        )  # fmt: skip
    verified = subprocess.run(
        ("systemd-analyze", "verify", "--man=no", *files), capture_output=True, text=True, check=False, timeout=60
    )
    assert len(files) == 2
    assert [line for line in verified.stderr.splitlines() if "archiverd-told" in line] == []


def test_tables_are_complete() -> None:
    assert set(rows("kind")) == set(ProblemKind)
    env = environment(NOTICE, "box", {})
    assert set(rows("variable")) == set(env)
    (names,) = re.findall(r"JSON object on standard input: (.+?), true for the kinds", GUIDE.replace("\n", " "))
    assert set(re.findall(r"`(\w+)`", names)) == set(json.loads(details(NOTICE, "box")))


def span(text: str) -> float:
    match text.split():
        case ["at", "once"]:
            return 0.0
        case [number, unit]:
            return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]
        case _:
            raise AssertionError(text)


@pytest.mark.parametrize("kind", list(ProblemKind))
def test_table_tells_when_a_problem_opens_and_closes(kind: ProblemKind) -> None:
    (row,) = re.findall(rf"(?m)^\| `{kind}` \|.*\|(.+)\|(.+)\|$", GUIDE)
    assert tuple(map(span, row)) == (times_of(kind).opens_after_s, times_of(kind).closes_after_s)


def test_serious_kinds_are_those_the_guide_names() -> None:
    (named,) = re.findall(r"are not seen \(([^)]+)\)", GUIDE.replace("\n", " "))
    assert set(re.findall(r"`(\w+)`", named)) == {kind for kind in ProblemKind if is_serious(kind)}
