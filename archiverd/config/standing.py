"""How the settings stand to each other: what does not go together, and what holds and will not work."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from archiverd.config.rules import KEY, idle
from archiverd.config.settings import Config, Loaded, WhenFull
from archiverd.errors import Problem
from archiverd.policy.naming import printable

_YEAR = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong between keys: the one whose value was chosen most lately is named for it."""

    keys: tuple[str, ...]
    message: str


def findings(config: Config, checked: Collection[str]) -> Iterator[Finding]:
    """Everything wrong between the keys of `checked`, each of which is valid by itself."""
    roots = {key: getattr(config, key) for key in ("directory", "output", "trash_root", "state_dir") if key in checked}
    # A tree that holds the source tree holds all that stands in it: that is said once, of the source tree.
    source = roots.get("directory")
    holders = {key for key in roots if key != "directory" and source and source.is_relative_to(roots[key])}
    for first, second in itertools.combinations(roots, 2):
        message = _overlap(first, roots[first], second, roots[second])
        if message and (first == "directory" or not holders & {first, second}):
            yield Finding((first, second), message)
    if "log_file" in checked:
        yield from _log_findings(config.log_file, {key: roots[key] for key in roots if key not in holders})


def _overlap(first: str, one: Path, second: str, other: Path) -> str:
    """Why two roots cannot stand where they stand; "" when they can. The source tree may hold the others."""
    if one == other:
        return f"{first} and {second} are the same directory ({one}); each needs its own"
    if one.is_relative_to(other):
        return f"{first} ({one}) lies inside {second} ({other}); neither may hold the other"
    if not other.is_relative_to(one):
        return ""
    if first != "directory":
        return f"{second} ({other}) lies inside {first} ({one}); neither may hold the other"
    if _YEAR.fullmatch(other.relative_to(one).parts[0]):
        return f"{second} ({other}) lies where the footage of a year lies; choose another name in {one}"
    return ""


def _log_findings(log_file: Path, roots: Mapping[str, Path]) -> Iterator[Finding]:
    if os.path.isdir(log_file):  # noqa: PTH112  (Path.is_dir raises where it may not look)
        yield Finding(("log_file",), f"{log_file} is a directory; write the path of a file")
    for key, root in roots.items():
        if root.is_relative_to(log_file):
            yield Finding((key, "log_file"), f"log_file ({log_file}) is, or holds, the directory of {key} ({root})")
        elif key in ("output", "trash_root") and log_file.is_relative_to(root):
            yield Finding((key, "log_file"), f"log_file ({log_file}) lies inside {key} ({root}), among recordings")


def doubts(loaded: Loaded) -> tuple[Problem, ...]:
    """What holds, and does not do what was meant by it: worth a word at a start, and no reason to refuse it."""
    found = [*_command_doubts(loaded.config), *_retention_doubts(loaded.config)]
    return tuple(Problem(loaded.sources[key], place, message) for key, place, message in found)


def _command_doubts(config: Config) -> Iterator[tuple[str, str, str]]:
    program = next(iter(config.on_problem), None)
    if program is None or shutil.which(program) is not None:
        return
    there = shutil.which(program, mode=os.F_OK)
    message = f"{printable(program)} {'was not found' if there is None else 'may not be executed'}"
    yield "on_problem", "on_problem", f"{message}; nobody would be told"


def _retention_doubts(config: Config) -> Iterator[tuple[str, str, str]]:
    for place, message in idle(config.retention, config.general_rules):
        yield KEY, place, message
    if config.when_full is WhenFull.OLDEST and config.min_free is None:
        yield "when_full", "when_full", "never counts: min_free is unset, and room is not looked at"
