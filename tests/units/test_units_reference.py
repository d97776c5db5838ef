"""The reference and the program say the same: every verb, argument, option and exit code, in both directions.

Documents are read as text, the program by its own command tree. Whoever adds a verb finds here what to write.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from archiverd.cli import cli
from archiverd.errors import ArchiverError
from archiverd.policy.model import State
from archiverd.policy.naming import FileKind, kind_of
from archiverd.service import log_fields
from archiverd.service.graceful_exit import GracefulExit

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REF = DOCS / "ref"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md")))

Verb = tuple[str, ...]  # ("config", "show")


# --- the program, as it is -----------------------------------------------------------------------------------


def verbs(command: click.Command = cli, path: Verb = ()) -> dict[Verb, click.Command]:
    """Every verb that does something, by its words."""
    if not isinstance(command, click.Group):
        return {path: command}
    return {
        verb: found for name, inner in command.commands.items() for verb, found in verbs(inner, (*path, name)).items()
    }


def terms(command: click.Command) -> set[str]:
    """The arguments and options of a verb, each as the reference writes it: `-v`, `--verbose` as "-v --verbose"."""
    return {_term(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)}


def _term(parameter: click.Parameter) -> str:
    metavar = parameter.metavar or (parameter.name or "").upper()
    if isinstance(parameter, click.Argument):
        return metavar
    takes_value = isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.count
    names = [*parameter.opts, *parameter.secondary_opts]
    return " ".join([*names, metavar] if takes_value else names)


# --- the documents, as they are ------------------------------------------------------------------------------


def sections(path: Path) -> dict[str, str]:
    """The text below each second-level heading."""
    parts = re.split(r"(?m)^## (.+)\n", path.read_text("utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [number for number, row in enumerate(cells) if all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    heads = {number - 1 for number in rules}
    return [row for number, row in enumerate(cells) if number not in heads and number not in rules]


def told_terms(text: str) -> set[str]:
    """What the tables of a section, and of the sections it links to, document."""
    found = {" ".join(re.findall(r"`([^`]+)`", row[0])) for row in rows(text)}
    for anchor in re.findall(r"\]\(#([\w-]+)\)", text):
        found |= told_terms(SECTIONS[BY_ANCHOR[anchor]])
    return found


SECTIONS = sections(REF / "cli.md")
BY_ANCHOR = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"): title for title in SECTIONS}
DOCUMENTED: dict[Verb, str] = {
    tuple(title.strip("`").split()[1:]): text for title, text in SECTIONS.items() if title.startswith("`archiverd ")
}


def examples(text: str) -> list[str]:
    """The lines of fenced blocks that call archiverd, without sudo and what a shell does with the output."""
    blocks = re.findall(r"(?ms)^```\w*\n(.*?)^```", text)
    lines = [re.sub(r"^(\$ )?(sudo )?", "", line) for block in blocks for line in block.splitlines()]
    return [re.split(r" [|>#] | +# ", line)[0] for line in lines if re.match(r"archiverd [a-z]", line)]


# --- both say the same ---------------------------------------------------------------------------------------


def test_every_verb_is_documented_and_no_other() -> None:
    assert set(DOCUMENTED) == set(verbs())


@pytest.mark.parametrize("verb", sorted(verbs()), ids=" ".join)
def test_every_argument_and_option_of_a_verb_is_documented_and_no_other(verb: Verb) -> None:
    assert told_terms(DOCUMENTED[verb]) == terms(verbs()[verb])


@pytest.mark.parametrize("verb", sorted(verbs()), ids=" ".join)
def test_every_verb_has_a_meaning_and_an_example_of_its_own(verb: Verb) -> None:
    text = DOCUMENTED[verb]
    assert re.match(r"\n[A-Z]", text)
    assert [line for line in examples(text) if tuple(line.split()[1 : len(verb) + 1]) == verb]


@pytest.mark.parametrize("verb", sorted(verbs()), ids=" ".join)
def test_every_row_says_what_it_means(verb: Verb) -> None:
    assert all(row[1].endswith(".") for row in rows(DOCUMENTED[verb]))


@pytest.mark.parametrize("verb", sorted(verbs()), ids=" ".join)
def test_every_verb_and_option_has_its_help(verb: Verb) -> None:
    command = verbs()[verb]
    assert command.help
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


def written_examples() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for line in examples((ROOT / document).read_text("utf-8")):
            yield document, line


@pytest.mark.parametrize(("document", "line"), [*dict.fromkeys(written_examples())])
def test_every_command_in_the_documents_can_be_typed(document: str, line: str) -> None:
    """Its verb, options and arguments are there; whether it does what is said is for other tests."""
    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert words, f"{document}: {line}: stops at a group"
        command = command.commands[words.pop(0)]
    command.make_context("archiverd", words)


def test_states_named_for_list_are_those_there_are() -> None:
    (meaning,) = (row[1] for row in rows(DOCUMENTED["list",]) if "--state" in row[0])
    assert re.findall(r"`(\w+)`", meaning) == list(State)


# --- exit codes ----------------------------------------------------------------------------------------------


def error_classes(base: type[ArchiverError] = ArchiverError) -> Iterator[type[ArchiverError]]:
    yield base
    for inner in base.__subclasses__():
        yield from error_classes(inner)


def test_every_exit_code_is_documented_and_no_other() -> None:
    told = {int(code) for row in rows((REF / "exit-codes.md").read_text("utf-8")) for code in row[0].split(", ")}
    signals = {128 + signum for signum in GracefulExit()._signals}
    assert told == {0} | {error.exit_code for error in error_classes()} | signals


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".archiverd-root", FileKind.MARKER),
        (".archiverd-<catalog>-<job>.part", FileKind.PART),
        (".archiverd-<job>.gone", FileKind.GONE),
        ("<stem>.keep", FileKind.KEEP),
        ("<stem>.mp4", FileKind.CLIP),
        ("<stem>~2.mp4", FileKind.CLIP),
        ("<stem>.jpg", FileKind.SNAPSHOT),
    ],
)
def test_names_of_files_are_what_the_reference_says(name: str, kind: FileKind) -> None:
    assert re.search(rf"[/`]{re.escape(name)}`", (REF / "files.md").read_text("utf-8"))
    stands_for = {"<stem>": "REO_front_20260701101500", "<catalog>": "bf2ef433", "<job>": "0a1b2c"}
    for placeholder, example in stands_for.items():
        name = name.replace(placeholder, example)
    assert kind_of(name) is kind


# --- the log -------------------------------------------------------------------------------------------------


def test_every_field_of_the_log_is_documented() -> None:
    told = {row[0].strip("`") for row in rows(sections(REF / "log.md")["Fields"])}
    assert told == {name.upper() for name in log_fields.NAMES} | {"LOGGER", "THREAD_NAME"}


# --- the documents hang together -----------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / document).read_text("utf-8"))
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if re.match("docs/(ref|guide)/", name)])
def test_readme_leads_to_every_guide_and_reference(document: str) -> None:
    assert f"({document})" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_documents_name_are_there(document: str) -> None:
    """Paths of this checkout between backticks: what was renamed is renamed in the documents too."""
    text = (ROOT / document).read_text("utf-8")
    named = re.findall(r"`((?:archiverd|tests|docs|etc|tools|bench)/[\w./-]+\.\w+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
