"""The rules of retention: `[[retention]]`, a list of tables, read all at once.

What is wrong is named by its place, `retention[2].age`; rules are counted from 1, as their owner does.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ValidationError, ValidationInfo

from archiverd.config.values import NONE, PositiveSeconds, Size, in_words, origin_of, quoted
from archiverd.policy.model import Tree
from archiverd.policy.naming import printable
from archiverd.policy.retention import Rule

KEY = "retention"
LIMITS = ("age", "max_size", "keep")
"""Keys of a rule of which at least one says something."""

Wrong = tuple[str, str]  # a place, and what is wrong there

_EXAMPLE = '[[retention]] and below it cameras = ["front*"] and age = "90 days"'


class WrongRulesError(ValueError):
    """What is wrong with the rules: each place with its own words."""

    def __init__(self, wrong: Sequence[Wrong]) -> None:
        super().__init__("; ".join(f"{place}: {message}" for place, message in wrong))
        self.wrong = tuple(wrong)


def place(number: int, key: str = "") -> str:
    """How a rule, or a key of it, is named."""
    return f"{KEY}[{number}].{printable(key)}" if key else f"{KEY}[{number}]"


# --- reading ---------------------------------------------------------------------------------------------


def _read_cameras(value: object) -> tuple[str, ...]:
    globs = (value,) if isinstance(value, str) else value
    if not isinstance(globs, (list, tuple)) or not all(isinstance(glob, str) for glob in globs):
        raise ValueError('write a list of names, in which * and ? stand for any letters, for instance ["front*"]')
    if not globs:
        raise ValueError("is empty; name a camera, or leave the key out for all of them")
    for number, glob in enumerate(globs, 1):
        if not glob:
            raise ValueError(f"element {number} is empty")
        if "/" in glob or "\0" in glob:
            raise ValueError(f"element {number}, {quoted(glob)}: no camera's name holds a / or a NUL")
        if glob in globs[: number - 1]:
            raise ValueError(f"names {quoted(glob)} twice")
    return tuple(globs)


def _set_to_something(value: object, info: ValidationInfo) -> object:
    if value == NONE:
        for_ever = "" if info.field_name == "max_size" else '; for ever is "36500 days"'
        raise ValueError(f"can't be unset in a rule: leave the key out{for_ever}")
    return value


_SetToSomething = BeforeValidator(_set_to_something)


class _Table(BaseModel, frozen=True, extra="forbid"):
    """One rule as the file holds it."""

    tree: Tree = Tree.ARCHIVE
    cameras: Annotated[tuple[str, ...], BeforeValidator(_read_cameras)] = ("*",)
    age: Annotated[PositiveSeconds | None, _SetToSomething] = None
    max_size: Annotated[Size | None, _SetToSomething] = None
    keep: Annotated[PositiveSeconds | None, _SetToSomething] = None

    @property
    def rule(self) -> Rule:
        max_bytes = None if self.max_size is None else int(self.max_size)
        return Rule(self.tree, self.cameras, self.age, max_bytes, self.keep)


RULE_KEYS = tuple(_Table.model_fields)
"""Keys of one rule, in the order they are shown."""


def _read_rules(value: object, info: ValidationInfo) -> tuple[Rule, ...]:
    """The rules of the list, or, from Python, rules as they are. Raises: WrongRulesError."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"is a list of tables; write for instance {_EXAMPLE}")  # noqa: TRY004  (pydantic's contract)
    origin = origin_of(info)
    rules: dict[int, Rule] = {}
    wrong: list[Wrong] = []
    for number, element in enumerate(value, 1):
        rule, found = (element, []) if isinstance(element, Rule) else _read_rule(number, element, origin)
        wrong += found
        if rule is not None:
            rules[number] = rule
    wrong += _said_twice(rules)
    if wrong:
        raise WrongRulesError(wrong)
    return tuple(rules.values())


