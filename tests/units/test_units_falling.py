"""When a rung rests, and for how long; and how that is kept."""

from __future__ import annotations

import pytest

from archiverd.policy.falling import (
    FAILURES,
    LONGEST_REST_S,
    Breaker,
    Fall,
    Footing,
    Standing,
    Standings,
    rungs_for,
    standings_json,
)
from archiverd.policy.rungs import Kind, Rung

NOW = 1000.0
REST_S = 600.0


def failed(times: int, breaker: Breaker = Breaker()) -> Breaker:  # noqa: B008  (frozen)
    for _ in range(times):
        breaker = breaker.failed("it hangs", "look", NOW, REST_S)
    return breaker


@pytest.mark.parametrize(
    ("hardware", "rungs"),
    [
        ("auto", (Rung.QSV, Rung.QSV_ENCODE, Rung.VAAPI, Rung.SOFTWARE)),
        ("qsv", (Rung.QSV, Rung.QSV_ENCODE)),
        ("vaapi", (Rung.VAAPI,)),
        ("software", (Rung.SOFTWARE,)),
    ],
)
def test_setting_allows_its_own_rungs_and_no_other(hardware: str, rungs: tuple[Rung, ...]) -> None:
    assert rungs_for(hardware) == rungs


def test_rung_is_used_until_it_failed_often_enough_in_a_row() -> None:
    assert not failed(FAILURES - 1).rests(NOW)
    assert failed(FAILURES).rests(NOW)


def test_rest_lasts_as_long_as_was_said() -> None:
    resting = failed(FAILURES)
    assert resting.rests(NOW + REST_S - 1)
    assert not resting.rests(NOW + REST_S)
    assert (resting.reason, resting.remedy) == ("it hangs", "look")


def test_rest_is_over_where_the_clock_was_set_back() -> None:
    assert not failed(FAILURES).rests(NOW - 1)


def test_rung_on_trial_rests_twice_as_long_after_one_failure() -> None:
    on_trial = failed(FAILURES).on_trial()
    assert not on_trial.rests(NOW)
    again = failed(1, on_trial)
    assert again.rests(NOW + 2 * REST_S - 1)
    assert not again.rests(NOW + 2 * REST_S)


def test_rest_is_never_longer_than_six_hours() -> None:
    breaker = failed(FAILURES)
    for _ in range(20):
        breaker = breaker.opened("it hangs", "look", NOW, REST_S)
    assert breaker.rests_until == NOW + LONGEST_REST_S


def test_longer_rest_that_was_asked_for_is_kept() -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker = breaker.opened("it hangs", "look", NOW, 2 * LONGEST_REST_S)
        assert breaker.rests_until == NOW + 2 * LONGEST_REST_S


def test_fall_in_words() -> None:
    assert str(Fall(Rung.QSV_ENCODE, "it hangs")) == "qsv-encode: it hangs"


LEFT = Standings(
    "a machine",
    (
        Standing(Rung.QSV, Kind.HEVC_10, Footing.RESTS, "/dev/dri/renderD128", failed(FAILURES)),
        Standing(
            Rung.VAAPI, Kind.H264, Footing.UNUSABLE, "", Breaker(reason="there is no driver", remedy="install it")
        ),
        Standing(Rung.SOFTWARE, None, Footing.UNTRIED),
    ),
)


def test_standings_survive_the_catalog() -> None:
    assert Standings.from_text(LEFT.to_text()) == LEFT


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[1]", "7", "{}", '{"machine": "b"}', '{"machine": "b", "rungs": [{"rung": "cuda"}]}',
     '{"machine": "b", "rungs": [{"rung": "qsv", "kind": null, "footing": "used", "device": "", "breaker": {"x": 1}}]}',
     LEFT.to_text().replace("600.0", '"soon"')],
)  # fmt: skip
def test_standings_that_make_no_sense_are_none(text: str | None) -> None:
    assert Standings.from_text(text) == Standings()


def test_standings_for_programs_say_why_and_until_when() -> None:
    qsv, vaapi, software = standings_json(LEFT.rungs)
    assert qsv == {
        "rung": "qsv", "footage": "hevc 10-bit", "footing": "rests", "device": "/dev/dri/renderD128",
        "reason": "it hangs", "remedy": "look", "again_at": NOW + REST_S,
    }  # fmt: skip
    assert (vaapi["reason"], vaapi["remedy"], vaapi["again_at"]) == ("there is no driver", "install it", None)
    assert (software["footage"], software["reason"]) == (None, "")


def test_rung_that_is_used_has_no_reason_not_to_be() -> None:
    assert Standing(Rung.QSV, Kind.H264, Footing.USED, breaker=failed(1)).reason == ""


def test_standing_in_words() -> None:
    assert str(LEFT.rungs[0]) == "qsv on /dev/dri/renderD128: rests, it hangs"
    assert str(LEFT.rungs[2]) == "software: not tried"
