"""When work on a file may begin, when to look again, and when it is set aside."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiverd.policy.admission import Admitted, Look, Patience, Refused, Wait, admit, quiet_s, unsettled

PATIENCE = Patience(settle_s=60, quarantine_after_s=600)
GOOD = Look(quiet_s=60, being_written=False, fault="", has_video=True, open_ended=False)


@pytest.mark.parametrize(
    ("mtime_s", "seen_at", "quiet"),
    [
        pytest.param(900, 990, 100, id="written before it was seen: since it was written"),
        pytest.param(990, 900, 100, id="seen before it was written: since it was seen"),
        pytest.param(5000, 990, 10, id="written in the future: since it was seen"),
        pytest.param(900, 5000, 100, id="seen in the future: since it was written"),
        pytest.param(1000, 1000, 0, id="written now"),
        pytest.param(5000, 4000, -3000, id="both in the future: not yet"),
        pytest.param(-100, 1000, 1100, id="written before 1970"),
    ],
)
def test_quiet_time_is(mtime_s: float, seen_at: float, quiet: float) -> None:
    assert quiet_s(mtime_s, seen_at, now=1000) == quiet


@pytest.mark.parametrize(
    ("quiet", "expected"),
    [
        pytest.param(0, Wait("written 0 s ago, may still be uploading", 60), id="written now"),
        pytest.param(59.5, Wait("written 60 s ago, may still be uploading", 0.5), id="a moment before"),
        pytest.param(60, None, id="exactly settled"),
        pytest.param(61, None, id="longer"),
        pytest.param(-3000, Wait("written 0 s ago, may still be uploading", 60), id="in the future: no longer"),
    ],
)
def test_file_settles_after(quiet: float, expected: Wait | None) -> None:
    assert unsettled(quiet, PATIENCE) == expected


@pytest.mark.parametrize(("quiet", "settled"), [(0.0, True), (-1.0, False)], ids=["written now", "in the future"])
def test_file_without_settle_time_is_settled_at_once(quiet: float, settled: bool) -> None:
    assert (unsettled(quiet, Patience(0, 600)) is None) is settled


CUT = replace(GOOD, fault="no moov in 10 bytes")
SILENT_MOVIE = replace(GOOD, has_video=False)
ENDLESS = replace(GOOD, open_ended=True)
NOT_WHOLE = "not a whole clip: no moov in 10 bytes"
NOT_WHOLE_YET = "not a whole clip yet: no moov in 10 bytes"
FRAGMENTED = "fragmented without an index, may still be uploading"
UPLOADING = "written 59 s ago, may still be uploading"


@pytest.mark.parametrize(
    ("look", "decision"),
    [
        pytest.param(GOOD, Admitted(), id="whole and exactly settled"),
        pytest.param(replace(GOOD, being_written=None), Admitted(), id="whole, no telling who writes"),
        pytest.param(replace(GOOD, quiet_s=59), Wait(UPLOADING, 1), id="whole, not settled"),
        pytest.param(replace(GOOD, being_written=True), Wait("is being written", 60), id="being written"),
        pytest.param(
            replace(GOOD, being_written=True, quiet_s=9999),
            Wait("is being written", 60),
            id="written, whatever its times",
        ),
        pytest.param(
            replace(CUT, being_written=True, quiet_s=9999), Wait("is being written", 60), id="written and not whole"
        ),
        pytest.param(replace(CUT, quiet_s=59), Wait(UPLOADING, 1), id="not whole, not settled: the fault is no news"),
        pytest.param(CUT, Wait(NOT_WHOLE_YET, 60), id="not whole: looked at again after the settle time"),
        pytest.param(replace(CUT, quiet_s=570), Wait(NOT_WHOLE_YET, 30), id="not whole: at the latest when it is up"),
        pytest.param(replace(CUT, quiet_s=599.5), Wait(NOT_WHOLE_YET, 0.5), id="not whole, a moment before it is up"),
        pytest.param(replace(CUT, quiet_s=600), Refused(NOT_WHOLE), id="not whole for exactly so long"),
        pytest.param(replace(CUT, quiet_s=601), Refused(NOT_WHOLE), id="not whole for longer"),
        pytest.param(
            SILENT_MOVIE, Wait("not a whole clip yet: it has no video track", 60), id="no video: that may come yet"
        ),
        pytest.param(
            replace(SILENT_MOVIE, quiet_s=600),
            Refused("not a whole clip: it has no video track"),
            id="no video for long",
        ),
        pytest.param(
            replace(SILENT_MOVIE, fault=CUT.fault, quiet_s=600),
            Refused(NOT_WHOLE),
            id="the fault says more than no video",
        ),
        pytest.param(ENDLESS, Wait(FRAGMENTED, 540), id="no index: more fragments may come"),
        pytest.param(replace(ENDLESS, quiet_s=599.5), Wait(FRAGMENTED, 0.5), id="no index, a moment before it is up"),
        pytest.param(replace(ENDLESS, quiet_s=600), Admitted(), id="no index, quiet for exactly so long"),
        pytest.param(
            replace(ENDLESS, fault=CUT.fault, quiet_s=600), Refused(NOT_WHOLE), id="no index and not whole for long"
        ),
    ],
)
def test_file_is(look: Look, decision: Admitted | Wait | Refused) -> None:
    assert admit(look, PATIENCE) == decision


def test_file_that_would_be_refused_before_it_settles_waits_to_settle() -> None:
    look = replace(CUT, quiet_s=20)
    assert admit(look, Patience(settle_s=60, quarantine_after_s=10)) == Wait(
        "written 20 s ago, may still be uploading", 40
    )


seconds = st.floats(-1e10, 1e10)
looks = st.builds(
    Look, seconds, st.sampled_from([True, False, None]), st.sampled_from(["", "a fault"]), st.booleans(), st.booleans()
)
patiences = st.builds(Patience, st.floats(0, 1e6), st.floats(0.001, 1e6))


@given(looks, patiences)
def test_admitted_is_only_what_is_whole_quiet_and_not_written(look: Look, patience: Patience) -> None:
    if admit(look, patience) == Admitted():
        assert (look.fault, look.has_video, bool(look.being_written)) == ("", True, False)
        assert look.quiet_s >= patience.settle_s


@given(looks, patiences)
def test_refused_is_only_what_is_not_whole_for_long(look: Look, patience: Patience) -> None:
    if isinstance(admit(look, patience), Refused):
        assert look.fault or not look.has_video
        assert look.quiet_s >= patience.quarantine_after_s


@given(looks, patiences)
def test_wait_is_never_longer_than_the_patience(look: Look, patience: Patience) -> None:
    decision = admit(look, patience)
    if isinstance(decision, Wait):
        assert 0 <= decision.for_s <= max(patience.settle_s, patience.quarantine_after_s, 60)