def _read_rule(number: int, value: object, origin: str) -> tuple[Rule | None, list[Wrong]]:
    if not isinstance(value, dict):
        return None, [(place(number), f"is no table; write for instance {_EXAMPLE}")]
    table = {str(key): setting for key, setting in value.items()}
    wrong = [(place(number, key), _misplaced(key)) for key in table if key not in RULE_KEYS]
    known = {key: setting for key, setting in table.items() if key in RULE_KEYS}
    try:
        read = _Table.model_validate(known, context=dict.fromkeys(RULE_KEYS, origin))
    except ValidationError as error:
        return None, wrong + [(place(number, str(d["loc"][0])), in_words(d)) for d in error.errors(include_url=False)]
    if not wrong and not known.keys() & set(LIMITS):
        wrong = [(place(number), "says nothing; give it age, max_size or keep")]
    if read.age is not None and read.keep is not None and read.keep > read.age:
        wrong.append((place(number, "keep"), "is longer than age: what is older than age goes; make keep the shorter"))
    return None if wrong else read.rule, wrong


def _misplaced(key: str) -> str:
    name = key.replace("-", "_").lower()
    near = difflib.get_close_matches(name, RULE_KEYS, n=1)
    if near:
        return f"a rule has no such key; did you mean {near[0]}?"
    keys = ", ".join(RULE_KEYS)
    return f"a rule has no such key, only {keys}; what is no part of a rule stands above the first [[{KEY}]]"


def _said_twice(rules: Mapping[int, Rule]) -> Iterator[Wrong]:
    """What two rules say of the very same cameras: at most one of them can be meant."""
    said: dict[tuple[Tree, frozenset[str], str], int] = {}
    for number, rule in rules.items():
        for key in LIMITS:
            if limit(rule, key) is None:
                continue
            before = said.setdefault((rule.tree, frozenset(rule.cameras), key), number)
            if before != number:
                yield place(number, key), f"{place(before)} sets it already, for the same cameras in the same tree"


Rules = Annotated[tuple[Rule, ...], BeforeValidator(_read_rules)]


def limit(rule: Rule, key: str) -> float | None:
    """What a rule says of one of LIMITS; None where it says nothing."""
    return {"age": rule.age_s, "max_size": rule.max_bytes, "keep": rule.keep_s}[key]


# --- rules that come to nothing --------------------------------------------------------------------------


def idle(rules: Sequence[Rule], general: Collection[Rule]) -> Iterator[Wrong]:
    """What is said and can never count. `general`: the rules that come after the owner's, from the other keys."""
    for number, rule in enumerate(rules, 1):
        for key in ("age", "keep"):
            if limit(rule, key) is None:
                continue
            earlier = [pair for pair in enumerate(rules[: number - 1], 1) if limit(pair[1], key) is not None]
            before = _first_ones(rule, earlier)
            if before:
                yield place(number, key), f"never counts: {before}, further up, says it for all these cameras"
        yield from ((place(number, "max_size"), message) for message in _lower_ceiling(number, rule, rules, general))


def _first_ones(rule: Rule, earlier: Sequence[tuple[int, Rule]]) -> str:
    """The earlier rules that leave this one no camera, in words; "" where it may have one."""
    numbers: list[int] = []
    for glob in rule.cameras:
        taken = next((number for number, one in earlier if one.tree is rule.tree and _fits_all(one, glob)), None)
        if taken is None:
            return ""
        numbers.append(taken)
    return " and ".join(place(number) for number in sorted(set(numbers)))


def _lower_ceiling(number: int, rule: Rule, rules: Sequence[Rule], general: Collection[Rule]) -> Iterator[str]:
    if rule.max_bytes is None:
        return
    others = [(place(other, "max_size"), one) for other, one in enumerate(rules, 1) if other != number]
    for name, one in [*others, *(("max_size", one) for one in general)]:
        if one.max_bytes is None or one.max_bytes >= rule.max_bytes or one.tree is not rule.tree:
            continue
        if all(_fits_all(one, glob) for glob in rule.cameras):
            yield f"never counts: {name} leaves these cameras less"
            return


def _fits_all(rule: Rule, glob: str) -> bool:
    return any(_takes_in(one, glob) for one in rule.cameras)


def _takes_in(wide: str, narrow: str) -> bool:
    """Whether every name that fits `narrow` fits `wide`, as far as that shows; False where it does not."""
    if wide == narrow:
        return True
    plain = not set(narrow) & set("*?[")
    # Where `wide` knows no wildcard but *, only that can take the wildcards of `narrow`, and it takes what they take.
    stars = not set(wide) & set("?[") and "[" not in narrow
    return (plain or stars) and fnmatchcase(narrow, wide)
