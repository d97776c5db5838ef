"""Every setting with its type and its default, and where the values of a configuration came from."""

from __future__ import annotations

import grp
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ByteSize, Field

from archiverd.config.rules import Rules
from archiverd.config.values import (
    DAY,
    HOUR,
    MINUTE,
    AbsolutePath,
    Command,
    DirMode,
    FileMode,
    Flag,
    Group,
    Height,
    Integer,
    Memory,
    Names,
    OrNone,
    PositiveSeconds,
    Seconds,
    Size,
    between,
)
from archiverd.policy.model import Tree
from archiverd.policy.name_patterns import NamePatterns, compile_names
from archiverd.policy.retention import Rule
from archiverd.policy.watching import Observer


class Hardware(StrEnum):
    """What may encode."""

    AUTO = "auto"
    QSV = "qsv"
    VAAPI = "vaapi"
    SOFTWARE = "software"


class Codec(StrEnum):
    """What archives are encoded as."""

    HEVC = "hevc"
    H264 = "h264"


class Order(StrEnum):
    """Which waiting recording comes first."""

    OLDEST = "oldest"
    NEWEST = "newest"


class Snapshots(StrEnum):
    """What becomes of a snapshot when its recording is archived."""

    DISPOSE = "dispose"  # it goes with its clip
    ARCHIVE = "archive"  # it is put beside its clip's archive


class WhenFull(StrEnum):
    """What gives way for new archives on a disk with less room than `min_free`."""

    STOP = "stop"  # no archive: the work stops when nothing fits
    OLDEST = "oldest"  # the oldest archives, but for those a rule keeps


