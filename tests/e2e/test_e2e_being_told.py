"""Being told by a daemon as its service manager starts it: by a command, and by `status`."""

from __future__ import annotations

import json
from typing import Any

from archiverd.policy.model import State
from archiverd.storage.catalog import Catalog
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.rig import Rig, Upload, content
from tests.e2e.serving import SOON, becomes, serving
from tests.program import archiverd
from tests.screen import until


def settings(rig: Rig) -> str:
    """A daemon that quarantines soon, and tells a program that notes what it hears."""
    program = rig.base / "on-problem"
    program.write_text(f"#!/bin/sh\ncat >> {rig.base / 'told'}\n")
    program.chmod(0o755)
    return f'{SOON}quarantine_after = "0.5 s"\non_problem = ["{program}"]\n'


def told(rig: Rig) -> list[Any]:
    try:
        return [json.loads(line) for line in (rig.base / "told").read_text().splitlines()]
    except FileNotFoundError:
        return []


def status(rig: Rig) -> Any:  # Any: JSON
    return archiverd("status", "--json", str(rig.camera), config=rig.config_file).json


def known(rig: Rig) -> list[str]:
    with Catalog.to_read(rig.state / FILE_NAME) as catalog:
        return [course.problem.message for course in catalog.problems()[0]]


def is_settled(rig: Rig) -> bool:
    """Whether the catalog knows that all was told: a death before that has it told once more, rather than never."""
    with Catalog.to_read(rig.state / FILE_NAME) as catalog:
        courses, untold = catalog.problems()
    return bool(courses) and not untold


def quarantined(rig: Rig, number: int) -> Upload:
    return rig.upload_bytes(content("a").read_bytes()[:-100], rig.path(number))


def test_problem_is_told_once_over_a_death_and_status_tells_it_with_the_daemon(rig: Rig) -> None:
    with serving(rig, settings=settings(rig)) as daemon:
        first = quarantined(rig, 0)
        becomes(rig, first, State.QUARANTINED)
        until(lambda: len(told(rig)) == 1)
        assert (told(rig)[0]["problem"], told(rig)[0]["kind"]) == ("opened", "quarantined")
        assert str(first.path) in told(rig)[0]["message"]
        now = status(rig)
        assert [problem["kind"] for problem in now["problems"]] == ["quarantined"]
        assert (now["daemon"]["running"], now["daemon"]["pid"]) == (True, daemon.process.pid)
        assert now["daemon"]["words"].startswith("idle")
        until(lambda: is_settled(rig))

    assert status(rig)["daemon"] == {"running": False, "died": True}
    with serving(rig, settings=settings(rig)) as daemon:
        second = quarantined(rig, 1)
        becomes(rig, second, State.QUARANTINED)
        until(lambda: any(str(second.path) in message for message in known(rig)), 60)
        assert len(told(rig)) == 1
        assert daemon.log.count("problem: ") == 1
        assert daemon.stop() == 0
    assert status(rig)["daemon"] == {"running": False, "died": False}
