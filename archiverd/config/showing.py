"""Showing a configuration: each value as the file would hold it."""

from __future__ import annotations

import json

from pydantic import ByteSize

from archiverd.config.settings import FILE_KEYS, Config, Loaded
from archiverd.config.values import DAY, HOUR, MINUTE, NONE, SECOND, encodable

_DURATION_UNITS = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second"))
_SIZE_UNITS = (
    (2**50, "PiB"),
    (10**15, "PB"),
    (2**40, "TiB"),
    (10**12, "TB"),
    (2**30, "GiB"),
    (10**9, "GB"),
    (2**20, "MiB"),
    (10**6, "MB"),
    (2**10, "KiB"),
    (10**3, "KB"),
)


def show(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(key, value, source) of every key of the file; the value as the file would hold it.

    The lines `key = value` load as the same configuration, unless a path is not UTF-8, which TOML cannot hold.
    """
    return [(key, _literal(_written(loaded.config, key)), loaded.sources[key]) for key in FILE_KEYS]


def as_json(loaded: Loaded) -> dict[str, object]:
    """The same for programs: `file`, and `settings` by key with `value` (null where unset) and `source`."""
    settings = {key: {"value": _written(loaded.config, key), "source": loaded.sources[key]} for key in FILE_KEYS}
    return {"file": None if loaded.file is None else str(loaded.file), "settings": settings}


def file_line(key: str, value: bool | int | str) -> str:
    """A line of the file that gives a key this value."""
    return f"{key} = {_literal(value)}"


def _written(config: Config, key: str) -> bool | int | str | list[str] | None:
    """The value of a key as the file would hold it; None where it is unset."""
    value: object = getattr(config, key)
    match value:
        case None | bool():
            return value
        case float():
            return _duration_text(value)
        case ByteSize():
            return _size_text(value)
        case int() if key in ("file_mode", "dir_mode"):
            return f"{value:04o}"
        case int():
            return value
        case tuple():
            return [str(element) for element in value]
        case _:
            return str(value)


def _literal(value: bool | int | str | list[str] | None) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            # A JSON string is a TOML one, but for DEL. What is not UTF-8 is escaped, so that it can be printed.
            return encodable(json.dumps(value or NONE, ensure_ascii=False).replace("\x7f", "\\u007f"))


def _duration_text(seconds: float) -> str:
    """The duration in the largest unit that takes a whole number of it, else in seconds to the millisecond."""
    for unit_s, name in _DURATION_UNITS:
        count, rest = divmod(seconds, unit_s)
        if not rest and count:
            return f"{count:.0f} {name}{'' if count == 1 else 's'}"
    return f"{seconds:.3f} seconds" if seconds else "0 seconds"


def _size_text(size: int) -> str:
    """The size in the largest unit that takes a whole number of it."""
    for unit, name in _SIZE_UNITS:
        if size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"
