"""Loading: the file, the command line over it, and everything wrong at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from archiverd.config.rules import KEY, RULE_KEYS, Wrong, WrongRulesError
from archiverd.config.settings import FILE_KEYS, MODES, Config, Loaded
from archiverd.config.standing import Finding, findings
from archiverd.config.values import COMMAND_LINE, DEFAULT, in_words
from archiverd.errors import ConfigError, Problem
from archiverd.policy.naming import printable

DEFAULT_FILE = Path("/etc/archiverd/archiverd.toml")


def load(file: Path | None, overrides: Mapping[str, object], *, default_file: Path = DEFAULT_FILE) -> Loaded:
    """Read the file, lay `overrides` (the command line) over it, and check everything.

    `file` None means `default_file` where it exists, else no file at all. An override of None was not given.
    A value of the file that is overridden is not looked at.

    Raises: ConfigError with all problems at once.
    """
    path, table = _read_file(file, default_file)
    given = {key: value for key, value in overrides.items() if value is not None}
    origin = str(path)
    problems = [Problem(origin, key, _misplaced(key, value)) for key, value in table.items() if key not in FILE_KEYS]
    unknown = [key for key in given if key not in Config.model_fields]
    problems += [Problem(COMMAND_LINE, key, "there is no such option") for key in unknown]

    settings = {key: value for key, value in table.items() if key in FILE_KEYS}
    options = {key: value for key, value in given.items() if key not in unknown}
    sources = dict.fromkeys(Config.model_fields, DEFAULT)
    sources |= dict.fromkeys(settings, origin) | dict.fromkeys(options, COMMAND_LINE)

    config, wrong = _validate(settings | options, sources)
    problems += [Problem(sources[key], place, message) for key in wrong for place, message in wrong[key] if message]
    if config is not None:
        checked = Config.model_fields.keys() - wrong.keys()
        problems += [_blame(finding, sources) for finding in findings(config, checked)]
    if problems or config is None:
        raise ConfigError(problems)
    return Loaded(config, MappingProxyType(sources), path)


def _read_file(file: Path | None, default_file: Path) -> tuple[Path | None, dict[str, object]]:
    """The file that is read, and its table; None and an empty one where there is none to read."""
    path = default_file if file is None else file
    try:
        path = path.absolute()
        return path, tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        if file is None:
            return None, {}
        raise _unusable(path, "there is no such file") from error
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _unusable(path, f"not UTF-8 (at line {line})") from error
    except (ValueError, RecursionError) as error:  # also more digits, or deeper nesting, than Python takes
        raise _unusable(path, f"not valid TOML: {error}") from error


def _unusable(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(str(path), "", message)])


def _misplaced(key: str, value: object) -> str:
    """What to say of a key of the file that is none of FILE_KEYS."""
    name = key.replace("-", "_").lower()
    if name in MODES:
        return f"is a mode of one call, not a setting; give --{name.replace('_', '-')} on the command line"
    near = difflib.get_close_matches(name, FILE_KEYS, n=1)
    if near:
        return f"there is no such key; did you mean {near[0]}?"
    if isinstance(value, dict):
        return "there is no such table; keys stand at the top of the file, outside any table"
    if name in RULE_KEYS:
        return f"there is no such key but in a rule; write it below [[{KEY}]]"
    return "there is no such key"


def _validate(
    values: Mapping[str, object], sources: Mapping[str, str]
) -> tuple[Config | None, dict[str, tuple[Wrong, ...]]]:
    """The configuration, with defaults in place of what is wrong, and what is wrong by key.

    A key whose default hangs on a wrong one stands there with an empty message. None where not even the
    defaults hold.
    """
    try:
        return Config.model_validate(values, context=sources), {}
    except ValidationError as error:
        wrong = {str(detail["loc"][0]): _wrong(detail) for detail in error.errors(include_url=False)}
    try:
        rest = {key: value for key, value in values.items() if key not in wrong}
        return Config.model_validate(rest, context={**sources, **dict.fromkeys(wrong, DEFAULT)}), wrong
    except ValidationError:
        return None, wrong


def _wrong(detail: Mapping[str, Any]) -> tuple[Wrong, ...]:  # Any: pydantic's ErrorDetails
    """What is wrong with one key: of a list of rules each place by itself."""
    error = detail.get("ctx", {}).get("error")
    return error.wrong if isinstance(error, WrongRulesError) else ((str(detail["loc"][0]), in_words(detail)),)


def _blame(finding: Finding, sources: Mapping[str, str]) -> Problem:
    """Of the keys that do not go together, the one that was set, rather than one left to its default."""

    def strength(key: str) -> int:
        return (sources[key] != DEFAULT) + (sources[key] == COMMAND_LINE)

    key = max(reversed(finding.keys), key=strength)
    return Problem(sources[key], key, printable(finding.message))
