"""The rules of retention: how they are read, what is wrong with them, what can never count, how they are shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from archiverd.config import Config, Loaded, as_json, doubts, load, rule_lines, show
from archiverd.config.rules import RULE_KEYS
from archiverd.errors import ConfigError, Problem
from archiverd.policy.model import Tree
from archiverd.policy.reloading import changes, refused
from archiverd.policy.retention import Rule

DAY_S = 86400.0
GB = 10**9
REFERENCE = Path(__file__).parents[2] / "docs" / "ref" / "config.md"
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "retention.md"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        file = tmp_path / "archiverd.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return to_file


def told(file: Path) -> list[tuple[str, str]]:
    """Each place with what is wrong there."""
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert {problem.where for problem in caught.value.problems} == {str(file)}
    return [(problem.key, problem.message) for problem in caught.value.problems]


def doubted(file: Path) -> list[tuple[str, str]]:
    found = doubts(load(file, {}))
    assert {problem.where for problem in found} <= {str(file)}
    return [(problem.key, problem.message) for problem in found]


def rules(*tables: str) -> str:
    return "".join(f"[[retention]]\n{table}\n" for table in tables)


# --- what is read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ('age = "90 days"', Rule(Tree.ARCHIVE, ("*",), age_s=90 * DAY_S)),
        ('cameras = "front*"\nkeep = "12h"', Rule(Tree.ARCHIVE, ("front*",), keep_s=DAY_S / 2)),
        ('cameras = ["a", "b"]\nmax_size = "1.5GB"', Rule(Tree.ARCHIVE, ("a", "b"), max_bytes=1_500_000_000)),
        (
            'tree = "trash"\nage = "9 days"\nmax_size = "1GB"\nkeep = "9 days"',
            Rule(Tree.TRASH, ("*",), 9 * DAY_S, GB, 9 * DAY_S),
        ),
        ('tree = "source"\nage = "1 day"', Rule(Tree.SOURCE, ("*",), age_s=DAY_S)),
        ('tree = "archive"\ncameras = ["Einfahrt süd"]\nage = "1 day"', Rule(Tree.ARCHIVE, ("Einfahrt süd",), DAY_S)),
    ],
)
def test_rule_is_read(write: Write, table: str, rule: Rule) -> None:
    assert load(write(rules(table)), {}).config.retention == (rule,)


def test_array_of_inline_tables_is_the_same_as_tables(write: Write) -> None:
    tables = load(write(rules('age = "3 days"', 'cameras = "a"\nage = "2 days"')), {}).config
    inline = load(write('retention = [{age = "3 days"}, {cameras = "a", age = "2 days"}]'), {}).config
    assert tables == inline


def test_rules_from_python_are_taken_as_they_are() -> None:
    rule = Rule(Tree.TRASH, ("a",), max_bytes=1)
    assert Config(retention=(rule,)).retention == (rule,)


@pytest.mark.parametrize(
    ("text", "general"),
    [
        ("", [Rule(Tree.SOURCE, age_s=30 * DAY_S), Rule(Tree.TRASH, age_s=30 * DAY_S)]),
        (
            'age = "9 days"\nmax_size = "7GB"\n',
            [Rule(Tree.SOURCE, ("*",), 9 * DAY_S, 7 * GB), Rule(Tree.TRASH, ("*",), 9 * DAY_S, 7 * GB)],
        ),
        (
            'clean_output = true\nmax_size = "7GB"\n',
            [Rule(tree, ("*",), 30 * DAY_S, 7 * GB) for tree in (Tree.SOURCE, Tree.TRASH, Tree.ARCHIVE)],
        ),
    ],
)
def test_rules_of_the_owner_come_before_what_holds_for_all(write: Write, text: str, general: list[Rule]) -> None:
    own = [Rule(Tree.ARCHIVE, ("b",), DAY_S), Rule(Tree.TRASH, ("a",), DAY_S)]
    file = write(text + rules('cameras = "b"\nage = "1 day"', 'tree = "trash"\ncameras = "a"\nage = "1 day"'))
    assert list(load(file, {}).config.rules) == own + general


def test_option_has_the_archive_cleaned_too() -> None:
    config = load(None, {"clean_output": True}, default_file=Path("/nonexistent")).config
    assert [rule.tree for rule in config.rules] == [Tree.SOURCE, Tree.TRASH, Tree.ARCHIVE]


# --- what is wrong -------------------------------------------------------------------------------------------

CAMERAS = 'write a list of names, in which * and ? stand for any letters, for instance ["front*"]'
LIST = 'is a list of tables; write for instance [[retention]] and below it cameras = ["front*"] and age = "90 days"'
LEAVE_OUT = "can't be unset in a rule: leave the key out"
FOR_EVER = f'{LEAVE_OUT}; for ever is "36500 days"'
LONGER = "is longer than age: what is older than age goes; make keep the shorter"
OUTSIDE = (
    "a rule has no such key, only tree, cameras, age, max_size, keep; "
    "what is no part of a rule stands above the first [[retention]]"
)


@pytest.mark.parametrize(
    ("table", "key", "said"),
    [
        ("age = 90", "age", 'write a number and a unit, for instance "30 days"'),
        ('age = "90"', "age", 'write a number and a unit, for instance "30 days"'),
        ('age = "0 days"', "age", "must be more than zero"),
        ('age = "none"', "age", FOR_EVER),
        ('max_size = "none"', "max_size", LEAVE_OUT),
        ('keep = "none"', "keep", FOR_EVER),
        ('keep = "soon"', "keep", '"soon" is not a duration; write for instance "30 days", "90s" or "1h30m"'),
        ("max_size = 5", "max_size", 'write a number and a unit, for instance "500GB" or "1.5TiB"'),
        ('max_size = "0GB"', "max_size", "must be more than zero"),
        ('tree = "heap"\nage = "1 day"', "tree", "must be source, archive or trash"),
        ('tree = 1\nage = "1 day"', "tree", "must be source, archive or trash"),
        ('cameras = 1\nage = "1 day"', "cameras", CAMERAS),
        ('cameras = ["a", 1]\nage = "1 day"', "cameras", CAMERAS),
        ('cameras = []\nage = "1 day"', "cameras", "is empty; name a camera, or leave the key out for all of them"),
        ('cameras = ["a", ""]\nage = "1 day"', "cameras", "element 2 is empty"),
        ('cameras = "a/b"\nage = "1 day"', "cameras", "element 1, \"a/b\": no camera's name holds a / or a NUL"),
        ('cameras = ["a", "b", "a"]\nage = "1 day"', "cameras", 'names "a" twice'),
        ('age = "3 days"\nkeep = "4 days"', "keep", LONGER),
        ('maxsize = "1GB"', "maxsize", "a rule has no such key; did you mean max_size?"),
        ('max-size = "1GB"', "max-size", "a rule has no such key; did you mean max_size?"),
        ('camera = "a"\nage = "1 day"', "camera", "a rule has no such key; did you mean cameras?"),
        ('age = "1 day"\nnice = 3', "nice", OUTSIDE),
        ('age = "1 day"\n"a\\nb" = 3', r"a\nb", OUTSIDE),
        ("", "", "says nothing; give it age, max_size or keep"),
        ('cameras = "a"\ntree = "trash"', "", "says nothing; give it age, max_size or keep"),
    ],
)  # fmt: skip
def test_wrong_rule_is_told_by_its_place(write: Write, table: str, key: str, said: str) -> None:
    file = write(rules('age = "1 day"\ncameras = "first"', table))
    assert told(file) == [(f"retention[2].{key}" if key else "retention[2]", said)]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ('[retention]\nage = "1 day"\n', "retention", LIST),
        ('retention = "30 days"\n', "retention", LIST),
        ('retention = ["30 days"]\n', "retention[1]", LIST.replace("is a list of tables", "is no table")),
    ],
)
def test_what_is_no_list_of_tables_is_told(write: Write, text: str, place: str, said: str) -> None:
    assert told(write(text)) == [(place, said)]


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [("age", '"2 days"', '"3 days"'), ("keep", '"1 day"', '"1 day"'), ("max_size", '"2GB"', '"1GB"')],
)
def test_same_thing_said_twice_of_the_same_cameras_is_wrong(write: Write, key: str, first: str, second: str) -> None:
    file = write(
        rules(f'cameras = ["a", "b"]\n{key} = {first}', f'{key} = {first}', f'cameras = ["b", "a"]\n{key} = {second}')
    )  # fmt: skip
    assert told(file) == [
        (f"retention[3].{key}", "retention[1] sets it already, for the same cameras in the same tree")
    ]


def test_different_things_may_be_said_of_the_same_cameras_and_one_in_different_trees(write: Write) -> None:
    tables = ('age = "2 days"', 'keep = "1 day"', 'max_size = "1GB"', 'tree = "trash"\nage = "2 days"')
    assert len(load(write(rules(*tables)), {}).config.retention) == 4


def test_all_that_is_wrong_with_all_rules_is_told_at_once(write: Write) -> None:
    file = write(
        'nice = 99\nretentoin = 1\n'
        + rules('age = 1\ncameras = []', 'cameras = "a"\nage = "1 day"', 'cameras = "a"\nkepp = 1\nage = "2 days"')
    )  # fmt: skip
    assert [place for place, _ in told(file)] == [
        "retentoin", "retention[1].cameras", "retention[1].age", "retention[3].kepp", "nice"
    ]  # fmt: skip


def test_wrong_rules_hide_no_other_finding(write: Write) -> None:
    file = write('directory = "/c"\noutput = "/c"\n' + rules("age = 1"))
    assert [place for place, _ in told(file)] == ["retention[1].age", "output"]


words = st.text(max_size=9) | st.sampled_from(
    ["1 day", "9 days", "none", "1GB", "-1s", "archive", "trash", "\udcff", "*"]
)
settings_of_rules = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | words | st.lists(words)
tables = st.dictionaries(st.sampled_from(RULE_KEYS) | words, settings_of_rules) | settings_of_rules


@settings(max_examples=300, deadline=None)
@given(value=st.lists(tables, max_size=4) | tables)
def test_any_rules_load_or_are_told_by_their_places(value: object) -> None:
    told: tuple[Problem, ...] = ()
    lines: list[str] = []
    try:
        loaded = load(None, {"retention": value}, default_file=Path("/nonexistent"))
        lines = [*rule_lines(loaded.config), *map(str, doubts(loaded))]
    except ConfigError as error:
        told = error.problems
    assert all(re.match(r"retention(\[[0-9]+\]|\Z)", problem.key) for problem in told)
    assert "Input should" not in "".join(problem.message for problem in told)
    assert bool(lines) is not bool(told)
    for line in (*lines, *map(str, told)):
        line.encode("utf-8")


# --- what can never count ------------------------------------------------------------------------------------


FIRST = [("retention[2].age", "retention[1]")]


@pytest.mark.parametrize(
    ("tables", "found"),
    [
        (('age = "9 days"', 'cameras = "a"\nage = "1 day"'), FIRST),
        (('keep = "9 days"', 'cameras = "a"\nkeep = "1 day"'), [("retention[2].keep", "retention[1]")]),
        (('cameras = "a"\nage = "1 day"', 'age = "9 days"'), []),
        (('keep = "9 days"', 'cameras = "a"\nage = "10 days"'), []),
        (('tree = "trash"\nage = "9 days"', 'cameras = "a"\nage = "1 day"'), []),
        (('cameras = "front*"\nage = "9 days"', 'cameras = "front-?"\nage = "1 day"'), FIRST),
        (('cameras = "front?"\nage = "9 days"', 'cameras = "front1"\nage = "1 day"'), FIRST),
        (('cameras = "front?"\nage = "9 days"', 'cameras = "front*"\nage = "1 day"'), []),
        (('cameras = "*a*"\nage = "9 days"', 'cameras = "[ab]x"\nage = "1 day"'), []),
        (('cameras = "a"\nage = "9 days"', 'cameras = ["a", "b"]\nage = "1 day"'), []),
        (
            ('cameras = "b*"\nage = "9 days"', 'cameras = "a"\nage = "9 days"', 'cameras = ["a", "b1"]\nage = "1 day"'),
            [("retention[3].age", "retention[1] and retention[2]")],
        ),
    ],
)  # fmt: skip
def test_rule_that_leaves_no_camera_to_a_later_one_is_doubted(
    write: Write, tables: tuple[str, ...], found: list[tuple[str, str]]
) -> None:
    expected = [
        (place, f"never counts: {before}, further up, says it for all these cameras") for place, before in found
    ]
    assert doubted(write(rules(*tables))) == expected


@pytest.mark.parametrize(
    ("text", "place", "before"),
    [
        (
            'clean_output = true\nmax_size = "1GB"\n' + rules('cameras = "a"\nmax_size = "2GB"'),
            "retention[1]", "max_size",
        ),
        ('max_size = "1GB"\n' + rules('cameras = "a"\ntree = "trash"\nmax_size = "2GB"'), "retention[1]", "max_size"),
        ('max_size = "1GB"\n' + rules('cameras = "a"\nmax_size = "2GB"'), "", ""),  # the archive has no size
        ('max_size = "2GB"\nclean_output = true\n' + rules('cameras = "a"\nmax_size = "2GB"'), "", ""),
        (rules('cameras = "a"\nmax_size = "2GB"', 'max_size = "1GB"'), "retention[1]", "retention[2].max_size"),
        (rules('cameras = "a*"\nmax_size = "1GB"', 'cameras = ["ab", "b"]\nmax_size = "2GB"'), "", ""),
        (rules('max_size = "2GB"', 'cameras = "a"\nmax_size = "1GB"'), "", ""),
    ],
)  # fmt: skip
def test_size_that_is_never_reached_is_doubted(write: Write, text: str, place: str, before: str) -> None:
    expected = [(f"{place}.max_size", f"never counts: {before} leaves these cameras less")] if place else []
    assert doubted(write(text)) == expected


def test_room_that_nobody_looks_at_makes_nothing_go(write: Write) -> None:
    never = "never counts: min_free is unset, and room is not looked at"
    assert doubted(write('when_full = "oldest"\nmin_free = "none"')) == [("when_full", never)]
    assert doubted(write('when_full = "oldest"')) == []


letters = st.text("ab*?[]-!", min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(wide=letters, narrow=letters, names=st.lists(st.text("ab]-!*", max_size=6), max_size=20))
def test_doubt_is_never_cast_on_a_rule_that_a_camera_comes_to(wide: str, narrow: str, names: list[str]) -> None:
    assume(wide != narrow)  # which is an error
    own = (Rule(Tree.ARCHIVE, (wide,), age_s=1.0), Rule(Tree.ARCHIVE, (narrow,), age_s=2.0))
    found = doubts(Loaded(Config(retention=own), dict.fromkeys(Config.model_fields, "default"), None))
    comes = any(fnmatchcase(name, narrow) and not fnmatchcase(name, wide) for name in [*names, narrow])
    assert not (comes and found)


# --- showing -------------------------------------------------------------------------------------------------

seconds = st.integers(1, 36500 * 86400 * 1000).map(lambda count: count / 1000)
globs = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=9)


@st.composite
def any_rule(draw: st.DrawFn) -> Rule:
    keep, age = sorted((draw(seconds), draw(seconds)))
    said = draw(st.sets(st.sampled_from(["age", "max_size", "keep"]), min_size=1))
    cameras = draw(st.lists(globs, min_size=1, max_size=3, unique=True))
    return Rule(
        draw(st.sampled_from(Tree)), tuple(cameras), age if "age" in said else None,
        draw(st.integers(1, 2**53)) if "max_size" in said else None, keep if "keep" in said else None,
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(own=st.lists(any_rule(), max_size=4, unique_by=lambda rule: (rule.tree, frozenset(rule.cameras))))
def test_rules_that_are_shown_load_again_as_the_same(own: list[Rule], tmp_path_factory: pytest.TempPathFactory) -> None:
    before = Loaded(Config(retention=tuple(own)), dict.fromkeys(Config.model_fields, "default"), None)
    shown = {key: value for key, value, _ in show(before)}
    assert "\n" not in shown["retention"]
    file = tmp_path_factory.getbasetemp() / "shown.toml"
    file.write_text("".join(f"{key} = {value}\n" for key, value in shown.items()), encoding="utf-8")
    assert load(file, {}).config == before.config


def test_rules_are_shown_as_tables_in_one_line_and_as_json(write: Write) -> None:
    loaded = load(
        write(rules('cameras = "a\\"*"\nage = "7 days"', 'tree = "trash"\nmax_size = "1GB"\nkeep = "1h"')), {}
    )
    tables = [
        {"tree": "archive", "cameras": ['a"*'], "age": "7 days"},
        {"tree": "trash", "cameras": ["*"], "max_size": "1GB", "keep": "1 hour"},
    ]
    general = [{"tree": tree, "cameras": ["*"], "age": "30 days"} for tree in ("source", "trash")]
    assert {key: value for key, value, _ in show(loaded)}["retention"] == (
        r'[{tree = "archive", cameras = ["a\"*"], age = "7 days"}, '
        '{tree = "trash", cameras = ["*"], max_size = "1GB", keep = "1 hour"}]'
    )
    told_json = json.loads(json.dumps(as_json(loaded)))
    assert told_json["settings"]["retention"] == {"value": tables, "source": str(loaded.file)}
    assert told_json["rules"] == tables + general


def test_rules_are_told_in_words_by_tree(write: Write) -> None:
    text = 'age = "9 days"\nmax_size = "1TB"\n' + rules(
        'cameras = ["a", "b*"]\nage = "7 days"\nkeep = "1 day"', 'tree = "trash"\ncameras = "a\\u001b"\nage = "1h"'
    )
    assert rule_lines(load(write(text), {}).config) == [
        (
            "source: all cameras: what has been quarantined for longer than 9 days goes to the trash; "
            "above 1 TB the oldest that are quarantined go to the trash"
        ),
        "archive: a, b*: what is older than 7 days goes to the trash; what is younger than 1 day stays",
        r"trash: a\x1b: what has lain there for longer than 1 hour goes for good",
        (
            "trash: all cameras: what has lain there for longer than 9 days goes for good; "
            "above 1 TB the oldest go for good"
        ),
        "where several fit a camera, the first that says an age decides it, and so with keep",
    ]


def test_archives_that_are_deleted_go_for_good_and_what_was_never_archived_does_not(write: Write) -> None:
    text = "delete = true\n" + rules('age = "7 days"\nmax_size = "400KB"')
    assert rule_lines(load(write(text), {}).config) == [
        "source: all cameras: what has been quarantined for longer than 30 days goes to the trash",
        "archive: all cameras: what is older than 7 days goes for good; above 400 kB the oldest go for good",
        "trash: all cameras: what has lain there for longer than 30 days goes for good",
    ]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ('tree = "trash"\nage = "1 day"', True),  # beside the one for all
        ('age = "1 day"\n[[retention]]\nmax_size = "1GB"\nkeep = "1 hour"', False),
        ('age = "1 day"\nkeep = "1 hour"\n[[retention]]\ncameras = ["a"]\nkeep = "2 hours"', True),
    ],
)
def test_that_the_first_decides_is_told_where_there_are_several(write: Write, rule: str, *, told: bool) -> None:
    lines = rule_lines(load(write(rules(rule)), {}).config)
    assert any("the first that says an age decides it" in line for line in lines) is told


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("", "archive: all cameras: nothing goes"),
        (rules('keep = "1 day"'), "archive: all cameras: nothing goes"),
        ('when_full = "oldest"', "archive: all cameras: the oldest go for good where the disk is full"),
        (rules('max_size = "1GB"'), "trash: all cameras: what has lain there for longer than 30 days goes for good"),
    ],
)
def test_archive_that_nothing_goes_from_is_told_to_be_so(write: Write, text: str, last: str) -> None:
    assert rule_lines(load(write(text), {}).config)[-1] == last


# --- a reload ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        'age = "9 days"', 'max_size = "1TB"', "clean_output = true", 'when_full = "oldest"', "max_removal = 50",
        'history = "30 days"', 'retention = [{age = "9 days"}]',
    ],
)  # fmt: skip
def test_change_of_what_goes_takes_effect_without_a_restart(write: Write, line: str) -> None:
    before = {key: value for key, value, _ in show(load(write(""), {}))}
    changed = changes(before, {key: value for key, value, _ in show(load(write(line), {}))})
    assert [change.key for change in changed] == [line.split(" = ", maxsplit=1)[0]]
    assert refused(changed) == ()


# --- the documents -------------------------------------------------------------------------------------------


def test_reference_names_every_key_of_a_rule() -> None:
    section = REFERENCE.read_text("utf-8").partition("## Rules of retention")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"(?m)^\| `(\w+)` \|", section)) == RULE_KEYS


@pytest.mark.parametrize("document", [REFERENCE, GUIDE], ids=lambda path: path.name)
def test_examples_of_the_documents_load_without_a_doubt(document: Path, write: Write) -> None:
    examples = re.findall(r"(?ms)^```toml\n(.*?)^```", document.read_text("utf-8"))
    assert examples
    for example in examples:
        loaded = load(write(example), {})
        assert doubts(loaded) == ()
        assert loaded.config.retention or loaded.config.general_rules


def test_example_rules_of_the_shipped_file_load(write: Write) -> None:
    shipped = Path(__file__).parents[2] / "etc" / "archiverd.toml"
    commented = re.findall(r"(?m)^#   (.+)$", shipped.read_text("utf-8"))
    assert len(load(write("\n".join(commented)), {}).config.retention) == 2


def test_problem_reads_as_a_line() -> None:
    assert str(Problem("/etc/a.toml", "retention[2].age", "is wrong")) == "/etc/a.toml: retention[2].age: is wrong"
