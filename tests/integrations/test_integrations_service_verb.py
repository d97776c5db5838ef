"""`archiverd service` below a prefix: what is written, shown, asked, left alone and removed. Nothing is run there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archiverd.policy import units
from tests.program import CHECKOUT, Ran, archiverd, standing, typed
from tests.screen import until

UNIT = "etc/systemd/system/archiverd.service"
DROP_IN = "etc/systemd/system/archiverd.service.d/10-machine.conf"
LIST = "etc/archiverd/service.json"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    (tmp_path / "etc/archiverd").mkdir(parents=True)
    (tmp_path / "etc/archiverd/archiverd.toml").write_text('directory = "/data/cameras"\n')
    return tmp_path


def service(verb: str, prefix: Path, *options: str) -> Ran:
    return archiverd("service", verb, "--prefix", prefix, *options, config=None)


def test_install_writes_the_shipped_files_and_what_is_of_the_machine(prefix: Path) -> None:
    ran = service("install", prefix, "--yes")

    assert ran.code == 0
    for file in units.shipped_for(0):
        written = prefix / file.target.relative_to("/")
        assert written.read_text() == (CHECKOUT / "systemd" / file.source).read_text()
        assert written.stat().st_mode & 0o777 == 0o644
    assert "ReadWritePaths=-/data/cameras\n" in (prefix / DROP_IN).read_text()
    assert f"/{UNIT}" in json.loads((prefix / LIST).read_text())["files"]


def test_dry_run_prints_every_file_whole_and_writes_nothing(prefix: Path) -> None:
    before = standing(prefix)

    ran = service("install", prefix, "--dry-run")

    assert ran.code == 0
    shipped = (CHECKOUT / "systemd/archiverd.service").read_text().splitlines()
    assert "\n".join(f"      {line}" for line in shipped) in ran.out
    assert standing(prefix) == before


def test_installing_again_writes_nothing(prefix: Path) -> None:
    service("install", prefix, "--yes")
    before = standing(prefix / "etc/systemd")

    ran = service("install", prefix, "--yes")

    assert "wrote" not in ran.out
    assert standing(prefix / "etc/systemd") == before


def test_changed_configuration_is_followed(prefix: Path) -> None:
    service("install", prefix, "--yes")
    (prefix / "etc/archiverd/archiverd.toml").write_text('directory = "/data/others"\n')

    ran = service("install", prefix, "--yes")

    assert "+ReadWritePaths=-/data/others" in ran.out
    assert "ReadWritePaths=-/data/others\n" in (prefix / DROP_IN).read_text()


def test_edited_unit_is_shown_and_left_where_nobody_is_asked(prefix: Path) -> None:
    service("install", prefix, "--yes")
    edited = (prefix / UNIT).read_text().replace("WatchdogSec=60", "WatchdogSec=600")
    (prefix / UNIT).write_text(edited)

    ran = service("install", prefix, "--yes")

    assert "-WatchdogSec=600" in ran.out
    assert "left as it was edited" in ran.out
    assert (prefix / UNIT).read_text() == edited


@pytest.mark.parametrize(("answer", "left"), [("n", True), ("y", False)])
def test_edited_unit_is_given_up_by_whom_was_shown_it(prefix: Path, answer: str, *, left: bool) -> None:
    service("install", prefix, "--yes")
    (prefix / UNIT).write_text("mine\n")

    with typed("service", "install", "--prefix", prefix) as program:
        until(lambda: program.shows("Go ahead? [y/N]"))
        assert "-mine" in program.output
        program.type("y\n")
        until(lambda: program.shows("give the edit up? [y/N]"))
        program.type(f"{answer}\n")
        assert program.end() == 0

    assert ((prefix / UNIT).read_text() == "mine\n") is left


def test_nothing_is_written_without_leave(prefix: Path) -> None:
    before = standing(prefix)

    assert service("install", prefix).code == 2
    with typed("service", "install", "--prefix", prefix) as program:
        until(lambda: program.shows("Go ahead? [y/N]"))
        program.type("\n")
        assert program.end() == 130

    assert standing(prefix) == before


def test_symlink_in_place_of_a_unit_is_taken_for_edited(prefix: Path) -> None:
    (prefix / UNIT).parent.mkdir(parents=True)
    (prefix / UNIT).symlink_to("/nowhere")

    service("install", prefix, "--yes")

    assert (prefix / UNIT).is_symlink()


def test_uninstall_removes_what_was_installed_and_nothing_else(prefix: Path) -> None:
    service("install", prefix, "--yes")
    (prefix / DROP_IN).with_name("override.conf").write_text("[Service]\nWatchdogSec=600\n")

    ran = service("uninstall", prefix, "--yes")

    assert ran.code == 0
    left = sorted(str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file())
    assert left == ["etc/archiverd/archiverd.toml", "etc/systemd/system/archiverd.service.d/override.conf"]


def test_uninstall_leaves_what_was_edited_since(prefix: Path) -> None:
    service("install", prefix, "--yes")
    (prefix / UNIT).write_text("mine\n")

    ran = service("uninstall", prefix, "--yes")

    assert "left as it was edited" in ran.out
    assert (prefix / UNIT).read_text() == "mine\n"
    assert not (prefix / DROP_IN).parent.exists()


def test_nothing_is_there_to_uninstall(prefix: Path) -> None:
    ran = service("uninstall", prefix, "--yes")

    assert (ran.code, ran.out) == (0, "Nothing is installed.\n")


def test_wrong_configuration_is_told_and_nothing_is_written(prefix: Path) -> None:
    (prefix / "etc/archiverd/archiverd.toml").write_text("nice = 99\n")

    assert service("install", prefix, "--yes").code == 78
    assert not (prefix / UNIT).exists()
