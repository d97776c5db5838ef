"""The error tree. Each class carries its exit code and, where there is one, the advice that mends it.

An error says what is wrong, where (file, key or path) and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ArchiverError(Exception):
    """The base of every error archiverd raises on purpose.

    `message` says what is wrong and where; `advice` says what the reader can do about it.
    """

    exit_code: int = 1  # of the class; an error that another process told has that process's

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message}. {self.advice}" if self.advice else self.message


class InternalError(ArchiverError):
    """A bug of ours: the process ends, and its service manager starts it anew."""

    exit_code = 70


class UsageError(ArchiverError):
    """The command line cannot be carried out as it stands."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: where it stands, at which key, and what is wrong with it."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.message}" if self.key else f"{self.where}: {self.message}"


class ConfigError(ArchiverError):
    """The configuration is wrong. All its problems at once, by file and key."""

    exit_code = 78

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class StartupError(ArchiverError):
    """The work cannot begin: no ffmpeg, a root that is missing or not ours."""

    exit_code = 69


class LockedError(StartupError):
    """Another archiverd, or another catalog, owns one of the roots."""

    exit_code = 75


class ResourceError(ArchiverError):
    """The environment fails (disk full, read-only, mount gone): work pauses and nothing is counted against a file."""

    exit_code = 69


class NoSpaceError(ResourceError):
    """One archive would not fit: what is smaller may."""


class StuckError(ResourceError):
    """A program hangs in the kernel and does not end on SIGKILL: a disk or a device does not answer."""


class DeviceError(ResourceError):
    """No device makes this clip now: it waits, and the others go on."""


class JobError(ArchiverError):
    """One recording cannot be carried on with, for a reason of its own."""


class SourceChanged(JobError):  # noqa: N818  (an event, not an error of ours: the design's word)
    """The source is no longer the file the job began with: wait, and begin again."""


class SourceInvalid(JobError):  # noqa: N818  (the design's word)
    """The source is not, and will not become, a clip that can be archived: quarantine."""


class TranscodeFailed(JobError):  # noqa: N818  (the design's word)
    """ffmpeg failed, stalled or took too long on this source: the next rung, or another try later.

    `said` is what it told on stderr; `hung`: it had to be ended for want of progress or time; `killed`: so, or
    somebody else ended it: it says nothing of the file it read.
    """

    def __init__(
        self, message: str, *, advice: str = "", said: str = "", hung: bool = False, killed: bool = False
    ) -> None:
        super().__init__(message, advice=advice)
        self.said = said
        self.hung = hung
        self.killed = killed


class VerificationFailed(JobError):  # noqa: N818  (the design's word)
    """The output is not proven to be this source: the next rung, then quarantine."""


class Interrupted(BaseException):
    """A stop was asked for. Stands outside the error tree, for it is no failure."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum
        self.exit_code = 128 + signum
