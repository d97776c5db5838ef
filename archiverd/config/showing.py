"""Showing a configuration: each value as the file would hold it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

from pydantic import ByteSize

from archiverd.config.settings import FILE_KEYS, Config, Loaded, WhenFull
from archiverd.config.values import DAY, HOUR, MINUTE, NONE, SECOND, encodable
from archiverd.policy.model import Tree
from archiverd.policy.naming import printable
from archiverd.policy.retention import Rule
from archiverd.policy.words import size_words

Written: TypeAlias = "bool | int | str | list[Written] | dict[str, Written] | None"

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
    return [(key, _literal(written(loaded.config, key)), loaded.sources[key]) for key in FILE_KEYS]


def as_json(loaded: Loaded) -> dict[str, object]:
    """The same for programs: `file`, and `settings` by key with `value` (null where unset) and `source`.

    And `rules`: what comes of those about retention, in the order in which it counts.
    """
    settings = {key: {"value": written(loaded.config, key), "source": loaded.sources[key]} for key in FILE_KEYS}
    return {
        "file": None if loaded.file is None else str(loaded.file),
        "settings": settings,
        "rules": rules_json(loaded.config),
    }


def rules_json(config: Config) -> list[Written]:
    """What goes when, in the order in which it counts; what a rule does not say is not there."""
    return [_rule_table(rule) for rule in config.rules]


def rule_lines(config: Config) -> list[str]:
    """The same in words, by tree."""
    by_tree = [[rule for rule in config.rules if rule.tree is tree] for tree in Tree]
    lines = [_rule_line(rule, delete=config.delete) for rules in by_tree for rule in rules]
    if config.when_full is WhenFull.OLDEST:
        lines.append(f"{Tree.ARCHIVE}: all cameras: the oldest go for good where the disk is full")
    elif not any(rule.tree is Tree.ARCHIVE and (rule.age_s or rule.max_bytes) for rule in config.rules):
        lines.append(f"{Tree.ARCHIVE}: all cameras: nothing goes")
    if any(_several(rule.age_s for rule in rules) or _several(rule.keep_s for rule in rules) for rules in by_tree):
        lines.append("where several fit a camera, the first that says an age decides it, and so with keep")
    return lines


def _several(said: Iterable[float | None]) -> bool:
    return sum(one is not None for one in said) > 1


_OLDER = {
    Tree.SOURCE: "what has been quarantined for longer than",
    Tree.ARCHIVE: "what is older than",
    Tree.TRASH: "what has lain there for longer than",
}
_OLDEST = {Tree.SOURCE: "the oldest that are quarantined", Tree.ARCHIVE: "the oldest", Tree.TRASH: "the oldest"}


def _rule_line(rule: Rule, *, delete: bool) -> str:
    cameras = "all cameras" if rule.cameras == ("*",) else ", ".join(map(printable, rule.cameras))
    for_good = rule.tree is Tree.TRASH or (rule.tree is Tree.ARCHIVE and delete)
    way = "for good" if for_good else "to the trash"
    size = "" if rule.max_bytes is None else size_words(rule.max_bytes)
    said = [
        "" if rule.age_s is None else f"{_OLDER[rule.tree]} {_duration_text(rule.age_s)} goes {way}",
        size and f"above {size} {_OLDEST[rule.tree]} go {way}",
        "" if rule.keep_s is None else f"what is younger than {_duration_text(rule.keep_s)} stays",
    ]
    return f"{rule.tree}: {cameras}: {'; '.join(filter(None, said))}"


def file_line(key: str, value: Written) -> str:
    """A line of the file that gives a key this value."""
    return f"{key} = {_literal(value)}"


def written(config: Config, key: str) -> Written:
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
            return [_rule_table(element) if isinstance(element, Rule) else str(element) for element in value]
        case _:
            return str(value)


def _rule_table(rule: Rule) -> dict[str, Written]:
    table: dict[str, Written] = {"tree": str(rule.tree), "cameras": list(rule.cameras)}
    if rule.age_s is not None:
        table["age"] = _duration_text(rule.age_s)
    if rule.max_bytes is not None:
        table["max_size"] = _size_text(rule.max_bytes)
    if rule.keep_s is not None:
        table["keep"] = _duration_text(rule.keep_s)
    return table


def _literal(value: Written) -> str:
    match value:
        case dict():
            return f"{{{', '.join(f'{key} = {_literal(setting)}' for key, setting in value.items())}}}"
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
