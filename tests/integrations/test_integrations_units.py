"""The shipped unit as systemd judges it: whole, and hardly exposed."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

from archiverd.policy import units
from archiverd.policy.units import Machine
from tests.program import CHECKOUT

SHIPPED = CHECKOUT / "systemd"
MACHINE = Machine(("/usr/bin/archiverd",), None, trees=(PurePosixPath("/camera"),), groups=("render",))
ALL_OF_IT = replace(
    MACHINE,
    trees=(PurePosixPath("/home/ftp/my cameras"),),
    stop_timeout_s=90,
    setgid_directories=True,
)


@dataclass(frozen=True, slots=True)
class System:
    """A root with systemd's own units, and ours."""

    root: Path

    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = ("systemd-analyze", f"--root={self.root}", "--no-pager", *arguments)
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    def install(self, source: str, target: PurePosixPath) -> None:
        place = self.root / target.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHIPPED / source, place)

    @property
    def exposure(self) -> float:
        told = self.analyze("security", "--offline=true", units.UNIT).stdout
        return float(re.findall(r"exposure level for archiverd.service: ([\d.]+)", told)[0])


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "usr/bin").mkdir(parents=True)
    for name in ("lib", "bin"):
        (tmp_path / name).symlink_to(f"usr/{name}")
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    for program in ("archiverd", "sh"):
        shutil.copy("/bin/true", tmp_path / "usr/bin" / program)
    made = System(tmp_path)
    for file in units.shipped_for(0):
        made.install(file.source, file.target)
    return made


@pytest.mark.parametrize("machine", [MACHINE, ALL_OF_IT], ids=["usual", "all of it"])
def test_systemd_finds_no_fault_in_the_units(system: System, machine: Machine) -> None:
    place = system.root / units.MACHINE_FILE.relative_to("/")
    place.parent.mkdir()
    place.write_text(units.drop_in(machine))
    system.install("examples/on-failure.conf", units.MACHINE_FILE.with_name("20-on-failure.conf"))
    system.install("examples/network.conf", units.MACHINE_FILE.with_name("20-network.conf"))

    checked = system.analyze("verify", "--man=no", units.UNIT, "archiverd-failed@archiverd.service")

    assert (checked.stdout, checked.stderr, checked.returncode) == ("", "", 0)


@pytest.mark.parametrize("machine", [MACHINE, ALL_OF_IT], ids=["usual", "all of it"])
def test_service_is_hardly_exposed(system: System, machine: Machine) -> None:
    place = system.root / units.MACHINE_FILE.relative_to("/")
    place.parent.mkdir()
    place.write_text(units.drop_in(machine))

    assert system.exposure <= 1.2


def test_network_is_opened_by_the_example_and_by_nothing_else(system: System) -> None:
    before = system.exposure
    system.install("examples/network.conf", units.MACHINE_FILE.with_name("20-network.conf"))

    assert system.exposure > before
