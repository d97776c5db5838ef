"""The configuration: what may be set, where each value came from, and everything wrong with it at once.

A value comes from the command line, else from one TOML file, else from its default. In the file and on the
command line durations and sizes carry their unit; inside they are seconds (float) and bytes (int).
"""

from __future__ import annotations

from archiverd.config.loading import DEFAULT_FILE, load
from archiverd.config.settings import (
    FILE_KEYS,
    MODES,
    Codec,
    Config,
    Hardware,
    Loaded,
    LogLevel,
    Order,
    Preset,
    Snapshots,
    WhenFull,
)
from archiverd.config.showing import as_json, file_line, rule_lines, rules_json, show, written
from archiverd.config.standing import doubts
from archiverd.config.values import COMMAND_LINE, DEFAULT

__all__ = [
    "COMMAND_LINE",
    "DEFAULT",
    "DEFAULT_FILE",
    "FILE_KEYS",
    "MODES",
    "Codec",
    "Config",
    "Hardware",
    "Loaded",
    "LogLevel",
    "Order",
    "Preset",
    "Snapshots",
    "WhenFull",
    "as_json",
    "doubts",
    "file_line",
    "load",
    "rule_lines",
    "rules_json",
    "show",
    "written",
]
