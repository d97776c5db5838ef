"""What the soak says of what it saw."""

from __future__ import annotations

import random

import pytest

from bench.command import BenchError
from bench.soak import Look, Trend, Verdict, judged, slope_verdict, warm

NOISE_MIB = 0.2


def line(per_hour: float, minutes: int, noise: float = 0.0) -> Trend:
    """Of a value a minute, by a noise that is always the same."""
    chance = random.Random(1)
    points = [(60.0 * at, 50 + per_hour * at / 60 + chance.gauss(0, noise)) for at in range(minutes)]
    return Trend.of(points)


def looks(minutes: float, **grows: float) -> list[Look]:
    """A look every five seconds; `grows` names what becomes how much more an hour, once the daemon is warm."""
    made = []
    for number in range(int(minutes * 12)):
        at_s, busy = 5.0 * number, number % 3
        warm_h = max(0.0, at_s - 20 * minutes) / 3600
        more = {name: by * warm_h for name, by in grows.items()}
        made.append(
            Look(
                at_s, min(60.0, 40 + at_s) + more.get("rss_mib", 0), int(19 + 9 * busy + more.get("fds", 0)),
                int(7 + more.get("threads", 0)), busy, 7000 + 3.0 * number + more.get("catalog_kib", 0), number, 10,
            )
        )  # fmt: skip
    return made


def verdicts(seen: list[Look], problems: tuple[str, ...] = (), left: int = 0) -> dict[str, Verdict]:
    return {figure.name: figure.verdict for figure in judged(seen, problems, left)}


def missed(seen: list[Look], problems: tuple[str, ...] = (), left: int = 0) -> set[str]:
    return {name for name, verdict in verdicts(seen, problems, left).items() if verdict is not Verdict.MET}


def test_trend_is_the_line_through_what_was_seen() -> None:
    trend = line(6.0, 31)

    assert (trend.start, trend.end) == pytest.approx((50.0, 53.0))
    assert (trend.per_hour, trend.error) == pytest.approx((6.0, 0.0), abs=1e-6)


def test_trend_of_noise_is_none_within_its_error() -> None:
    trend = line(0.0, 60, NOISE_MIB)

    assert abs(trend.per_hour) < 2 * trend.error < 1.0


@pytest.mark.parametrize(
    ("trend", "verdict"),
    [
        pytest.param(line(0.0, 60), Verdict.MET, id="flat"),
        pytest.param(line(-5.0, 60), Verdict.MET, id="it becomes less"),
        pytest.param(line(0.0, 60, NOISE_MIB), Verdict.MET, id="flat but for noise"),
        pytest.param(line(5.0, 60, NOISE_MIB), Verdict.MISSED, id="it grows"),
        pytest.param(line(2.1, 60), Verdict.MISSED, id="it grows a little too fast"),
        pytest.param(line(0.0, 12, 5 * NOISE_MIB), Verdict.UNCLEAR, id="flat, but who knows"),
        pytest.param(line(5.0, 12, 5 * NOISE_MIB), Verdict.UNCLEAR, id="it grows, but who knows"),
    ],
)
def test_slope_is_held_against_its_bound_and_its_error(trend: Trend, verdict: Verdict) -> None:
    assert slope_verdict(trend, 2.0) is verdict


def test_daemon_that_stays_as_it_is_misses_nothing() -> None:
    assert missed(looks(20)) == set()


@pytest.mark.parametrize(
    ("grows", "figure"),
    [
        ({"rss_mib": 10.0}, "RSS, MiB"),
        ({"fds": 20.0}, "descriptors"),
        ({"threads": 10.0}, "threads"),
        ({"catalog_kib": 10_000.0}, "catalog, KiB"),
    ],
)
def test_what_grows_is_missed_and_nothing_else(grows: dict[str, float], figure: str) -> None:
    assert missed(looks(20, **grows)) == {figure}


def test_what_comes_and_goes_with_each_job_is_no_growth() -> None:
    busy_at_the_end = [*looks(20)[:-6], *(look for look in looks(20)[-6:] if look.children)]

    assert missed(busy_at_the_end) == set()


def test_problem_and_an_upload_without_an_archive_are_missed() -> None:
    assert missed(looks(20), ("the disk is full",)) == {"problems"}
    assert missed(looks(20), left=1) == {"not archived"}


def test_time_in_which_the_daemon_becomes_warm_is_left_out() -> None:
    assert {span.rss_mib for span in warm(looks(20))} == {60.0}


def test_run_of_which_nothing_is_left_after_the_warm_up_says_so() -> None:
    with pytest.raises(BenchError, match="are too few"):
        warm(looks(2))
