"""What archiverd leaves on a disk is what docs/ref/files.md says, and all of it; the same for markers and tags."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from archiverd.cli import run_command_line
from archiverd.storage.catalog_schema import FILE_NAME
from tests.e2e.rig import UNPRIVILEGED, Rig
from tests.program import CHECKOUT

REFERENCE = CHECKOUT / "docs" / "ref" / "files.md"


def table(title: str) -> list[list[str]]:
    """The rows of the table below a heading."""
    text = re.split(r"(?m)^## ", REFERENCE.read_text("utf-8"))
    (section,) = (part for part in text if part.startswith(f"{title}\n"))
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def keys(title: str) -> list[str]:
    return [row[0].strip("`") for row in table(title)]


def pattern(name: str, rig: Rig) -> re.Pattern[str]:
    """A name of the reference as what it stands for in these trees."""
    for root, path in (("input", rig.camera), ("output", rig.archive), ("trash", rig.trash), ("state", rig.state)):
        name = name.replace(f"{{{root}}}", str(path))
    parts = re.split(r"(YYYY/MM/DD|<stem>|<moment>)", name)
    meanings = {
        "YYYY/MM/DD": r"\d{4}/\d\d/\d\d",
        "<stem>": r"[^/]+_\d{14}(~\d)?",
        "<moment>": r"\d{8}T\d{6}",
    }
    return re.compile("".join(meanings.get(part, re.escape(part)) for part in parts))


@pytest.fixture
def used(rig: Rig) -> Rig:
    """Trees in which everything that stays was made once."""
    rig.upload("a", rig.path(0), snapshots=1)
    protected = rig.upload("b", rig.path(1), snapshots=1)
    assert rig.run_to_the_end() == 0
    rig.upload("a", rig.path(0))
    assert rig.run_to_the_end("--no-skip") == 0
    rig.upload("c", protected.path)
    rig.keep(protected)
    assert rig.run_to_the_end() == 0
    with rig.config_file.open("a") as config:
        config.write('snapshots = "archive"\n')
    rig.upload("d", rig.path(2), snapshots=1)
    catalog = rig.state / FILE_NAME
    catalog.chmod(0o444)
    assert rig.run(wrapper=UNPRIVILEGED) == 0
    os.truncate(catalog, 5000)
    assert rig.run_to_the_end() == 0
    lies = rig.trash / rig.path(0)
    assert run_command_line(["protect", str(lies), "--config", str(rig.config_file)]) == 0
    return rig


def made(rig: Rig) -> dict[Path, int]:
    """Every file in the trees that is no upload and nobody else's, with its mode."""
    others = {rig.camera / upload.path for upload in rig.uploads} | set(rig.bystanders)
    others |= {rig.camera / path for path in rig.snapshots}
    files = (path for path in rig.camera.rglob("*") if path.is_file() and not path.is_symlink() and path not in others)
    return {path: stat.S_IMODE(path.stat().st_mode) for path in files}


def test_every_file_that_stays_is_in_the_reference_and_no_other(used: Rig) -> None:
    known = {row[0].strip("`"): pattern(row[0].strip("`"), used) for row in table("Files that stay")}
    files = made(used)
    assert [path for path in files if not any(name.fullmatch(str(path)) for name in known.values())] == []
    assert [row for row, name in known.items() if not any(name.fullmatch(str(path)) for path in files)] == []


def test_files_have_the_modes_the_reference_gives_them(used: Rig) -> None:
    known = {pattern(row[0].strip("`"), used): row[1] for row in table("Files that stay")}
    assert set(known.values()) == {"0640", "0644", "`file_mode`", "as it was"}
    for path, mode in made(used).items():
        (told,) = {told for name, told in known.items() if name.fullmatch(str(path))}
        if told != "as it was":
            assert mode == int(told.replace("`file_mode`", "0640"), 8), path


def test_marker_holds_what_the_reference_says(used: Rig) -> None:
    for root in (used.camera, used.archive, used.trash):
        assert list(json.loads((root / ".archiverd-root").read_text())) == keys("Markers")


def test_archive_carries_the_tag_the_reference_says(used: Rig) -> None:
    upload = used.uploads[1]
    asked = (
        "ffprobe",
        "-v",
        "error",
        "-show_entries",
        "format_tags=archiverd",
        "-of",
        "json",
        used.archive / upload.path,
    )
    told = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
    tag = json.loads(told["format"]["tags"]["archiverd"])
    assert list(tag) == keys("The tag in an archive")
    assert (tag["source"], tag["sha256"]) == (str(upload.path), upload.sha256)
