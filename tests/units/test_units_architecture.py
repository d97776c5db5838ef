"""The shape of the package: who may import whom, and what stands in one place only.

Sources are read (`ast`), never imported. Each rule is a function from a source to its breaches; every rule is first
shown to find small bad sources, then held against the tree.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "archiverd"

# From the ground up. A module imports from its own package and from floors below, never sideways. The first entry is
# `archiverd/__init__.py`, which every import of the package runs.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({""}),
    frozenset({"policy"}),
    frozenset({"errors"}),
    frozenset({"config"}),
    frozenset({"media", "storage", "service"}),
    frozenset({"reports"}),
    frozenset({"ladder", "live", "problems", "teller"}),
    frozenset({"workbench"}),
    frozenset({"adoption", "disposal", "maker", "trees"}),
    frozenset({"stock", "sweep", "outlook"}),
    frozenset({"remover"}),
    frozenset(
        {"processor", "cleaner", "scanner", "recoverer", "rebuilder", "checker", "mender", "owner", "survey", "trash"}
    )
    | frozenset({"intake", "timer", "concerns"}),
    frozenset({"cleanup_pass"}),
    frozenset({"cleanup_timer"}),
    frozenset({"examiner", "assembly", "worker", "lookout"}),
    frozenset({"one_cleanup"}),
    frozenset({"pipeline", "session"}),
    frozenset({"daemon"}),
    frozenset({"options", "dialogue", "installer"}),
    frozenset({"verbs"}),
    frozenset({"daemon_verb", "service_verbs", "trash_verbs", "cleanup_verb"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

PROCESS = "archiverd/media/process.py"
SIGNALS = "archiverd/service/graceful_exit.py"
DETACH = "archiverd/service/detach.py"
FILES = ("archiverd/storage/file_manager.py", "archiverd/storage/clearing.py", "archiverd/storage/renaming.py")
CATALOG = (
    "archiverd/storage/catalog.py",
    "archiverd/storage/catalog_connection.py",
    "archiverd/storage/catalog_retention.py",
)

# Stands on the ground because every floor heeds a stop; it decides nothing.
NO_DECISIONS = frozenset({"archiverd/policy/stop.py"})

# What ends a thread may catch everything, to say so: "archiverd/module.py:function".
THREAD_BOUNDARIES: frozenset[str] = frozenset(
    {
        "archiverd/intake.py:take",
        "archiverd/intake.py:_enter_alone",
        "archiverd/worker.py:_look_again",
        "archiverd/session.py:_run",
        "archiverd/processor.py:process",
        "archiverd/service/watcher.py:run",
    }
)


@dataclass(frozen=True, slots=True)
class Breach:
    """Where a rule is broken, and what is wrong there."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed file; `path` is relative to the checkout."""

    path: str
    tree: ast.Module

    @classmethod
    def of(cls, path: str, text: str) -> Source:
        return cls(path, ast.parse(text, path))

    @property
    def in_package(self) -> bool:
        return self.path.startswith(f"{PACKAGE}/")

    @property
    def part(self) -> str:
        """The part of the package the file belongs to: a module or package directly below it, or "" for itself."""
        first = PurePosixPath(self.path).parts[1]
        return first.removesuffix(".py") if first != "__init__.py" else ""

    def breach(self, node: ast.AST, message: str) -> Breach:
        return Breach(self.path, getattr(node, "lineno", 0), message)


Rule = Callable[[Source], Iterator[Breach]]


# --- Reading a source ------------------------------------------------------------------------------------------------


def imported(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Each import, as the dotted name of what is imported: `from os import path` is `os.path`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node, f"{module}.{alias.name}") for alias in node.names)


