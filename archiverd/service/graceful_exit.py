"""GracefulExit: signals as data. The only owner of signal.signal.

A signal handler runs between any two instructions of the main thread, also while that thread holds a lock. So the
handler takes none: it appends one number to a list and adds one to an eventfd. (Event.set would take the lock that
Event.wait holds in the very thread the handler interrupts.)

A signal is a request to stop, or a note: something else that somebody asks for (a reload), which its owner reads when
it comes to it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType

from archiverd.errors import Interrupted

STDERR = 2
ONE_REQUEST_S = 0.1  # timeout(1), terminals and shells deliver one wish to stop as two signals, microseconds apart
_LONGEST_WAIT_MS = 2**31 - 1  # poll(2) takes an int
_SECOND = b"archiverd: second signal: ending at once\n"


class GracefulExit:
    """A StopToken fed by signals, from `with` to its end.

    The first signal is a request: recorded, and everybody who waits wakes. A second one, later than
    `ONE_REQUEST_S`, ends the process at once with 128 + its number; children go by their parent-death signal.
    SIGIO is ignored meanwhile: the kernel sends it when somebody opens a file that is leased here, and its default
    action is to kill. A SIGHUP among `signals` that is ignored from outside (nohup) stays ignored.

    The signals among `notes` are no stop: each is kept until `take_notes`. They are heard also where they were ignored
    from outside: nohup and cron mean that a hangup should end nobody, and a note never does.

    `with` must be entered and left in the main thread (ValueError otherwise), and left only when no other thread
    waits on it or wakes it any more. Everything else is for any thread, but `wait_for_news` for one at a time.
    """

    def __init__(
        self,
        signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
        *,
        notes: Sequence[signal.Signals] = (),
    ) -> None:
        self._signals = tuple(signals)
        self._note_signals = tuple(notes)
        self._requests: list[int] = []  # the first is the one that counts; append is atomic
        self._notes: deque[int] = deque()  # append and popleft are atomic
        self._signalled_at: float | None = None  # monotonic; written by the handler only
        self._descriptor = -1
        self._news = -1  # readable while there is something `wait_for_news` has not told yet
        self._release = contextlib.ExitStack()

    def __enter__(self) -> GracefulExit:
        with contextlib.ExitStack() as stack:
            self._descriptor = os.eventfd(len(self._requests), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            stack.callback(self._close)
            self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            stack.callback(_install(signal.SIGIO, signal.SIG_IGN))
            for signum in self._signals:
                if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:
                    continue
                stack.callback(_install(signum, self._handle))
            for signum in self._note_signals:
                stack.callback(_install(signum, self._note))
            self._release = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release.close()

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for. Once true it stays true."""
        return bool(self._requests)

    @property
    def signum(self) -> int | None:
        """The number of the first request, None before it."""
        return self._requests[0] if self._requests else None

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds, wake at once when a stop is asked for, and return `requested`.

        A stop asked for before is seen without waiting. Raises: ValueError outside of `with`.
        """
        if self.requested:
            return True
        _poll(self.fileno(), timeout_s)
        return self.requested

    def wait_for_news(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds, and wake at once on a stop, a note or a `wake`.

        What came before is seen without waiting: a stop for good, notes until they are taken, a wake once.
        Raises: ValueError outside of `with`.
        """
        self.fileno()
        if not self.requested and not self._notes:
            _poll(self._news, timeout_s)
        # Emptied before the caller looks at what is new: what comes from here on wakes the next wait.
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._news)

    def wake(self) -> None:
        """Have `wait_for_news` return: there is something to look at that no signal told."""
        if self._news >= 0:
            os.eventfd_write(self._news, 1)

    def take_notes(self) -> list[int]:
        """The numbers of the notes since the last call, in the order they came.

        The kernel, and Python, keep of each signal that was not handled yet only that it came: two that follow each
        other closely may be one.
        """
        taken: list[int] = []
        with contextlib.suppress(IndexError):  # popped until it is empty: a note that comes meanwhile is not lost
            while True:
                taken.append(self._notes.popleft())
        return taken

    def check(self) -> None:
        """Raise errors.Interrupted once a stop was asked for."""
        signum = self.signum
        if signum is not None:
            raise Interrupted(signum)

    def request(self, signum: int = signal.SIGTERM) -> None:
        """Ask for a stop as if by this signal. Does not count as a signal: the first real one is not a second."""
        self._requests.append(signum)
        self._wake()

    def fileno(self) -> int:
        """A descriptor that is readable once a stop was asked for: to poll beside others, never to read or close.

        Raises: ValueError outside of `with`.
        """
        if self._descriptor < 0:
            raise ValueError("GracefulExit is not entered")
        return self._descriptor

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = now
            self._requests.append(signum)
            self._wake()
            return
        if now - self._signalled_at > ONE_REQUEST_S:
            _end_at_once(signum)

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self._notes.append(signum)
        self.wake()

    def _wake(self) -> None:
        if self._descriptor >= 0:
            os.eventfd_write(self._descriptor, 1)
        self.wake()

    def _close(self) -> None:
        descriptors = (self._descriptor, self._news)
        self._descriptor = self._news = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


def _poll(descriptor: int, timeout_s: float) -> None:
    """Wait until the descriptor is readable, at most so long."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(min(max(timeout_s, 0.0) * 1000, _LONGEST_WAIT_MS))


def _install(
    signum: signal.Signals, action: Callable[[int, FrameType | None], None] | signal.Handlers
) -> Callable[[], object]:
    """Set the action of a signal; returns what puts the old one back."""
    before = signal.signal(signum, action)
    # None stands for a handler that something other than Python set: it cannot be named, so it cannot come back.
    return functools.partial(signal.signal, signum, signal.SIG_DFL if before is None else before)


def _end_at_once(signum: int) -> None:
    # A reader of stderr that is gone or asleep must not hold the end up: say it only where there is room.
    with contextlib.suppress(OSError):
        if select.select([], [STDERR], [], 0)[1]:
            os.write(STDERR, _SECOND)
    os._exit(128 + signum)
