"""Name patterns: how cameras name what they upload, and what a path says by them.

A pattern is one regular expression for each component of a path below the root, separated by `/`; the last is for
a file's name without its extension and without archiverd's own `~N`. Named groups say camera and time. A walk goes
down a tree with a `Folder` for each directory, which holds the patterns that fit so far: each component is looked at
once, and no directory is read that no pattern can fit.

Patterns are the owner's, names are anybody's: no component is looked at that is longer than a file name may be, and a
pattern that is sure to take for ever on some name is refused.
"""

from __future__ import annotations

import functools
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from types import MappingProxyType

from archiverd.policy.makes import MAKES
from archiverd.policy.model import ClipName, Tree
from archiverd.policy.naming import (
    CANONICAL_STEM,
    NAME_MAX_BYTES,
    NO_ENDING,
    RETIRED,
    FileKind,
    NotAClip,
    is_leftover,
    is_own_at_top,
    kind_of,
    moment,
    name_at,
    parse_clip_name,
    stem_and_copy,
)

_CAMERA, _STAMP = "camera", "stamp"
_DATE = ("year", "month", "day")
_TIME = ("hour", "minute", "second")
_GROUPS = (_CAMERA, _STAMP, "date", "time", *_DATE, *_TIME)
# What a part of a time that is not known yet is taken for, to see whether the others may belong to a real one.
_FIRST = MappingProxyType({"year": "2000", "month": "01", "day": "01", "hour": "00", "minute": "00", "second": "00"})
_NOTHING: Mapping[str, str] = MappingProxyType({})
_Times = tuple[tuple[str, str], ...]  # group and value
_SEPARATORS = str.maketrans("", "", "-_.:T ")
_MOST_COMPONENTS = 32
_NEVER = frozenset({"lost+found"})  # the file system's own, closed to most, and no camera's
# A repeated group that ends in a repetition, as in (.+)+: on some name it takes for ever.
_ENDING = re.compile(r"\\?\.(?:mp4|jpg)\$?\Z", re.IGNORECASE)
_LITERAL = re.compile(r"\\([^0-9A-Za-z])")  # an escaped character, which stands for itself
_NESTED = re.compile(r"(?<!\\)(?:[+*]|\{[0-9]*,\})\??\)(?:[+*]|\{[0-9]*,)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, compiled: which element of `names` it is of, its form for people, what each component is to fit."""

    element: str
    form: str
    directories: tuple[re.Pattern[str], ...]
    stem: re.Pattern[str]
    canonical: bool  # a file's name is a canonical one, and says all


@dataclass(frozen=True, slots=True)
class Misfit:
    """Where a path leaves a pattern: at which component (from 0), which is to be `expected`, and in which way."""

    pattern: Pattern
    component: int
    expected: str  # empty where the pattern has no such component, or no directory there
    reason: str


@dataclass(frozen=True, slots=True)
class _Fit:
    """A pattern that the directories so far fit, and what they say by it."""

    pattern: Pattern
    depth: int = 0
    cameras: tuple[str, ...] = ()
    times: _Times = ()

    @property
    def holds_files(self) -> bool:
        return self.depth == len(self.pattern.directories)

    def enter(self, name: str) -> _Fit | Misfit:
        """The fit below the directory `name` in this one."""
        if self.holds_files:
            return Misfit(self.pattern, self.depth, "", "is a directory where files belong")
        wanted = self.pattern.directories[self.depth]
        match = wanted.fullmatch(name) if len(name) <= NAME_MAX_BYTES else None
        if match is None:
            return Misfit(self.pattern, self.depth, wanted.pattern, "does not fit")
        cameras, times = _said(match, self.cameras, self.times)
        if moment(_stamp(times, _FIRST)) is None:
            return Misfit(self.pattern, self.depth, wanted.pattern, "belongs to no real date")
        return _Fit(self.pattern, self.depth + 1, cameras, times)

    def may_hold(self, first: str, last: str) -> bool:
        """Whether what the directories say of the time leaves room for a stamp from `first` to `last`."""
        said = dict(self.times)
        if _STAMP in said:
            digits = said[_STAMP].translate(_SEPARATORS)
            return first <= digits <= last
        known = ""
        for parts, whole, length in ((_DATE, "date", 8), (_TIME, "time", 14)):
            known += said.get(whole, "").translate(_SEPARATORS) or "".join(_leading(said, parts))
            if len(known) < length:
                break
        return first[: len(known)] <= known <= last[: len(known)]

    def read(self, stem: str, copy: int) -> ClipName | NotAClip | None:
        """What the stem of a file in this directory says; None where it does not fit."""
        match = self.pattern.stem.fullmatch(stem) if len(stem) <= NAME_MAX_BYTES else None
        if match is None:
            return None
        cameras, times = _said(match, self.cameras, self.times)
        stamp = _stamp(times, _NOTHING)
        return name_at("_".join(cameras), stamp, copy) if cameras and stamp else None


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory as the patterns see it. Made by `NamePatterns.root` and `enter`."""

    _fits: tuple[_Fit, ...]
    _holding: tuple[_Fit, ...]  # those whose files stand here
    _misfit: NotAClip
    _canonical: bool  # only canonical names stand here: the usual case, and a quick one

    @classmethod
    def _of(cls, fits: tuple[_Fit, ...]) -> Folder:
        holding = tuple(fit for fit in fits if fit.holds_files)
        forms = _forms(fit.pattern for fit in holding or fits)
        words = f"its name is not {forms}" if holding else f"it lies where no recordings do: they are {forms}"
        return cls(fits, holding, NotAClip(words), bool(holding) and all(fit.pattern.canonical for fit in holding))

    @property
    def holds_files(self) -> bool:
        """Whether recordings may stand in this directory itself."""
        return bool(self._holding)

    @property
    def holds_directories(self) -> bool:
        """Whether recordings may stand further down."""
        return len(self._holding) < len(self._fits)

    def may_hold(self, first: datetime, last: datetime) -> bool:
        """Whether its own time, as far as its path says it, leaves room for a moment from `first` to `last`.

        A camera may put what it records across midnight with the day it was sent: this is where a moment belongs.
        """
        stamps = [moment.isoformat(timespec="seconds").translate(_SEPARATORS) for moment in (first, last)]
        return any(fit.may_hold(*stamps) for fit in self._fits)

    def enter(self, name: str) -> Folder | None:
        """The directory `name` in this one; None where no recordings can stand in or below it."""
        if name in _NEVER or is_leftover(name):
            return None
        fits = tuple(deeper for fit in self._fits if isinstance(deeper := fit.enter(name), _Fit))
        return Folder._of(fits) if fits else None

    def parse(self, filename: str) -> ClipName | NotAClip:
        """What the name of a clip or snapshot in this directory says. The first pattern that fits wins."""
        if self._canonical:
            return parse_clip_name(filename)
        parts = stem_and_copy(filename)
        if parts is None:
            return NO_ENDING
        impossible = None
        for fit in self._holding:
            name = fit.read(*parts)
            if isinstance(name, ClipName):
                return name
            impossible = impossible or name
        return impossible or self._misfit

    def kind(self, filename: str) -> FileKind:
        """What a file in this directory is, by its name alone."""
        return kind_of(filename, self.parse)


@dataclass(frozen=True, slots=True)
class NamePatterns:
    """The patterns of one tree, in the order they are tried."""

    patterns: tuple[Pattern, ...]

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements of `names` they are of."""
        return tuple(dict.fromkeys(pattern.element for pattern in self.patterns))

    @property
    def root(self) -> Folder:
        return Folder._of(tuple(map(_Fit, self.patterns)))  # noqa: SLF001  (made here, and by itself)

    def folder(self, parts: Sequence[str]) -> Folder | None:
        """The directory of these components below the root; None where no recordings can stand in or below it."""
        folder: Folder | None = self.root
        for part in parts:
            folder = folder.enter(part) if folder is not None else None
        return folder

    def parse(self, path: PurePosixPath) -> ClipName | NotAClip:
        """What the path of a clip or snapshot below the root says."""
        folder = self.folder(path.parts[:-1])
        if folder is None:
            return NotAClip(f"it lies where no recordings do: they are {_forms(self.patterns)}")
        return folder.parse(path.name)

    def kind(self, path: PurePosixPath) -> FileKind:
        """What the file at a path below the root is, by its path alone."""
        return kind_of(path.name, lambda filename: self.parse(path.with_name(filename)))

    def misfits(self, path: PurePosixPath) -> tuple[Misfit, ...]:
        """Where a path leaves the patterns: for each element of `names` that it does not fit, the furthest it came."""
        furthest: dict[str, Misfit | None] = {}
        for pattern in self.patterns:
            found = _misfit(pattern, path)
            best = furthest.setdefault(pattern.element, found)
            if found is None or (best is not None and found.component > best.component):
                furthest[pattern.element] = found
        return tuple(misfit for misfit in furthest.values() if misfit is not None)

    def in_tree(self, tree: Tree) -> NamePatterns:
        """The patterns of a tree, where these are the source tree's.

        Archives have the canonical names. The trash holds sources under the paths they had, and retired archives
        below `RETIRED`.
        """
        match tree:
            case Tree.SOURCE:
                return self
            case Tree.ARCHIVE:
                return CANONICAL
            case Tree.TRASH:
                return NamePatterns((*self.patterns, *_RETIRED.patterns))


@functools.cache
def compile_names(names: tuple[str, ...]) -> NamePatterns:
    """The patterns of the elements of `names`: words of makes, and patterns of the owner's own.

    Raises: ValueError that names every element that is no pattern, and what is wrong with it.
    """
    patterns: list[Pattern] = []
    wrong = []
    for number, element in enumerate(names, 1):
        try:
            patterns += _compile_element(element)
        except ValueError as error:
            shown = json.dumps(element if len(element) <= 60 else element[:59] + "…", ensure_ascii=False)
            wrong.append(f"element {number}, {shown}: {error}")
    if not names:
        wrong.append(f"is empty; name a make ({', '.join(MAKES)}) or a pattern")
    if wrong:
        raise ValueError("; ".join(wrong))
    return NamePatterns(tuple(patterns))


def _compile_element(element: str) -> list[Pattern]:
    make = MAKES.get(element)
    if make is not None:
        return [compile_pattern(text, element, make.form) for text in make.patterns]
    if "(?P<" not in element:
        raise ValueError(f"is neither a make ({', '.join(MAKES)}) nor a pattern with (?P<camera>…) and a time")
    pattern = compile_pattern(element, element, element)
    _check_ends(element.split("/"))
    return [pattern]


def compile_pattern(text: str, element: str, form: str) -> Pattern:
    """One pattern.

    Raises: ValueError that says what is wrong with it.
    """
    components = text.split("/")
    if len(components) > _MOST_COMPONENTS:
        raise ValueError(f"has more than {_MOST_COMPONENTS} components")
    compiled = [_compile_component(component, number) for number, component in enumerate(components, 1)]
    groups = [name for component in compiled for name in component.groupindex]
    _check_groups(groups)
    *directories, stem = compiled
    canonical = stem.pattern == CANONICAL_STEM and groups.count(_CAMERA) == 1
    return Pattern(element, form, tuple(directories), stem, canonical)


def _compile_component(component: str, number: int) -> re.Pattern[str]:
    if not component:
        raise ValueError(f"component {number} is empty; a / stands between two components, and nowhere else")
    if _NESTED.search(component):
        raise ValueError(
            f"component {number} repeats a group that ends in a repetition, which takes for ever on some names; "
            "write it with one repetition"
        )
    try:
        with warnings.catch_warnings(action="error", category=FutureWarning):  # of what a later Python reads otherwise
            return re.compile(component, re.DOTALL)
    except (re.error, FutureWarning, OverflowError, RecursionError) as error:
        hint = "; a / stands between components only, and names hold none: [^/] is . here" if "[^" in component else ""
        raise ValueError(f"component {number} is no regular expression ({error}){hint}") from error


def _check_ends(components: Sequence[str]) -> None:
    """Refuse what no path can fit: a file's name is looked at without its ending, and what is archiverd's own never."""
    ending = _ENDING.search(components[-1])
    if ending is not None:
        raise ValueError(f"ends in {ending[0]}, which a name is looked at without; leave the ending out")
    first = _LITERAL.sub(r"\1", components[0])
    if len(components) > 1 and is_own_at_top(first):
        raise ValueError(f"begins with {first}, which is archiverd's own at the top of a tree, and never looked into")


def _check_groups(groups: Sequence[str]) -> None:
    known = ", ".join(_GROUPS)
    for name in groups:
        if name not in _GROUPS:
            raise ValueError(f"there is no group {name}; groups are {known}")
        if name != _CAMERA and groups.count(name) > 1:
            raise ValueError(f"the group {name} stands twice")
    if _CAMERA not in groups:
        raise ValueError("the group camera is missing")
    if "date" in groups and not set(_DATE).isdisjoint(groups):
        raise ValueError("date says all that year, month and day say; leave out one or the other")
    if not set(_TIME).isdisjoint(groups) and not {_STAMP, "time"}.isdisjoint(groups):
        raise ValueError("hour, minute and second are said already; leave out one or the other")
    if {_STAMP, "time"} <= set(groups):
        raise ValueError("stamp says all that time says; leave out one or the other")
    missing = [] if _STAMP in groups else [*_missing(groups, "date", _DATE), *_missing(groups, "time", _TIME)]
    if missing:
        raise ValueError(f"the time is not complete: {' and '.join(missing)} missing; give a stamp, or date and time")


def _missing(groups: Sequence[str], whole: str, parts: Sequence[str]) -> list[str]:
    if whole in groups or set(parts) <= set(groups):
        return []
    missing = [part for part in parts if part not in groups]
    return [whole] if len(missing) == len(parts) else missing


def _said(match: re.Match[str], cameras: tuple[str, ...], times: _Times) -> tuple[tuple[str, ...], _Times]:
    """What is said of camera and time by what was said so far and this component."""
    said = {name: value for name, value in match.groupdict().items() if value}
    camera = said.pop(_CAMERA, "")
    return (*cameras, camera) if camera else cameras, (*times, *said.items())


def _leading(said: Mapping[str, str], parts: Sequence[str]) -> Iterator[str]:
    """The parts that are known, up to the first that is not."""
    for part in parts:
        if part not in said:
            return
        yield said[part].zfill(2)


def _stamp(times: _Times, default: Mapping[str, str]) -> str:
    """What is said of a time as one stamp, without separators; empty where parts are missing that have no default."""
    said = dict(times)
    if _STAMP in said:
        return said[_STAMP].translate(_SEPARATORS)
    date = said.get("date", "") or _joined(said, default, _DATE)
    time = said.get("time", "") or _joined(said, default, _TIME)
    return (date + time).translate(_SEPARATORS) if date and time else ""


def _joined(times: Mapping[str, str], default: Mapping[str, str], parts: Sequence[str]) -> str:
    values = [times.get(part) or default.get(part, "") for part in parts]
    return "".join(value.zfill(2) for value in values) if all(values) else ""


def _misfit(pattern: Pattern, path: PurePosixPath) -> Misfit | None:
    """Where a path leaves a pattern; None where it fits, whatever time it says."""
    *directories, filename = path.parts
    fit = _Fit(pattern)
    for name in directories:
        deeper = fit.enter(name)
        if isinstance(deeper, Misfit):
            return deeper
        fit = deeper
    if not fit.holds_files:
        return Misfit(pattern, fit.depth, pattern.directories[fit.depth].pattern, "stands where a directory belongs")
    parts = stem_and_copy(filename)
    if parts is None:
        return Misfit(pattern, fit.depth, pattern.stem.pattern, "does not end in .mp4 or .jpg")
    if fit.read(*parts) is None:
        return Misfit(pattern, fit.depth, pattern.stem.pattern, "does not fit")
    return None


def _forms(patterns: Iterator[Pattern] | Sequence[Pattern]) -> str:
    """The forms of patterns for people, each once."""
    return " or ".join(dict.fromkeys(pattern.form for pattern in patterns))


CANONICAL = compile_names(("reolink",))
"""The layout and names of archives, which are also Reolink's."""

_RETIRED = NamePatterns((compile_pattern(f"{RETIRED}/{MAKES['reolink'].patterns[0]}", RETIRED, f"{RETIRED}/…"),))
