"""archiverd run again and again, each time in a new process, under strace from its first step on.

Most of a short run goes into loading modules. Here one process has them all loaded, and forks one for each run:
`python -m tests.e2e.forking` is that one, and `Forks` speaks with it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import archiverd
from archiverd import cli, remover
from tests.program import CHECKOUT, unmeasured

_PR_SET_PTRACER = 0x59616D61
_ANYBODY = ctypes.c_ulong(-1)


class Forks:
    """From `with` to its end: a process that has archiverd loaded."""

    def __enter__(self) -> Self:
        command = (sys.executable, "-m", "tests.e2e.forking")
        self._process = subprocess.Popen(
            command, cwd=CHECKOUT, env=unmeasured(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, tracer: Iterable[str], arguments: Iterable[str], output: Path, environment: Mapping[str, str]) -> int:
        """Run archiverd under a strace, to its end or its death; its return code, as subprocess gives it."""
        request = {"arguments": list(arguments), "output": str(output), "environment": dict(environment)}
        pid = self._ask(json.dumps(request))
        saying = ("--quiet=exit,personality" if option == "-qq" else option for option in tracer)
        with subprocess.Popen((*saying, "-p", str(pid)), stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            said = strace.stderr.readline()
            assert "attached" in said, said
            code = self._ask("go")
            strace.stderr.read()
        return code

    def _ask(self, line: str) -> int:
        to, of = self._process.stdin, self._process.stdout
        assert to is not None
        assert of is not None
        to.write(line + "\n")
        return int(of.readline())


def main() -> None:
    for module in pkgutil.walk_packages(archiverd.__path__, "archiverd."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("rich.console", "rich.table", "rich.live", "rich.progress"):
        importlib.import_module(name)
    remover._SLICE_S = 3600.0  # how often a cleanup pauses is the same on a slow machine
    while line := sys.stdin.readline():
        begin, may_begin = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(may_begin)
            _be_archiverd(json.loads(line), begin)
        print(pid, flush=True)
        assert sys.stdin.readline() == "go\n"
        os.write(may_begin, b".")
        _, status = os.waitpid(pid, 0)
        os.close(begin)
        os.close(may_begin)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _be_archiverd(request: dict[str, Any], begin: int) -> None:  # Any: what json.loads returns
    """Wait until strace has this process, then be the program."""
    sys.argv = ["archiverd", *request["arguments"]]
    os.environ.update(request["environment"])
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
    os.chdir("/")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if os.read(begin, 1):
        cli.main()  # and there it ends
    sys.exit(1)


if __name__ == "__main__":
    main()
