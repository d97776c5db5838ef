"""What a line of the log is about: fields by which the journal finds it again (`journalctl CAMERA=front`).

A line brings its fields along (`extra=`), or has those of the recording its thread is at work on (`about`). The names
of fields are those of attributes of a LogRecord in small letters, and of the journal's fields in capitals.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

from archiverd.policy.model import Recording
from archiverd.policy.naming import printable

NAMES = ("recording", "camera", "job", "rung", "state", "reason")

# A variable of each thread, and the one thing here that outlives a call: that ffmpeg hangs is told by a module that
# knows nothing of recordings, and should not have to.
_ABOUT: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)


@contextlib.contextmanager
def about(recording: Recording, job: str) -> Iterator[None]:
    """All that this thread logs meanwhile is about this recording, and this job."""
    token = _ABOUT.set({"recording": printable(recording.path), "camera": recording.name.camera, "job": job})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """The fields of a line, by their names in small letters; to be asked in the thread that logs it."""
    around = _ABOUT.get() or {}
    found = {name: getattr(record, name, around.get(name, "")) for name in NAMES}
    return {name: str(value) for name, value in found.items() if value}
