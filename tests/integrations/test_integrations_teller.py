"""Being told: the command of on_problem, run with real programs."""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from archiverd.media.process import Limits
from archiverd.policy.problems import Change, Notice, Problem, ProblemKind
from archiverd.problems import Problems
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from archiverd.teller import Teller
from tests.asked import Asked
from tests.screen import until

NOW = 1_800_000_000.0
FULL = Problem(ProblemKind.DISK, "/camera", "T\udcfcr \n$(id) is full", "Make room")
OPENED = Notice(Change.OPENED, FULL, NOW, NOW + 30)
CLOSED = Notice(Change.CLOSED, FULL, NOW, NOW + 60)


@dataclass(frozen=True, slots=True)
class Box:
    """Where a command of the owner's writes what it was told."""

    base: Path
    stop: Asked

    def command(self, body: str) -> tuple[str, ...]:
        script = self.base / "on-problem"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        return (str(script), "--to", "me & you")

    def lines(self, name: str) -> list[str]:
        try:
            return (self.base / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def put(self, what: str, name: str) -> str:
        """Shell that adds a line to a file."""
        return f"{what} >> {shlex.quote(str(self.base / name))}"


Start = Callable[..., Teller]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    stop = Asked()
    yield Box(tmp_path, stop)
    stop.close()


@pytest.fixture
def start(box: Box) -> Iterator[Start]:
    tellers: list[Teller] = []

    def begin(command: Sequence[str], wall_s: float = 20.0, pauses_s: Sequence[float] = (0.01, 0.01)) -> Teller:
        limits = Limits(stall_s=math.inf, wall_s=wall_s, stop_s=1.0)
        environ = {**os.environ, "NOTIFY_SOCKET": "/run/x", "HOME": "/root/of/mine"}
        teller = Teller(command, box.stop, environ=environ, pauses_s=pauses_s, limits=limits, turn_s=0.01)
        tellers.append(teller)
        teller.start()
        return teller

    yield begin
    box.stop()
    assert all(teller.join(time.monotonic() + 10) for teller in tellers)


def settled(teller: Teller, wanted: int) -> list[Notice]:
    done: list[Notice] = []

    def enough() -> bool:
        done.extend(teller.settled())
        return len(done) >= wanted

    until(enough)
    return done


def test_command_is_told_by_its_environment_and_on_stdin(box: Box, start: Start) -> None:
    body = "; ".join((box.put("cat", "stdin"), box.put("env", "env"), box.put('echo "$@"', "argv")))
    teller = start(box.command(body))
    assert teller.offer(OPENED)
    assert settled(teller, 1) == [OPENED]
    env = dict(line.split("=", 1) for line in box.lines("env"))
    since = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(NOW))
    told = {name: value for name, value in env.items() if name.startswith("ARCHIVERD_")}
    assert told == {
        "ARCHIVERD_PROBLEM": "opened",
        "ARCHIVERD_KIND": "disk",
        "ARCHIVERD_SUBJECT": "/camera",
        "ARCHIVERD_MESSAGE": r"T\xfcr \n$(id) is full",
        "ARCHIVERD_REMEDY": "Make room",
        "ARCHIVERD_SINCE": f"{since[:-2]}:{since[-2:]}",
        "ARCHIVERD_AT": f"{since[:-2]}:{since[-2:]}".replace(":00:00+", ":00:30+"),
        "ARCHIVERD_HOST": socket.gethostname(),
    }
    assert (env["HOME"], env["PATH"], "NOTIFY_SOCKET" in env) == ("/root/of/mine", os.environ["PATH"], False)
    (line,) = box.lines("stdin")
    assert json.loads(line) == {
        "problem": "opened", "kind": "disk", "subject": "/camera", "message": r"T\xfcr \n$(id) is full",
        "remedy": "Make room", "serious": True, "since": told["ARCHIVERD_SINCE"], "at": told["ARCHIVERD_AT"],
        "host": socket.gethostname(),
    }  # fmt: skip
    assert box.lines("argv") == ["--to me & you"]


def test_each_is_handed_on_once_in_its_order(box: Box, start: Start) -> None:
    teller = start(box.command(box.put("echo $ARCHIVERD_PROBLEM", "told")))
    for notice in (OPENED, CLOSED, OPENED):
        teller.offer(notice)
    assert settled(teller, 3) == [OPENED, CLOSED, OPENED]
    assert box.lines("told") == ["opened", "closed", "opened"]


def test_command_that_fails_is_tried_again(box: Box, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    tries = box.base / "tries"
    teller = start(box.command(f"{box.put('echo x', 'tries')}; test $(wc -l < {shlex.quote(str(tries))}) = 3"))
    teller.offer(OPENED)
    assert settled(teller, 1) == [OPENED]
    assert len(box.lines("tries")) == 3
    assert caplog.records == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo no route to host >&2; exit 7", "on-problem exited with 7: no route to host"),
        ("echo no route to host; exit 7", "on-problem exited with 7: no route to host"),
        ("kill -9 $$", "on-problem was killed by SIGKILL"),
        ("sleep 60", "on-problem ran for more than 0.2 s and was killed"),
    ],
)
def test_command_that_goes_on_failing_is_given_up_and_told_once(
    box: Box, start: Start, caplog: pytest.LogCaptureFixture, body: str, why: str
) -> None:
    teller = start(box.command(body), wall_s=0.2)
    teller.offer(OPENED)
    teller.offer(CLOSED)
    assert settled(teller, 2) == [OPENED, CLOSED]
    message = r"on_problem failed 3 times, and this was not told: T\xfcr \n$(id) is full: "
    assert [record.getMessage() for record in caplog.records] == [message + why]
    assert teller.is_alive


def test_command_that_is_not_there_is_told_with_what_mends_it(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    teller = start(("no-such-program",))
    teller.offer(OPENED)
    assert settled(teller, 1) == [OPENED]
    assert "no-such-program was not found" in caplog.text


def test_a_new_command_is_used_from_then_on_and_none_tells_nobody(box: Box, start: Start) -> None:
    teller = start(())
    teller.offer(OPENED)
    assert settled(teller, 1) == [OPENED]
    teller.use(box.command(box.put("echo $ARCHIVERD_PROBLEM", "told")))
    teller.offer(CLOSED)
    assert settled(teller, 1) == [CLOSED]
    assert box.lines("told") == ["closed"]


def test_room_is_bounded(box: Box, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    teller = start(box.command("sleep 60"), wall_s=60)
    assert [teller.offer(replace(OPENED, at=NOW + n)) for n in range(101)] == [True] * 100 + [False]


def test_stop_ends_the_command_and_what_was_not_told_is_told_at_the_next_start(box: Box, start: Start) -> None:
    began = start(box.command(f"{box.put('echo x', 'begun')}; sleep 60"), wall_s=60)
    before = Problems(began)
    before.found(ProblemKind.CONFIG, [Problem(ProblemKind.CONFIG, "", "wrong")])
    with Catalog(box.base / FILE_NAME) as catalog:
        before.step(NOW, catalog)
        until(lambda: box.lines("begun") == ["x"])
        box.stop()
        assert began.join(time.monotonic() + 10)
        before.step(NOW + 1, catalog)

        with closing(Asked()) as stop:
            next_one = Teller(box.command(box.put("echo $ARCHIVERD_PROBLEM", "told")), stop, turn_s=0.01)
            next_one.start()
            Problems(next_one).step(NOW + 60, catalog)
            until(lambda: box.lines("told") == ["opened"])
            stop()
            assert next_one.join(time.monotonic() + 10)
