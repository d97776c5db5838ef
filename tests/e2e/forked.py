"""A process that has loaded archiverd, and runs it in forks of itself: each begins where loading would have ended.

`python -m tests.e2e.forked` reads one JSON object a line: what to run, and where its output goes. It answers with the
number of a fork that waits, goes on with it at the next line, and tells how it ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import archiverd
from archiverd.cli import main as program
from tests.program import CHECKOUT, unmeasured

_PR_SET_PTRACER = 0x59616D61
_ANYBODY = ctypes.c_ulong(-1)


class Forks:
    """The process, for a test to have archiverd run in: the same as the program, but for the second it loads in."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, arguments: Sequence[str], output: Path, strace: Sequence[str], env: Mapping[str, str]) -> int:
        """Run one command line to its end, with its output added to a file, under strace; its exit code."""
        pid = self._ask({"arguments": list(arguments), "output": str(output), "env": dict(env)})
        with subprocess.Popen([*strace, "-p", str(pid)], stderr=subprocess.PIPE, text=True) as watching:
            assert watching.stderr is not None
            attached = watching.stderr.readline()
            assert "attached" in attached, attached
            code = self._ask({})
            watching.stderr.read()
        return code

    def _ask(self, question: Mapping[str, object]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def forks() -> Iterator[Forks]:
    """Such a process, over at the end."""
    command = (sys.executable, "-m", "tests.e2e.forked")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=unmeasured(), cwd=CHECKOUT
    ) as process:
        yield Forks(process)
        assert process.stdin is not None
        process.stdin.close()


def main() -> None:
    for module in pkgutil.walk_packages(archiverd.__path__, "archiverd."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for question in sys.stdin:
        asked = json.loads(question)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            _be_archiverd(asked["arguments"], Path(asked["output"]), asked["env"], reader)
        os.close(reader)
        print(pid, flush=True)
        sys.stdin.readline()
        os.close(writer)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _be_archiverd(arguments: list[str], output: Path, env: Mapping[str, str], start: int) -> NoReturn:
    code: object = 70
    try:
        os.environ.update(env)
        os.chdir("/")
        nothing, told = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for handle, meant in ((nothing, 0), (told, 1), (told, 2)):
            os.dup2(handle, meant)
        sys.argv[:] = ["archiverd", *arguments]
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
        os.read(start, 1)
        os.close(start)
        program()
    except SystemExit as end:
        code = end.code or 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
