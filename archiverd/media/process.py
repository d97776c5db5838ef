"""One external program, run to its end under limits. The only place that starts a process.

The program gets an argument list and never a shell, nothing on stdin but what is given, `/` as its directory, a small
fixed environment unless another is given, no descriptors but those named, and a session and process group of its own.
Whatever happens, the group is gone when `run` returns or raises. (A grandchild that opens a session of its own is out
of reach.)

The death of archiverd itself is covered by `setpriv --pdeathsig KILL`. That signal is sent when the *thread* that
started the program ends, not only the process: that thread must outlive the program. It does, for `run` does not
return before, and a thread that is confined to start a program ends with it. Source: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import resource
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath
from types import TracebackType
from typing import IO, Final, Self, assert_never

from archiverd.errors import ResourceError, StartupError, StuckError
from archiverd.media.confinement import Sight, closes_sockets, confine, landlock_version
from archiverd.media.process_output import BothEnds, LineCutter
from archiverd.policy.stop import StopToken

log = logging.getLogger(__name__)

_unconfined: set[str] = set()  # programs that do not start confined

OnLine = Callable[[str], bool | None]

MAX_STDOUT: Final = 256 * 1024 * 1024  # bytes

_LAUNCH_TOOLS: Final = ("setpriv", "prlimit", "nice", "ionice")
_PACKAGES: Final = {"ffprobe": "ffmpeg"}  # program -> Debian package, where the names differ
_SHORT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_CHUNK: Final = 64 * 1024  # bytes: all that a pipe holds
_TURN_S: Final = 1.0  # no wait is longer
_POLL_S: Final = 0.05  # between looks at a child whose end is not signalled to us
_DRAIN_S: Final = 1.0  # for what is still in the pipes after the exit
_KILL_S: Final = 5.0  # for SIGKILL to take effect
_LOOK_S: Final = 20.0  # for a program to tell its version
_QUOTE: Final = 300  # characters of stderr in a one-line description


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use. Times in seconds, `math.inf` for no limit; sizes in bytes, None for no limit."""

    stall_s: float  # without progress; applies to runs with `on_line`
    wall_s: float
    stop_s: float = 10.0  # between SIGTERM and SIGKILL
    memory_bytes: int | None = None  # address space
    file_bytes: int | None = None  # of any one file it writes
    nice: int = 0
    idle_io: bool = False
    confined: bool = False  # it sees the files it is given, what its libraries need, and no network
    devices: tuple[str, ...] = ()  # that one which is confined sees too


NO_LIMITS: Final = Limits(stall_s=math.inf, wall_s=math.inf)