class LogLevel(StrEnum):
    """The least serious message that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Preset(StrEnum):
    """How much time an encoder spends: the names x264 and x265 share."""

    ULTRAFAST = "ultrafast"
    SUPERFAST = "superfast"
    VERYFAST = "veryfast"
    FASTER = "faster"
    FAST = "fast"
    MEDIUM = "medium"
    SLOW = "slow"
    SLOWER = "slower"
    VERYSLOW = "veryslow"
    PLACEBO = "placebo"


def _inside(name: str) -> Any:  # Any: pydantic's Field stands in for the value of the field
    """The default of a path: `name` in `directory`, resolved as any other path."""

    def path(fields: Mapping[str, Any]) -> Path:  # Any: pydantic hands over the fields validated so far
        directory: Path = fields["directory"]
        return directory / name

    return Field(default_factory=path, validate_default=True)


class Config(BaseModel, frozen=True, extra="forbid"):
    """Every setting, valid by itself; `load` also checks how they stand to each other.

    Durations are seconds, sizes bytes, paths absolute with their symlinks resolved. From Python, durations and
    sizes may be given as numbers. Raises pydantic's ValidationError; `load` puts that into the user's words.
    """

    directory: Annotated[AbsolutePath, Field(validate_default=True)] = Path("/camera")  # the source tree
    output: AbsolutePath = _inside("archived")  # the archive tree
    trash_root: AbsolutePath = _inside(".deleted")
    state_dir: AbsolutePath = _inside(".archiverd")  # holds the catalog
    log_file: AbsolutePath = _inside("archiver.log")
    log_level: LogLevel = LogLevel.INFO

    names: Names = ("reolink",)  # see `patterns`

    delete: Flag = False  # unlink sources instead of moving them to the trash
    snapshots: Snapshots = Snapshots.DISPOSE
    age: PositiveSeconds = 30.0 * DAY  # what is older goes; see `rules`
    max_size: Annotated[Size | None, OrNone] = None  # bytes a tree may hold
    clean_output: Flag = False  # `age` and `max_size` are for the archive tree too
    when_full: WhenFull = WhenFull.STOP
    max_removal: Annotated[Integer, between(1, 100)] = 20  # per cent of a tree that go unasked after a change
    history: PositiveSeconds = 400.0 * DAY  # what is longer gone is forgotten
    retention: Rules = ()  # the owner's own; see `rules`

    hardware: Hardware = Hardware.AUTO
    device: Annotated[AbsolutePath | None, OrNone] = None  # the one render node that may be used
    device_rest: PositiveSeconds = 10.0 * MINUTE  # of a rung that failed too often, before it is probed again
    codec: Codec = Codec.HEVC
    quality: Annotated[Annotated[Integer, between(0, 51)] | None, OrNone] = None  # see `crf`
    preset: Preset = Preset.FAST
    max_height: Annotated[Height | None, OrNone] = None

    observer: Observer = Observer.AUTO  # how the daemon notices new files
    order: Order = Order.OLDEST
    snapshot_window: Seconds = 1.0 * MINUTE  # a snapshot belongs to its camera's nearest recording within this
    settle: Seconds = 1.0 * MINUTE  # how long a file found by a scan must have been quiet
    settle_closed: Seconds = 2.0  # how long a file must have been quiet after a close event
    quarantine_after: PositiveSeconds = 10.0 * MINUTE  # an incomplete file unchanged for so long will not become whole
    attempts: Annotated[Integer, between(1, 100)] = 3  # tries of one recording before it is quarantined

    stall_timeout: PositiveSeconds = 2.0 * MINUTE  # one ffmpeg without progress
    job_timeout: PositiveSeconds = 6.0 * HOUR  # one ffmpeg, by the wall clock
    stop_timeout: PositiveSeconds = 10.0  # from SIGTERM to SIGKILL
    max_memory: Memory = ByteSize(8 * 2**30)  # bytes, of a software ffmpeg
    nice: Annotated[Integer, between(0, 19)] = 10
    idle_io: Flag = True
    confine: Flag = True  # ffmpeg sees the files it is given, what its libraries need, and no network

    file_mode: FileMode = 0o640
    dir_mode: DirMode = 0o750
    group: Annotated[Group | None, OrNone] = None  # of archives

    min_free: Annotated[Size | None, OrNone] = ByteSize(2 * 10**9)  # bytes; less room than this is a problem
    on_problem: Command = ()  # told of each; see `doubts`

    # The modes of one call (MODES): command line only.
    dry_run: Flag = False
    cleanup: Flag = False
    no_confirm: Flag = False
    no_skip: Flag = False

    @property
    def crf(self) -> int:
        """The constant rate factor in software, and what a device is told: `quality`, or what suits the codec."""
        if self.quality is not None:
            return self.quality
        return 25 if self.codec is Codec.HEVC else 23

    @property
    def patterns(self) -> NamePatterns:
        """How the cameras name what they upload: `names`, compiled."""
        return compile_names(self.names)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What goes when, in the order in which it counts: the owner's rules, then what holds for all cameras."""
        return self.retention + self.general_rules

    @property
    def general_rules(self) -> tuple[Rule, ...]:
        """What `age` and `max_size` say, tree by tree."""
        trees = (Tree.SOURCE, Tree.TRASH, Tree.ARCHIVE) if self.clean_output else (Tree.SOURCE, Tree.TRASH)
        max_bytes = None if self.max_size is None else int(self.max_size)
        return tuple(Rule(tree, age_s=self.age, max_bytes=max_bytes) for tree in trees)

    @property
    def gid(self) -> int | None:
        """The number of `group`; None without one. Raises KeyError when the group has gone since `load`."""
        return None if self.group is None else grp.getgrnam(self.group).gr_gid


MODES = ("dry_run", "cleanup", "no_confirm", "no_skip")
"""Keys that belong to one call: options of the command line, never keys of the file."""

FILE_KEYS = tuple(key for key in Config.model_fields if key not in MODES)
"""Keys the file may hold, in the order they are shown."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that holds, where each of its values came from, and the file that was read."""

    config: Config
    sources: Mapping[str, str]  # key -> DEFAULT, the path of the file, or COMMAND_LINE
    file: Path | None
