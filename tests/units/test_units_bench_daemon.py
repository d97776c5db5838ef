"""The arithmetic of the benches of the daemon."""

from __future__ import annotations

import os
import time

import pytest

from bench import daemon
from bench.daemon import Use
from bench.idle import between
from bench.latency import Spread


@pytest.mark.parametrize(
    ("latencies_ms", "spread"),
    [
        pytest.param(range(1, 101), Spread(50, 95, 100), id="a hundred"),
        pytest.param(range(20, 0, -1), Spread(10, 19, 20), id="in any order"),
        pytest.param([7], Spread(7, 7, 7), id="one"),
    ],
)
def test_spread_is_of_the_nearest_rank(latencies_ms: range | list[int], spread: Spread) -> None:
    found = Spread.of([latency / 1000 for latency in latencies_ms])
    assert (found.p50, found.p95, found.most) == pytest.approx((spread.p50, spread.p95, spread.most))


def test_use_between_two_moments_is_a_share_of_one_core() -> None:
    measured = between("it", Use(10.0, 50.0, 60.0), Use(10.3, 51.0, 61.0), 60.0, ready_s=1.5)
    assert (measured.cpu_percent, measured.rss_mib, measured.most_rss_mib) == pytest.approx((0.5, 51.0, 61.0))
    assert (measured.ready_s, measured.calm_s) == (1.5, None)


def test_use_of_this_process_grows_with_what_it_does() -> None:
    before, until = daemon.use_of(os.getpid()), time.process_time() + 0.1
    while time.process_time() < until:
        pass
    after = daemon.use_of(os.getpid())
    assert after.cpu_s - before.cpu_s >= 0.08
    assert 5 < after.rss_mib <= after.most_rss_mib < 1000


def test_a_figure_that_is_not_below_its_target_is_missed() -> None:
    assert daemon.met(49.9, 50, "ms").endswith("met")
    assert daemon.met(50, 50, "ms").endswith("MISSED")
