"""An ffmpeg and an ffprobe that remember: one run of the real program for the same arguments over the same bytes.

Most of the time of a short run goes into starting ffmpeg. Where thousands of runs differ in one system call of
archiverd's own, ffmpeg is asked the same again and again, and answers with what it answered the first time: its
output file, what it said, and how it ended.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.program import once

_PROGRAM = """\
import hashlib, marshal, os, sys

real, memory, *arguments = sys.argv[1:]
names = [word[5:] for word in arguments if word.startswith("file:/proc/self/fd/")]
source = names[0] if "-i" in arguments else None
target = names[1] if len(names) == 2 else None
asked = repr([real, [word for word in arguments if word[5:] not in names], len(names)])
key = hashlib.sha256(asked.encode())
if source:
    with open(source, "rb") as file:
        key.update(file.read())
answer = os.path.join(memory, key.hexdigest())
if not os.path.exists(answer):
    import subprocess
    done = subprocess.run([real, *arguments], stdin=subprocess.DEVNULL, capture_output=True, close_fds=False)
    made = None
    if target:
        with open(target, "rb") as file:
            made = file.read()
    code, said, complained = done.returncode, done.stdout, done.stderr
    if code >= 0:  # who was ended by another has not answered
        fresh = f"{answer}.{os.getpid()}"
        with open(fresh, "wb") as file:
            marshal.dump((code, said, complained, made), file)
        os.replace(fresh, answer)
else:
    with open(answer, "rb") as file:
        code, said, complained, made = marshal.load(file)
    if made is not None:
        with open(target, "r+b") as file:
            file.truncate(0)
            file.write(made)
os.write(2, complained)
while said:
    said = said[os.write(1, said):]
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def replaying(factory: pytest.TempPathFactory) -> Path:
    """The directory of such an ffmpeg and ffprobe, to be the first on PATH; one for all processes of the tests."""

    def build(folder: Path) -> None:
        (folder / "memory").mkdir()
        script = folder / "replay.py"
        script.write_text(_PROGRAM)
        for tool in ("ffmpeg", "ffprobe"):
            real = shutil.which(tool)
            assert real is not None
            words = shlex.join((sys.executable, "-ISB", str(script), real, str(folder / "memory")))
            # Through a shell: the interpreter's path may hold a space, which no first line of a script can.
            (folder / tool).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            (folder / tool).chmod(0o755)

    return once(factory, "replaying", build)
