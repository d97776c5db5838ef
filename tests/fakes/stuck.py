"""A program that no SIGKILL ends, as one is that hangs in a driver: `python stuck.py FILE`.

Its end is not told to its parent while another process traces it and does not ask; the tracer goes with FILE.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

_LONGEST_S = 60
_PR_SET_PTRACER, _PTRACE_SEIZE = 0x59616D61, 0x4206


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # anybody may trace it
    ready, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        os.write(told, b"x" if libc.ptrace(_PTRACE_SEIZE, os.getppid(), None, None) == 0 else b"-")
        until = time.monotonic() + _LONGEST_S
        while os.path.exists(sys.argv[1]) and time.monotonic() < until:
            select.select([], [], [], 0.05)
        os._exit(0)
    if os.read(ready, 1) != b"x":
        sys.exit("nobody may trace here")
    while True:
        signal.pause()


main()
