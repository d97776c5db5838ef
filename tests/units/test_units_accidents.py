"""What became of a clip after an accident: the word for the facts, and the facts of the files that stand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import command
from bench.accident_outcomes import MEANINGS, Content, Facts, File, Outcome, facts_of, outcome, together
from bench.accident_programs import SETUPS, ffmpeg_command, loud_lines
from bench.accident_scenes import ACCIDENTS, Report, Told
from bench.accidents import Result, kept, merged, page, words

KEPT = Facts(frames=60, original=True, most=0, whole=False, told=False, goes_on=True)
WHOLE = replace(KEPT, most=60, whole=True)
SHORT = replace(KEPT, original=False, most=31)
CLIP = Content("REO_front_20260630081500", "5" * 64, 60)
SOURCE = File(f"camera/{CLIP.name}.mp4", CLIP.sha256, 60, "h264")
ARCHIVE = File(f"archive/{CLIP.name}.mp4", "a" * 64, 60, "hevc", archive=True)
OTHER = Content(CLIP.name, "6" * 64, 45)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (WHOLE, Outcome.WHOLE),
        (replace(WHOLE, original=False), Outcome.WHOLE),
        (replace(WHOLE, told=True), Outcome.WHOLE),
        (replace(WHOLE, goes_on=False), Outcome.STUCK),
        (KEPT, Outcome.KEPT_SILENT),
        (replace(KEPT, told=True), Outcome.KEPT_TOLD),
        (replace(KEPT, told=True, goes_on=False), Outcome.STUCK),
        (replace(KEPT, frames=0), Outcome.KEPT_SILENT),
        (SHORT, Outcome.SHORT_SILENT),
        (replace(SHORT, told=True), Outcome.SHORT_TOLD),
        (replace(SHORT, goes_on=False), Outcome.SHORT_SILENT),
        (replace(SHORT, original=True), Outcome.BESIDE_SILENT),
        (replace(SHORT, original=True, told=True), Outcome.BESIDE_TOLD),
        (replace(SHORT, most=60), Outcome.SHORT_SILENT),  # as many frames, and not all of them decode
        (replace(KEPT, original=False), Outcome.LOST),
        (replace(KEPT, original=False, told=True), Outcome.LOST),
        (replace(KEPT, frames=0, original=False), Outcome.LOST),
    ],
)
def test_facts_have_one_word(facts: Facts, word: Outcome) -> None:
    assert outcome(facts) is word


def test_every_word_has_a_meaning() -> None:
    assert MEANINGS.keys() == set(Outcome)


@pytest.mark.parametrize(
    ("files", "original", "most", "whole"),
    [
        ((SOURCE,), True, 0, False),
        ((SOURCE, ARCHIVE), True, 60, True),
        ((ARCHIVE,), False, 60, True),
        ((replace(ARCHIVE, frames=59),), False, 59, False),
        ((replace(ARCHIVE, clean=False),), False, 60, False),
        ((replace(ARCHIVE, frames=31), ARCHIVE), False, 60, True),
        ((replace(ARCHIVE, path=f"archive/{CLIP.name}~2.mp4"),), False, 60, True),
        ((replace(ARCHIVE, path="archive/REO_other_20260630081500.mp4"),), False, 0, False),
        ((replace(ARCHIVE, archive=False),), False, 0, False),
        ((replace(ARCHIVE, frames=45),), False, 0, False),  # of the other content
        ((replace(SOURCE, archive=True),), True, 60, True),  # kept as it was
        ((), False, 0, False),
    ],
)
def test_files_tell_the_facts(files: tuple[File, ...], original: bool, most: int, whole: bool) -> None:
    facts = facts_of(CLIP, files, [OTHER], told=False, goes_on=True)

    assert facts == Facts(60, original, most, whole, told=False, goes_on=True)


def test_copy_of_half_an_upload_is_no_archive_of_the_clip() -> None:
    cut = replace(CLIP, complete=False)
    copied = replace(SOURCE, path=f"archive/{CLIP.name}.mp4", frames=35, archive=True)

    facts = facts_of(cut, [copied], [], told=True, goes_on=True)

    assert outcome(facts) is Outcome.KEPT_TOLD


def test_several_clips_are_told_worst_first() -> None:
    assert together([Outcome.WHOLE, Outcome.WHOLE]) == "archived whole"
    assert together([Outcome.WHOLE, Outcome.LOST, Outcome.WHOLE]) == "1 of 3 lost; 2 of 3 archived whole"


def test_only_loud_lines_that_name_the_clip_tell_of_it() -> None:
    log = (
        "INFO a: taken\nWARNING b: odd\n2026-06-30T08:15:00:ERROR:X - a: failed\nwarning a: odd\nINFO a: WARNINGS: 0\n"
    )

    assert loud_lines(log, "a:") == ["2026-06-30T08:15:00:ERROR:X - a: failed", "warning a: odd"]


def test_lenient_command_is_the_strict_one_without_what_ends_it_at_errors() -> None:
    strict, lenient = ffmpeg_command(strict=True), ffmpeg_command(strict=False)

    assert [word for word in strict if word not in lenient] == [
        "-xerror", "-err_detect", "explode", "-abort_on", "empty_output+empty_output_stream", "-max_error_rate",
    ]  # fmt: skip
    assert lenient[lenient.index("-i") + 1] == "file:@SOURCE"
    assert lenient[-1] == "file:@TARGET"
    assert len(strict) - len(lenient) == 7  # the 0 of -max_error_rate too, which -map_metadata has as well


def test_page_has_every_accident_with_every_program() -> None:
    told = Told(CLIP.name, Outcome.SHORT_SILENT, SHORT, ())
    programs = ("archiverd", *(setup.name for setup in SETUPS))
    reports = tuple(
        Report(accident.name, program, (told,), ("camera/x.mp4.unmanic.part",), goes_on=False)
        for program in programs
        for accident in ACCIDENTS
    )
    machine = {"ffmpeg": "ffmpeg 5.1", "python": "3.11", "kernel": "6.1", "cores": "2", "commit": "abc"}

    text = page(Result("2026-06-30T08:15:00+00:00", machine, {"archiverd": "1"}, 150.0, reports))

    for accident in ACCIDENTS:
        cells = " | ".join(["archived cut short, not told"] * len(programs))
        assert f"| {accident.title} | {cells} |" in text
        assert accident.about in text
    row = "31 of 60 | gone | no | a file `*.unmanic.part` | no |"
    assert text.count(row) == len(reports)
    assert words(reports[0]) == "archived cut short, not told"


def test_of_two_runs_the_later_report_holds_and_the_others_stay() -> None:
    def ran(program: str, accident: str, goes_on: bool) -> Result:
        report = Report(accident, program, (Told(CLIP.name, Outcome.WHOLE, WHOLE, ()),), (), goes_on)
        return Result("2026-06-30T08:15:00+00:00", {}, {program: "1"}, 150.0, (report,))

    late = ran("archiverd", "slow", True)
    result = merged(
        [ran("Unmanic", "slow", True), ran("archiverd", "slow", False), ran("archiverd", "killed", True), late]
    )

    assert [(each.program, each.accident, each.goes_on) for each in result.reports] == [
        ("archiverd", "slow", True), ("archiverd", "killed", True), ("Unmanic", "slow", True),
    ]  # fmt: skip


def test_kept_result_is_read_again_as_it_was(tmp_path: Path) -> None:
    report = Report("slow", "archiverd", (Told(CLIP.name, Outcome.WHOLE, WHOLE, ("log: x",)),), ("a.part",), False)
    result = Result("2026-06-30T08:15:00+00:00", {"cores": "2"}, {"archiverd": "1"}, 150.0, (report,))

    assert kept(command.keep("accidents", result, tmp_path)) == result


@pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda accident: accident.name)
def test_accident_is_told_in_two_sentences(accident: object) -> None:
    about = str(getattr(accident, "about", ""))

    assert about.endswith(".")
    assert about.count(". ") == 1