class Ending(StrEnum):
    """How a run came to its end."""

    EXITED = "exited"
    SIGNALLED = "signalled"  # by somebody else, or by a resource limit
    STALLED = "stalled"
    TIMED_OUT = "timed out"
    STOPPED = "stopped"  # the stop token
    ABANDONED = "abandoned"  # `on_line` returned False
    FLOODED = "flooded"  # more on stdout than allowed


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that is over: no process of it is left."""

    argv: tuple[str, ...]  # as asked for, without the launcher
    ending: Ending
    returncode: int  # of the program; -N when signal N killed it
    stderr: str  # its beginning and its end; printable but for newlines
    elapsed_s: float
    limits: Limits = NO_LIMITS

    @property
    def ok(self) -> bool:
        """The program ended by itself with status 0 (which, of ffmpeg, proves nothing by itself)."""
        return self.ending is Ending.EXITED and self.returncode == 0

    @property
    def outgrew_file_limit(self) -> bool:
        """The kernel ended it for writing beyond `limits.file_bytes`."""
        return self.ending is Ending.SIGNALLED and -self.returncode == signal.SIGXFSZ

    def describe(self) -> str:
        """One line that says how it ended."""
        return f"{PurePath(self.argv[0]).name} {self._what()}"

    def _what(self) -> str:
        match self.ending:
            case Ending.EXITED:
                return f"exited with {self.returncode}{self._last_words()}"
            case Ending.SIGNALLED if self.outgrew_file_limit:
                return f"wrote more than {self.limits.file_bytes} bytes to a file and was killed"
            case Ending.SIGNALLED:
                return f"was killed by {_signal_name(-self.returncode)}{self._last_words()}"
            case Ending.STALLED:
                return f"made no progress for {self.limits.stall_s:g} s and was killed{self._last_words()}"
            case Ending.TIMED_OUT:
                return f"ran for more than {self.limits.wall_s:g} s and was killed{self._last_words()}"
            case Ending.STOPPED:
                return "was stopped, as asked"
            case Ending.ABANDONED:
                return f"was stopped, for its output was refused{self._last_words()}"
            case Ending.FLOODED:
                return "wrote more to its standard output than allowed and was killed"
            case _:
                assert_never(self.ending)

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return f": {lines[-1][:_QUOTE]}" if lines else ""


def environment(path: str, **extra: str) -> dict[str, str]:
    """The whole environment of a program: nothing of the user's but the search path.

    `extra` adds to it (LIBVA_DRIVER_NAME and its like).
    """
    return {"PATH": path, "HOME": "/nonexistent", "LANG": "C", "LC_ALL": "C", **extra}


def launcher(limits: Limits, tools: Mapping[str, str]) -> tuple[str, ...]:
    """The argv prefix that puts a program under its limits; each part execs the next.

    `tools`: name -> path of those of setpriv, prlimit, nice and ionice that this machine has; what is missing is
    left out. prlimit sets the soft and the hard limit. Core dumps are always off: they hold footage.
    """
    argv: list[str] = []
    if "setpriv" in tools:
        argv += [tools["setpriv"], "--pdeathsig", "KILL", "--"]
    if "prlimit" in tools:
        memory = [] if limits.memory_bytes is None else [f"--as={limits.memory_bytes}"]
        file = [] if limits.file_bytes is None else [f"--fsize={limits.file_bytes}"]
        argv += [tools["prlimit"], *memory, *file, "--core=0", "--"]
    if "nice" in tools and limits.nice:
        argv += [tools["nice"], "-n", str(limits.nice)]
    if "ionice" in tools and limits.idle_io:
        argv += [tools["ionice"], "-c", "3"]
    return tuple(argv)


def within(limits: Limits, hard_memory: int, hard_file: int) -> Limits:
    """The limits, none above the hard limit we are under ourselves (RLIM_INFINITY for none).

    prlimit refuses to raise a hard limit and would fail every run.
    """
    return replace(
        limits,
        memory_bytes=_lower(limits.memory_bytes, hard_memory),
        file_bytes=_lower(limits.file_bytes, hard_file),
    )


def _lower(asked: int | None, hard: int) -> int | None:
    if asked is None or hard == resource.RLIM_INFINITY:
        return asked
    return min(asked, hard)


def find_tools(path: str) -> dict[str, str]:
    """Those programs of the launcher that stand on the search path `path`, by name."""
    found = {name: shutil.which(name, path=path) for name in _LAUNCH_TOOLS}
    return {name: where for name, where in found.items() if where is not None}


def see_launcher() -> None:
    """Warn of a launcher that is not whole."""
    tools = find_tools(os.environ.get("PATH", os.defpath))
    if "setpriv" not in tools:
        log.warning("setpriv (of util-linux) is not there: an ffmpeg would outlive an archiverd that is killed")
    if "prlimit" not in tools:
        log.warning("prlimit (of util-linux) is not there: an ffmpeg may take any memory, and write any size")
    if not closes_sockets():
        log.warning(
            "sockets can't be closed to an ffmpeg here: the kernel has no seccomp, or its numbers are not known"
        )
    if not landlock_version():
        log.warning("the kernel has no Landlock: an ffmpeg sees every file that archiverd sees")


def find_program(name: str, path: str) -> str:
    """The absolute path of program `name` on the search path `path`.

    Raises: StartupError with advice where it is missing or not executable.
    """
    found = shutil.which(name, path=path)
    if found is not None:
        return str(Path(found).absolute())
    present = shutil.which(name, mode=os.F_OK, path=path)
    if present is not None:
        raise StartupError(f"{present} is not executable", advice=f"make it so: chmod +x {present}")
    package = _PACKAGES.get(name, PurePath(name).name)
    raise StartupError(f"{name} was not found (PATH is {path})", advice=f"install {name}: apt install {package}")


def run(
    argv: Sequence[str],
    *,
    stop: StopToken,
    limits: Limits,
    pass_fds: Sequence[int] = (),
    on_line: OnLine | None = None,
    max_stdout: int = MAX_STDOUT,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Finished:
    """Run a program to its end, or to the end of its limits, and say how it ended.

    `on_line` gets each line of stdout, without its newline, cut at MAX_LINE bytes. It returns True for a sign of
    progress, False to give the run up, None for neither. A run with `on_line` that hears no True for
    `limits.stall_s` is STALLED (a collector of lines passes `math.inf`); a run without it has only the wall clock,
    and its stdout is dropped.
    To end a program before its time its group gets SIGTERM, `limits.stop_s` seconds, then SIGKILL; meanwhile no line
    is delivered. A program that fails while a stop is asked for counts as STOPPED, whoever ended it.
    `env`: the whole environment, from `environment`; by default with our own PATH. `stdin`: all that it can read there.

    Thread: any, see the module. Blocks.
    Raises: StartupError where the program cannot be started at all; ResourceError where the machine is short of
    descriptors, memory or processes; StuckError where the program hangs in the kernel beyond SIGKILL; whatever
    `on_line` or `stop` raise, after the group has been killed.
    """
    environ = environment(os.environ.get("PATH", os.defpath)) if env is None else env
    path = environ.get("PATH", os.defpath)
    hard_memory, hard_file = (resource.getrlimit(which)[1] for which in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE))
    limits = within(limits, hard_memory, hard_file)
    program = find_program(argv[0], path)
    tools = find_tools(path)
    command = (*launcher(limits, tools), program, *argv[1:])
    is_confined = limits.confined and _can_be_confined(program)
    sight = Sight((program, *tools.values()), tuple(pass_fds), limits.devices) if is_confined else None
    output = _Output(on_line, max_stdout)
    try:
        return _once(_Child(argv, command, environ, pass_fds, stdin, sight), output, stop, limits)
    except StartupError as error:
        # By itself: what a program says that has read an upload may be the upload's words.
        look = replace(limits, wall_s=_LOOK_S, stall_s=math.inf)
        words = (*launcher(limits, tools), program, "-version")
        if sight is None or _begins(_Child(argv, words, environ, (), b"", replace(sight, handles=())), stop, look):
            raise
        finished = _once(_Child(argv, command, environ, pass_fds, stdin, None), output, stop, limits)
        _leave_unconfined(program, f"does not start confined ({error.message})")
        return finished


def _once(child: _Child, output: _Output, stop: StopToken, limits: Limits) -> Finished:
    """Raises: StartupError where the program never began; as `run`."""
    began = time.monotonic()
    with child:
        cut_short = _watch(child, output, stop, limits)
        if cut_short is None:
            cut_short = _read_rest(child, output)
        else:
            _stop(child, limits.stop_s)
    stderr = child.stderr.text()
    if cut_short is None and never_began(child.returncode, stderr):
        why = stderr.strip()[:_QUOTE]
        raise StartupError(f"{child.name} does not start: {why}", advice=f"install {child.name} anew")
    ending = cut_short or ending_of(child.returncode, stop_requested=stop.requested)
    return Finished(child.argv, ending, child.returncode, stderr, time.monotonic() - began, limits)


def _begins(child: _Child, stop: StopToken, limits: Limits) -> bool:
    with suppress(StartupError):
        _once(child, _Output(None, MAX_STDOUT), stop, limits)
        return True
    return False


def _can_be_confined(program: str) -> bool:
    """Not a script: nobody knows what else that needs."""
    if program in _unconfined:
        return False
    with suppress(OSError), open(program, "rb") as file:  # noqa: PTH123  (done for every run)
        if file.read(2) == b"#!":
            _leave_unconfined(program, "is a script")
            return False
    return True


def _leave_unconfined(program: str, why: str) -> None:
    _unconfined.add(program)
    log.warning("%s %s: it runs unconfined, and sees every file that archiverd sees", program, why)


def ending_of(returncode: int, *, stop_requested: bool) -> Ending:
    """How a program ended that nobody here ended.

    A service manager may signal every process of the service at once: a failure during a stop tells nothing about
    the file at work.
    """
    if returncode != 0 and stop_requested:
        return Ending.STOPPED
    return Ending.SIGNALLED if returncode < 0 else Ending.EXITED


def never_began(returncode: int, stderr: str) -> bool:
    """Whether these are the words of a launcher tool or the dynamic linker that could not start the program.

    Source: setpriv(1), prlimit(1), ionice(1), nice(1): 126 and 127; the message texts of util-linux and glibc.
    """
    if returncode not in (126, 127):
        return False
    words = ("failed to execute", "error while loading shared libraries")
    return stderr.startswith("nice: ") or any(said in stderr for said in words)


def _signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:  # the real-time signals have no names
        return f"signal {signum}"


class _Output:
    """The stdout of a run: counted, cut into lines, told to `on_line`."""

    def __init__(self, on_line: OnLine | None, max_stdout: int) -> None:
        self._on_line = on_line
        self._left = max_stdout  # bytes
        self._lines = LineCutter()
        self.reports = on_line is not None
        self.progress_at = time.monotonic()

    def feed(self, chunk: bytes) -> Ending | None:
        """Deliver the lines that `chunk` completes. Returns how the run is to end, if it is."""
        self._left -= len(chunk)
        if self._left < 0:
            return Ending.FLOODED
        return self._tell(self._lines.feed(chunk))

    def close(self) -> Ending | None:
        return self._tell(self._lines.close())

    def _tell(self, lines: Iterator[str]) -> Ending | None:
        if self._on_line is None:
            return None
        for line in lines:
            told = self._on_line(line)
            if told is False:
                return Ending.ABANDONED
            if told:
                self.progress_at = time.monotonic()
        return None


def _watch(child: _Child, output: _Output, stop: StopToken, limits: Limits) -> Ending | None:
    """Wait for the exit. Returns None then, else the reason to end the program before."""
    child.wake_on(stop.fileno())
    began = time.monotonic()
    while not child.exited():
        if stop.requested:
            return Ending.STOPPED
        stalled_at = output.progress_at + limits.stall_s if output.reports else math.inf
        ended = output.feed(child.turn(min(began + limits.wall_s, stalled_at)))
        if ended is not None:
            return ended
        # Asked only after the pipes were read: when we were suspended ourselves, the progress waits there.
        now = time.monotonic()
        if now >= began + limits.wall_s:
            return Ending.TIMED_OUT
        if output.reports and now >= output.progress_at + limits.stall_s:
            return Ending.STALLED
    return None


def _read_rest(child: _Child, output: _Output) -> Ending | None:
    """Deliver what the pipes still hold after the exit; a grandchild that keeps them open is not waited for."""
    until = time.monotonic() + _DRAIN_S
    while child.pipes_open and time.monotonic() < until:
        ended = output.feed(child.turn(until))
        if ended is not None:
            return ended
    return output.close()


def _stop(child: _Child, stop_s: float) -> None:
    """Ask the group to end and wait for it. The pipes are read on, lest the program hang on a full one."""
    child.signal(signal.SIGTERM)
    until = time.monotonic() + stop_s
    while not child.exited() and time.monotonic() < until:
        child.turn(until)
    if child.exited():
        _read_rest(child, _Output(None, MAX_STDOUT))


class _Child:
    """A process, its group and its pipes: started by `with`, gone at its end.

    The process is not reaped before the group has been killed: until then its number cannot be given to others.
    """

    returncode: int  # once the `with` is over

    def __init__(
        self, argv: Sequence[str], command: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int],
        stdin: bytes, sight: Sight | None,
    ) -> None:  # fmt: skip
        self.argv = tuple(argv)  # as asked for
        self.name = PurePath(argv[0]).name
        self._command = command
        self._env = env
        self._pass_fds = pass_fds
        self._stdin = stdin
        self._sight = sight
        # A thread that is confined, starts the program, and lives as long: see the module on the death of archiverd.
        self._starter = ThreadPoolExecutor(1, "starter")
        self._selector = selectors.PollSelector()  # poll: takes no descriptor of its own
        self._pidfd: int | None = None
        self.pipes_open = 0
        self.stderr = BothEnds()

    def __enter__(self) -> Self:
        try:
            self._process = self._spawn()
        except BaseException:
            self._starter.shutdown()
            raise
        try:
            for pipe in (self._process.stdout, self._process.stderr):
                self._attach(pipe)
            self._pidfd = _open_pidfd(self._process.pid)
            if self._pidfd is not None:
                self.wake_on(self._pidfd)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._end():
            return
        message = f"{self.name} (process {self._process.pid}) does not end on SIGKILL"
        if error is not None:
            log.error("%s", message)
            return
        raise StuckError(message, advice="a disk or a GPU does not answer; see the kernel log")

    def exited(self) -> bool:
        """Whether the process is over. It stays unreaped."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def signal(self, signum: int) -> None:
        """Send a signal to the whole group."""
        try:
            os.killpg(self._process.pid, signum)
        except ProcessLookupError:
            log.debug("the process group %d is gone already", self._process.pid)

    def wake_on(self, fd: int) -> None:
        """Let `turn` return when `fd` becomes readable; told once, never read."""
        self._selector.register(fd, selectors.EVENT_READ)

    def turn(self, until: float) -> bytes:
        """Sleep until something happens, at most until `until` (monotonic), and read what came.

        Returns the part of stdout, at most one chunk; stderr is kept here. No turn is long: a missed wake-up
        costs a second.
        """
        longest = _POLL_S if self._pidfd is None else _TURN_S
        stdout = b""
        for key, _ in self._selector.select(max(0.0, min(longest, until - time.monotonic()))):
            if key.fileobj is self._process.stdout:
                stdout = self._read(key)
            elif key.fileobj is self._process.stderr:
                self.stderr.feed(self._read(key))
            else:  # readable from now on: told once
                self._selector.unregister(key.fd)
        return stdout

    def _read(self, key: selectors.SelectorKey) -> bytes:
        try:
            chunk = os.read(key.fd, _CHUNK)
        except BlockingIOError:
            return b""
        if not chunk:
            self._selector.unregister(key.fd)
            self.pipes_open -= 1
        return chunk

    def _attach(self, pipe: IO[bytes] | None) -> None:
        if pipe is None:
            return
        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, selectors.EVENT_READ)
        self.pipes_open += 1

    def _spawn(self) -> subprocess.Popen[bytes]:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # The kernel then drops exit statuses, and subprocess makes a 0 of that.
            advice = "start archiverd from a program that leaves SIGCHLD alone"
            raise StartupError("SIGCHLD is ignored, so no exit status can be had", advice=advice)
        try:
            with _readable(self._stdin) as stdin:
                return self._popen(stdin)
        except OSError as error:
            raise _spawn_error(self.name, error) from error
        except RuntimeError as error:  # no thread can be started
            raise _short(self.name, str(error)) from error

    def _popen(self, stdin: int) -> subprocess.Popen[bytes]:
        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                self._command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env=self._env,
                pass_fds=self._pass_fds,
                start_new_session=True,
            )

        if self._sight is None:
            return start()
        self._starter.submit(confine, self._sight).result()
        return self._starter.submit(start).result()

    def _end(self) -> bool:
        """Kill what is left of the group, reap the process, close everything. False where it does not die."""
        self.signal(signal.SIGKILL)
        try:
            self.returncode = self._process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self._close()
        self._starter.shutdown()
        return True

    def _close(self) -> None:
        self._selector.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        if self._pidfd is not None:
            os.close(self._pidfd)


@contextmanager
def _readable(content: bytes) -> Iterator[int]:
    """A descriptor to read all of it from, and then the end; what is nothing needs no file."""
    if not content:
        yield subprocess.DEVNULL
        return
    handle = os.memfd_create("stdin", os.MFD_CLOEXEC)  # a pipe may hold less, and nobody would be there to fill it
    try:
        written = 0
        while written < len(content):
            written += os.pwrite(handle, content[written:], written)
        yield handle
    finally:
        os.close(handle)


def _open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError) as error:
        log.debug("no pidfd (%s): the exit is looked for every %g s", error, _POLL_S)
        return None


def _spawn_error(name: str, error: OSError) -> StartupError | ResourceError:
    if error.errno in _SHORT_OF:
        return _short(name, error.strerror or str(error))
    return StartupError(f"{name} cannot be started: {error}", advice=f"install {name} anew")


def _short(name: str, why: str) -> ResourceError:
    advice = "raise the limits on open files, memory or processes, or end what uses them up"
    return ResourceError(f"{name} cannot be started: {why}", advice=advice)
