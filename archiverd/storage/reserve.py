"""A reserve of room on the disk of the catalog, given up when nothing can be written there any more.

Whatever makes room on a full disk has to note it in the catalog, which takes room first.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from archiverd.errors import ResourceError
from archiverd.policy.naming import printable
from archiverd.storage.file_manager import remove_file

log = logging.getLogger(__name__)

_NAME = "reserve"
_SIZE = 8 * 1024 * 1024  # bytes: what a commit of many rows takes, with its journal
_PART = 100  # of a small file system that is enough
_SPARE = 4  # times its size are to be free before it is taken


class Reserve:
    """A file in the state directory that holds nothing but room."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / _NAME

    def keep(self) -> None:
        """Take the room, where it is not taken and is not missed. What can't be is tried again another time."""
        with suppress(OSError):
            room = os.statvfs(self._path.parent)
            size = min(_SIZE, room.f_blocks * room.f_frsize // _PART)
            if self._held() < size and room.f_bavail * room.f_frsize >= size * _SPARE:
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
                try:
                    os.posix_fallocate(handle, 0, size)
                finally:
                    os.close(handle)

    def give_up(self) -> bool:
        """Give the room back to the disk; whether there was any."""
        held = self._held()
        if not held:
            return False
        try:
            remove_file(self._path)  # its inode may be what is missing
        except (OSError, ResourceError) as error:
            log.debug("%s: can't be given up: %s", printable(self._path), error)
            return False
        log.warning("%s: %d bytes are given up, for the disk is full", printable(self._path), held)
        return True

    def _held(self) -> int:
        try:
            return self._path.lstat().st_size
        except OSError:
            return 0
