"""PidFile: the number of the daemon's process, for the init system of a box without systemd."""

from __future__ import annotations

import os
from pathlib import Path

from archiverd.storage.file_manager import remove_file, write_over

FILE_NAME = "archiverd.pid"
_LONGEST = 32  # bytes


class PidFile:
    """Written under the locks, which are what keeps a second daemon out: a stale one keeps nobody out."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self) -> None:
        """Put our number there, whoever's stood there before. Raises: OSError, ResourceError."""
        write_over(self.path, f"{os.getpid()}\n".encode("ascii"), 0o644)

    def remove(self) -> None:
        """Take it away where it is ours. Raises: OSError, ResourceError."""
        if self._read() == str(os.getpid()).encode("ascii"):
            remove_file(self.path)

    def _read(self) -> bytes:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return b""
        try:
            return os.read(handle, _LONGEST).strip()
        finally:
            os.close(handle)
