"""What a program that reads uploads may see: the files it was given, what its libraries need, and no network.

Landlock (landlock(7)) closes the file system to a thread and to all that it starts, and seccomp (seccomp(2)) its
sockets; neither can be undone, and neither asks for a privilege. So the thread that is to start a program is confined,
and ends with it: see `process`. Where the kernel lacks one of them, that part is left out.

Source of the numbers and structures: linux/landlock.h, linux/seccomp.h, linux/filter.h, asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import platform
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archiverd.errors import ResourceError

# The calls have these numbers on every architecture but alpha.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV  # what can be said of a file by itself
# By version of the interface, all there is to be closed: of files, of TCP, and what is told to processes outside.
_FILES: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _SCOPES = 0b11, 0b11

_READ: Final = _READ_FILE | _READ_DIR
_RUN: Final = _READ | _EXECUTE
_USE: Final = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
_PROGRAMS: Final = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/opt", "/nix/store", "/gnu/store")
_SETTINGS: Final = tuple(
    f"/etc/{name}" for name in (
        "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "localtime", "libva.conf", "drirc", "OpenCL",
        "vulkan", "fonts", "ssl/openssl.cnf", "igfx_user_feature.txt", "igfx_user_feature_next.txt",
    )
)  # fmt: skip
# Of processes nothing is to be read: /proc/self would be archiverd's own. That they are listed lets subprocess find the
# open files that it is to close; else it tries every number there could be.
_OF_THE_KERNEL: Final = (
    "/sys", "/proc/sys", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/driver",
)  # fmt: skip
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_GPUS: Final = "/dev/dri"

_NO_NEW_PRIVS, _GET_SECCOMP, _SET_SECCOMP, _FILTER_MODE = 38, 21, 22, 2
_IO_URING_SETUP = 425  # which opens sockets by itself
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, …
_X32 = 0x40000000  # the other numbers an x86_64 kernel may know
# machine -> audit number, and that of socket(2)
_MACHINES: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198), "riscv64": (0xC00000F3, 198)}

_libc = ctypes.CDLL(None, use_errno=True)


class _Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


@dataclass(frozen=True, slots=True)
class Sight:
    """What a confined program sees beside what its libraries need."""

    programs: tuple[str, ...]  # the paths of it and of what it is started through
    handles: tuple[int, ...]  # open files, each to be read, and written where it is open for that
    devices: tuple[str, ...] = ()  # to encode with, besides those in /dev/dri


@functools.cache
def landlock_version() -> int:
    """The version of the kernel's Landlock interface; 0 where it has none, or none that may be used."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))))


def closes_sockets() -> bool:
    """Whether sockets can be closed to a program here: the kernel has seccomp, and its numbers are known."""
    has_seccomp = _libc.prctl(_GET_SECCOMP, *map(ctypes.c_ulong, (0, 0, 0, 0))) >= 0
    return has_seccomp and platform.machine() in _MACHINES and struct.calcsize("P") == 8


def confine(sight: Sight) -> None:
    """Confine the calling thread, for as long as it lives, and what it starts from now on.

    Raises: ResourceError where the kernel refuses what it said it can do.
    """
    if _libc.prctl(_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))) != 0:
        raise _refused("prctl")
    version = landlock_version()
    if version:
        _close_files(sight, version)
    if closes_sockets():
        _close_sockets(*_MACHINES[platform.machine()])


def _close_files(sight: Sight, version: int) -> None:
    closed = _FILES[min(version, max(_FILES))]
    attributes = struct.pack("=QQQ", closed, _TCP, _SCOPES)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = int(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)))
    if ruleset < 0:
        raise _refused("landlock_create_ruleset")
    try:
        for handle, access in _handles(sight.handles):
            _open_up(ruleset, handle, access & closed)
        for path, access in _paths(sight):
            try:
                handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:  # not on this machine, or out of our own reach
                continue
            try:
                _open_up(ruleset, handle, access & closed)
            finally:
                os.close(handle)
        if _libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) != 0:
            raise _refused("landlock_restrict_self")
    finally:
        os.close(ruleset)


def _handles(handles: Iterable[int]) -> Iterator[tuple[int, int]]:
    for handle in handles:
        written = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        yield handle, _READ_FILE | (_WRITE_FILE | _TRUNCATE if written else 0)


def _paths(sight: Sight) -> Iterator[tuple[str, int]]:
    yield from (
        (path, _RUN) for path in (*_PROGRAMS, *(near for program in sight.programs for near in _beside(program)))
    )
    yield from ((path, _READ) for path in (*_SETTINGS, *_OF_THE_KERNEL))
    yield "/proc", _READ_DIR
    yield from ((path, _USE) for path in _DEVICES)
    if sight.devices:
        yield from ((path, _USE | _READ_DIR) for path in (_GPUS, *sight.devices))


def _beside(program: str) -> Iterator[str]:
    """A build of one's own often brings its libraries along: in its directory, or in `lib` beside that."""
    where = Path(program).resolve().parent
    if where != Path("/"):
        yield str(where)
        yield str(where.parent / "lib")


def _open_up(ruleset: int, handle: int, access: int) -> None:
    if not stat.S_ISDIR(os.fstat(handle).st_mode):
        access &= _OF_FILES
    rule = struct.pack("=Qi", access, handle)  # packed: struct landlock_path_beneath_attr
    done = _libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    # A memfd stands on no path, and is not closed to anybody.
    if done != 0 and ctypes.get_errno() != errno.EBADFD:
        raise _refused("landlock_add_rule")


def _close_sockets(audit: int, socket: int) -> None:
    """Have socket(2) fail. Ones that stand already can be used, and pipes and socketpairs made."""
    program = [
        (_LOAD, 0, 0, 4),  # the architecture whose numbers are meant
        (_EQUAL, 0, 4, audit),  # another: as an unknown call
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, 2, 0, _X32),
        (_EQUAL, 1, 0, _IO_URING_SETUP),
        (_EQUAL, 1, 2, socket),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
        (_RETURN, 0, 0, _FAIL | errno.EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]
    instructions = (_Instruction * len(program))(*(_Instruction(*one) for one in program))
    told = _Program(len(program), instructions)
    if _libc.prctl(
        _SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), ctypes.byref(told), ctypes.c_ulong(0), ctypes.c_ulong(0)
    ):
        raise _refused("seccomp")


def _refused(call: str) -> ResourceError:
    reason = os.strerror(ctypes.get_errno())
    return ResourceError(
        f"ffmpeg can't be confined: the kernel refuses {call}: {reason}",
        advice="`confine = false` in the configuration has it run unconfined",
    )