def used(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Each import and each name or attribute that leads back to an import, by its full dotted name.

    A use need not be a call: a function handed on is a use too.
    """
    names = bindings(source)
    yield from imported(source)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute | ast.Name) and (name := full_name(node, names)):
            yield node, name


def bindings(source: Source) -> dict[str, str]:
    """What each imported name stands for, wherever in the file it is imported."""
    names: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def full_name(node: ast.expr, names: dict[str, str]) -> str:
    """`o.rename` as `os.rename` where `o` was imported as `os`; "" for what leads back to no import."""
    match node:
        case ast.Name(id=name):
            return names.get(name, "")
        case ast.Attribute(value=value, attr=attribute):
            base = full_name(value, names)
            return f"{base}.{attribute}" if base else ""
        case _:
            return ""


def is_under(name: str, modules: frozenset[str]) -> bool:
    """Whether the dotted name is one of the modules or something in one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


# --- The rules -------------------------------------------------------------------------------------------------------


def stands_on_a_floor(source: Source) -> Iterator[Breach]:
    if source.in_package and source.part not in FLOOR_OF:
        yield Breach(source.path, 1, f"{source.part} stands on no floor: give it one in FLOORS")


def imports_point_down(source: Source) -> Iterator[Breach]:
    if not source.in_package:
        return
    for node, name in imported(source):
        if name.startswith("."):
            yield source.breach(node, "relative import: write the whole name")
        elif name == PACKAGE:
            yield source.breach(node, f"import {PACKAGE}: name the module that is meant")
        elif name.startswith(f"{PACKAGE}."):
            yield from goes_down(source, node, name)


def goes_down(source: Source, node: ast.AST, name: str) -> Iterator[Breach]:
    second = name.split(".")[1]
    # `from archiverd import __version__` imports the package itself, not a part of it.
    target = second if second in FLOOR_OF or name.count(".") > 1 else ""
    if target == source.part:
        return
    if target not in FLOOR_OF:
        yield source.breach(node, f"{name} stands on no floor")
    elif FLOOR_OF[target] >= FLOOR_OF.get(source.part, -1):
        way = "sideways" if FLOOR_OF[target] == FLOOR_OF.get(source.part, -1) else "up"
        yield source.breach(node, f"{source.part or PACKAGE} imports {way}: {name}")


def imports_are_written_out(source: Source) -> Iterator[Breach]:
    """No star, no import by a computed name: neither shows what it brings in."""
    for node, name in used(source):
        if name.endswith(".*"):
            yield source.breach(node, f"star import: {name}")
        elif source.in_package and is_under(name, frozenset({"importlib.import_module", "runpy"})):
            yield source.breach(node, f"import by a computed name: {name}")
    for node in ast.walk(source.tree):
        if source.in_package and isinstance(node, ast.Name) and node.id in {"__import__", "exec", "eval"}:
            yield source.breach(node, f"import by a computed name: {node.id}")


def only_in(home: str | tuple[str, ...], what: str, modules: frozenset[str]) -> Rule:
    """The rule that nothing under these dotted names is used in the package outside `home`."""
    homes = (home,) if isinstance(home, str) else home

    def rule(source: Source) -> Iterator[Breach]:
        if not source.in_package or source.path in homes:
            return
        for node, name in used(source):
            if is_under(name, modules):
                yield source.breach(node, f"{what} only in {' and '.join(homes)}: {name}")

    return rule


_SPAWNS = "execl execle execlp execlpe execv execve execvp execvpe forkpty popen posix_spawn posix_spawnp system"
_SPAWN_MODES = "spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe"
starts_programs_in_one_place = only_in(
    PROCESS,
    "programs are started",
    frozenset({"subprocess", "multiprocessing", "pty", "asyncio.subprocess", "asyncio.create_subprocess_exec"})
    | {f"os.{name}" for name in f"{_SPAWNS} {_SPAWN_MODES}".split()},
)

forks_in_one_place = only_in(DETACH, "the process is doubled", frozenset({"os.fork", "daemon"}))

handles_signals_in_one_place = only_in(
    SIGNALS,
    "signals are handled",
    frozenset({"signal.signal", "signal.set_wakeup_fd", "signal.sigwait", "signal.sigwaitinfo", "signal.sigtimedwait"}),
)

speaks_sql_in_one_place = only_in(CATALOG, "SQL", frozenset({"sqlite3", "_sqlite3"}))

moves_by_function = only_in(
    FILES,
    "files are moved and removed",
    frozenset(
        {f"os.{name}" for name in ("link", "remove", "removedirs", "rename", "renames", "replace", "rmdir", "unlink")}
    )
    | {f"pathlib.{path}.{name}" for path in ("Path", "PosixPath") for name in ("replace", "rename", "unlink", "rmdir")}
    | {"shutil.move", "shutil.rmtree"},
)

# Methods of Path by names that nothing else we use has.
_PATH_METHODS = frozenset({"hardlink_to", "link_to", "rename", "rmdir", "unlink"})
# What a program finds by name in the C library.
_C_NAMES = frozenset({"linkat", "renameat", "renameat2", "unlinkat"})
# Functions of these names that are another thing, or were found by name already.
_NO_PATHS = frozenset({"copy.replace", "dataclasses.replace", "os", "pathlib", "shutil"})


def moves_files_in_one_place(source: Source) -> Iterator[Breach]:
    """Renames, links and unlinks, in whatever clothes: functions, methods of Path, calls into the C library."""
    yield from moves_by_function(source)
    if not source.in_package or source.path in FILES:
        return
    names = bindings(source)
    called = {id(node.func): node for node in ast.walk(source.tree) if isinstance(node, ast.Call)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and node.value in _C_NAMES:
            yield source.breach(node, f"files are moved and removed only in {' and '.join(FILES)}: {node.value!r}")
        if not isinstance(node, ast.Attribute) or is_under(full_name(node, names), _NO_PATHS):
            continue
        if moves(node, called.get(id(node))):
            yield source.breach(node, f"files are moved and removed only in {' and '.join(FILES)}: .{node.attr}")


def moves(node: ast.Attribute, call: ast.Call | None) -> bool:
    """Whether an attribute of an unknown object is a method that moves or removes a file.

    `replace` is told by its arguments. Path.replace takes one, `target`; str.replace and bytes.replace take two and
    none of them by the name of `target`; datetime.replace and its kin are called with keywords. Arguments that cannot
    be counted (`*pair`, `**fields`), and a `replace` that is handed on uncalled, could be Path's.
    """
    if node.attr in _PATH_METHODS or node.attr in _C_NAMES:
        return True
    if node.attr != "replace":
        return False
    if call is None:
        return True
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    keywords = [keyword.arg for keyword in call.keywords]
    return starred or None in keywords or "target" in keywords or (len(call.args) == 1 and not keywords)


def never_sleeps(source: Source) -> Iterator[Breach]:
    for node, name in used(source):
        if name in {"time.sleep", "asyncio.sleep"}:
            yield source.breach(node, "a wait has a deadline and wakes on a stop: no sleep")


def never_uses_unittest(source: Source) -> Iterator[Breach]:
    for node, name in used(source):
        if is_under(name, frozenset({"unittest", "mock"})):
            yield source.breach(node, f"pytest and pytest-mock, not {name}")


def never_skips_a_test(source: Source) -> Iterator[Breach]:
    marks = {f"pytest.mark.{mark}" for mark in ("skip", "skipif", "xfail")}
    for node, name in used(source):
        if name in marks | {"pytest.skip", "pytest.xfail", "pytest.importorskip"}:
            yield source.breach(node, f"a test runs or is not there: {name}")


def catches_what_it_names(source: Source) -> Iterator[Breach]:
    """No bare except and no `except Exception` in the package; `except BaseException` only to clean up and re-raise."""
    if not source.in_package:
        return
    for function, node in handlers(source.tree, "<module>"):
        names = caught(node.type)
        if "BaseException" in names and isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
            continue
        if names & {"Exception", "BaseException", ""} and f"{source.path}:{function}" not in THREAD_BOUNDARIES:
            yield source.breach(node, f"{function} catches everything: name what it can handle")


def suppresses_what_it_names(source: Source) -> Iterator[Breach]:
    names = bindings(source) if source.in_package else {}
    calls = (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))
    for call in (call for call in calls if full_name(call.func, names) == "contextlib.suppress"):
        if set().union(*(caught(argument) for argument in call.args)) & {"Exception", "BaseException"}:
            yield source.breach(call, "suppresses everything: name what may be passed over")


def handlers(node: ast.AST, function: str) -> Iterator[tuple[str, ast.ExceptHandler]]:
    """Each except clause, with the name of the innermost function around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler):
            yield function, child
        inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield from handlers(child, inside)


def caught(node: ast.expr | None) -> set[str]:
    """The names an except clause lists; {""} for a bare one."""
    if node is None:
        return {""}
    if isinstance(node, ast.Tuple):
        return set().union(*(caught(element) for element in node.elts))
    return {ast.unparse(node).removeprefix("builtins.")}


def decides_without_doing(source: Source) -> Iterator[Breach]:
    """Policy takes the time and the facts as values: no clock, no disk, no chance, no thread, no log."""
    if source.in_package and source.part == "policy" and source.path not in NO_DECISIONS:
        for node, name in used(source):
            if is_under(name, _DOING) or name.endswith((".now", ".today", ".utcnow")):
                yield source.breach(node, f"policy decides on values and does nothing: {name}")
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Name) and node.id in {"open", "print", "input"}:
                yield source.breach(node, f"policy decides on values and does nothing: {node.id}")


_DOING = frozenset(
    {"fcntl", "logging", "pathlib.Path", "random", "secrets", "shutil", "socket", "tempfile", "threading", "time"}
    | {f"os.{name}" for name in ("environ", "getenv", "listdir", "lstat", "open", "scandir", "stat", "statvfs", "walk")}
)

RULES: tuple[Rule, ...] = (
    stands_on_a_floor,
    imports_point_down,
    imports_are_written_out,
    starts_programs_in_one_place,
    forks_in_one_place,
    handles_signals_in_one_place,
    speaks_sql_in_one_place,
    moves_files_in_one_place,
    never_sleeps,
    never_uses_unittest,
    never_skips_a_test,
    catches_what_it_names,
    suppresses_what_it_names,
    decides_without_doing,
)
RULE_NAMES = {
    starts_programs_in_one_place: "starts_programs_in_one_place",
    forks_in_one_place: "forks_in_one_place",
    handles_signals_in_one_place: "handles_signals_in_one_place",
    speaks_sql_in_one_place: "speaks_sql_in_one_place",
}


def rule_name(rule: Rule) -> str:
    return RULE_NAMES.get(rule, getattr(rule, "__name__", ""))


# --- The rules find what they are for --------------------------------------------------------------------------------

MEDIA = "archiverd/media/probe.py"
STORAGE = "archiverd/storage/roots.py"
SERVICE = "archiverd/service/watcher.py"
POLICY = "archiverd/policy/naming.py"
CLI = "archiverd/cli.py"
TEST = "tests/units/test_units_x.py"

BAD: tuple[tuple[Rule, str, str], ...] = (
    (stands_on_a_floor, "archiverd/helpers.py", ""),
    (stands_on_a_floor, "archiverd/extra/deep.py", ""),
    # up
    (imports_point_down, POLICY, "from archiverd.storage import paths"),
    (imports_point_down, POLICY, "from archiverd.errors import JobError"),
    (imports_point_down, POLICY, "import archiverd.errors"),
    (imports_point_down, "archiverd/errors.py", "from archiverd.config import Config"),
    (imports_point_down, "archiverd/__init__.py", "from archiverd.policy import model"),
    (imports_point_down, STORAGE, "from archiverd.processor import FileProcessor"),
    (imports_point_down, STORAGE, "from archiverd.reports import status"),
    (imports_point_down, STORAGE, "from archiverd import pipeline"),
    (imports_point_down, STORAGE, "def late() -> None:\n    from archiverd import pipeline"),
    (imports_point_down, STORAGE, "if TYPE_CHECKING:\n    from archiverd.pipeline import Pipeline"),
    (imports_point_down, "archiverd/pipeline.py", "import archiverd.cli as front"),
    (imports_point_down, CLI, "import archiverd.__main__"),
    # sideways
    (imports_point_down, MEDIA, "from archiverd.storage.paths import open_file"),
    (imports_point_down, MEDIA, "import archiverd.service.logger"),
    (imports_point_down, STORAGE, "from archiverd import media"),
    (imports_point_down, SERVICE, "from archiverd.storage import catalog"),
    (imports_point_down, "archiverd/cleaner.py", "from archiverd.scanner import Scanner"),
    # where it cannot be read
    (imports_point_down, MEDIA, "from ..storage import paths"),
    (imports_point_down, MEDIA, "from . import boxes"),
    (imports_point_down, MEDIA, "import archiverd"),
    (imports_point_down, CLI, "from archiverd.nowhere import thing"),
    (imports_are_written_out, CLI, "from os import *"),
    (imports_are_written_out, CLI, "import importlib\nimportlib.import_module(name)"),
    (imports_are_written_out, CLI, "module = __import__('archiverd.cli')"),
    # programs
    (starts_programs_in_one_place, MEDIA, "import subprocess"),
    (starts_programs_in_one_place, CLI, "from subprocess import run"),
    (starts_programs_in_one_place, CLI, "import os\nos.system('true')"),
    (starts_programs_in_one_place, CLI, "import os as o\no.posix_spawn('x', [], {})"),
    (starts_programs_in_one_place, CLI, "import multiprocessing.pool"),
    (forks_in_one_place, CLI, "import os\nos.fork()"),
    (forks_in_one_place, SERVICE, "from daemon import DaemonContext"),
    # signals
    (handles_signals_in_one_place, CLI, "import signal\nsignal.signal(signal.SIGTERM, handler)"),
    (handles_signals_in_one_place, CLI, "from signal import signal as on"),
    # SQL
    (speaks_sql_in_one_place, STORAGE, "import sqlite3"),
    (speaks_sql_in_one_place, "archiverd/storage/catalog_rows.py", "import sqlite3"),
    (speaks_sql_in_one_place, CLI, "from sqlite3 import connect"),
    # files
    (moves_files_in_one_place, STORAGE, "import os\nos.rename(a, b)"),
    (moves_files_in_one_place, STORAGE, "import os as o\no.link(a, b)"),
    (moves_files_in_one_place, STORAGE, "from os import unlink as drop"),
    (moves_files_in_one_place, STORAGE, "import os\nremove = os.remove"),
    (moves_files_in_one_place, STORAGE, "import os\nos.replace(a, b)"),
    (moves_files_in_one_place, STORAGE, "import os\nos.rmdir(a)"),
    (moves_files_in_one_place, STORAGE, "import shutil\nshutil.move(a, b)"),
    (moves_files_in_one_place, STORAGE, "import shutil\nfor tree in trees: shutil.rmtree(tree)"),
    (moves_files_in_one_place, STORAGE, "from pathlib import Path\nPath.replace(a, b)"),
    (moves_files_in_one_place, STORAGE, "from pathlib import Path\nPath('a').unlink()"),
    (moves_files_in_one_place, STORAGE, "path.unlink(missing_ok=True)"),
    (moves_files_in_one_place, STORAGE, "path.rename(other)"),
    (moves_files_in_one_place, STORAGE, "from archiverd.config import DEFAULT\nDEFAULT.unlink()"),
    (moves_files_in_one_place, STORAGE, "path.hardlink_to(other)"),
    (moves_files_in_one_place, STORAGE, "(root / name).replace(other)"),
    (moves_files_in_one_place, STORAGE, "path.replace(target=other)"),
    (moves_files_in_one_place, STORAGE, "path.replace(*pair)"),
    (moves_files_in_one_place, STORAGE, "path.replace(*none, *one)"),
    (moves_files_in_one_place, STORAGE, "path.replace(**how)"),
    (moves_files_in_one_place, STORAGE, "move = path.replace"),
    (moves_files_in_one_place, STORAGE, "library.renameat2(-1, a, -1, b, 1)"),
    (moves_files_in_one_place, STORAGE, "call = getattr(library, 'renameat2')"),
    # waits and tests
    (never_sleeps, SERVICE, "import time\ntime.sleep(1)"),
    (never_sleeps, TEST, "from time import sleep as pause"),
    (never_sleeps, "tools/footage.py", "import time\nwait = time.sleep"),
    (never_uses_unittest, TEST, "import unittest"),
    (never_uses_unittest, TEST, "from unittest.mock import Mock"),
    (never_uses_unittest, TEST, "from unittest import mock"),
    (never_skips_a_test, TEST, "import pytest\npytest.skip('later')"),
    (never_skips_a_test, TEST, "import pytest\n@pytest.mark.skipif(True, reason='')\ndef test_x() -> None: ..."),
    # exceptions
    (catches_what_it_names, CLI, "try: x()\nexcept: y()"),
    (catches_what_it_names, CLI, "try: x()\nexcept Exception: raise"),
    (catches_what_it_names, CLI, "try: x()\nexcept (OSError, Exception) as error: y()"),
    (catches_what_it_names, CLI, "try: x()\nexcept BaseException: y()"),
    (catches_what_it_names, CLI, "def f() -> None:\n    with a:\n        try: x()\n        except Exception: y()"),
    (suppresses_what_it_names, CLI, "from contextlib import suppress\nwith suppress(OSError, BaseException): x()"),
    (suppresses_what_it_names, CLI, "import contextlib\nwith contextlib.suppress(Exception): x()"),
    # policy
    (decides_without_doing, POLICY, "import time\nnow = time.time()"),
    (decides_without_doing, POLICY, "from datetime import datetime\nnow = datetime.now()"),
    (decides_without_doing, POLICY, "from pathlib import Path"),
    (decides_without_doing, POLICY, "import os\nos.stat(path)"),
    (decides_without_doing, POLICY, "with open(path) as file: ..."),
    (decides_without_doing, POLICY, "import random"),
)

GOOD: tuple[tuple[Rule, str, str], ...] = (
    (stands_on_a_floor, "archiverd/storage/new.py", ""),
    (stands_on_a_floor, TEST, ""),
    (imports_point_down, MEDIA, "from archiverd.media.boxes import walk"),
    (imports_point_down, MEDIA, "from archiverd.errors import JobError\nfrom archiverd.policy import model"),
    (imports_point_down, "archiverd/config/loading.py", "from archiverd.errors import ConfigError"),
    (imports_point_down, "archiverd/reports.py", "from archiverd.storage import catalog"),
    (imports_point_down, "archiverd/pipeline.py", "from archiverd import processor, __version__"),
    (imports_point_down, "archiverd/__main__.py", "from archiverd.cli import main"),
    (imports_point_down, POLICY, "import os\nfrom archiverd.policy.model import Tree"),
    (imports_point_down, TEST, "from archiverd.cli import main\nfrom . import footage"),
    (imports_are_written_out, CLI, "from os import path\nimport importlib.metadata"),
    (starts_programs_in_one_place, PROCESS, "import subprocess"),
    (starts_programs_in_one_place, TEST, "import subprocess"),
    (starts_programs_in_one_place, CLI, "import os\nos.getpid()"),
    (forks_in_one_place, DETACH, "import os\nfrom daemon import DaemonContext\nos.fork()"),
    (forks_in_one_place, CLI, "from archiverd.daemon import Daemon"),
    (handles_signals_in_one_place, SIGNALS, "import signal\nsignal.signal(signal.SIGTERM, handler)"),
    (handles_signals_in_one_place, PROCESS, "import signal\nterm = signal.SIGTERM"),
    *((speaks_sql_in_one_place, path, "import sqlite3") for path in CATALOG),
    *(
        (moves_files_in_one_place, path, "import os\nos.rename(a, b)\npath.unlink()\nlibrary.renameat2()")
        for path in FILES
    ),
    (moves_files_in_one_place, TEST, "path.unlink()"),
    (moves_files_in_one_place, STORAGE, "text.replace('a', 'b')"),
    (moves_files_in_one_place, STORAGE, "text.replace('a', 'b', 1)"),
    (moves_files_in_one_place, STORAGE, "taken_at.replace(tzinfo=None)"),
    (moves_files_in_one_place, STORAGE, "from dataclasses import replace\nreplace(row, state=1)"),
    (moves_files_in_one_place, STORAGE, "import dataclasses\nreplace = dataclasses.replace"),
    (moves_files_in_one_place, STORAGE, "'the words renameat2 and os.unlink in a sentence'"),
    (moves_files_in_one_place, STORAGE, "import os\nos.path.join(a, b)\nnames.remove(a)"),
    (never_sleeps, TEST, "SCRIPT = 'import time; time.sleep(9)'\nimport time\ntime.monotonic()"),
    (never_uses_unittest, TEST, "from pytest_mock import MockerFixture"),
    (never_skips_a_test, TEST, "import pytest\n@pytest.mark.parametrize('a', [1])\ndef test_x(a: int) -> None: ..."),
    (catches_what_it_names, CLI, "try: x()\nexcept (OSError, ValueError): y()"),
    (catches_what_it_names, CLI, "try: x()\nexcept BaseException:\n    y()\n    raise"),
    (catches_what_it_names, TEST, "try: x()\nexcept Exception: y()"),
    (suppresses_what_it_names, CLI, "import contextlib\nwith contextlib.suppress(OSError): x()"),
    (decides_without_doing, POLICY, "import os\nos.fspath(path)\nfrom datetime import datetime, timedelta"),
    (decides_without_doing, STORAGE, "import time\ntime.time()"),
)


@pytest.mark.parametrize(
    ("rule", "path", "text"), BAD, ids=[f"{rule_name(rule)}-{number}" for number, (rule, _, _) in enumerate(BAD)]
)
def test_rule_finds_bad_source(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source.of(path, text)))


@pytest.mark.parametrize(
    ("rule", "path", "text"), GOOD, ids=[f"{rule_name(rule)}-{number}" for number, (rule, _, _) in enumerate(GOOD)]
)
def test_rule_passes_good_source(rule: Rule, path: str, text: str) -> None:
    assert [str(breach) for breach in rule(Source.of(path, text))] == []


def test_breach_names_file_and_line() -> None:
    (breach,) = imports_point_down(Source.of(MEDIA, "import os\n\nfrom archiverd.storage import paths\n"))

    assert str(breach) == "archiverd/media/probe.py:3: media imports sideways: archiverd.storage.paths"


# --- The tree keeps the rules ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources() -> tuple[Source, ...]:
    """Every Python file of ours."""
    paths = sorted(path for top in (PACKAGE, "tests", "tools", "bench") for path in (ROOT / top).rglob("*.py"))
    return tuple(Source.of(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths)


@pytest.mark.parametrize("rule", RULES, ids=rule_name)
def test_tree_keeps_rule(rule: Rule, sources: tuple[Source, ...]) -> None:
    breaches = [str(breach) for source in sources for breach in rule(source)]

    assert not breaches, "\n" + "\n".join(breaches)  # in full: pytest would shorten the list


def test_walk_sees_the_package_and_the_tests(sources: tuple[Source, ...]) -> None:
    assert {"archiverd/__init__.py", "archiverd/policy/model.py", "tests/units/test_units_architecture.py"} <= {
        source.path for source in sources
    }


def test_every_rule_has_bad_and_good_sources() -> None:
    assert {rule for rule, _, _ in BAD} == set(RULES) == {rule for rule, _, _ in GOOD}
