"""Sliding windows: never more than the limit in view, a wait that is true, and nothing kept of who has left."""

from __future__ import annotations

import random

import pytest

from control_plane.domain.limits import Quota, Rate
from control_plane.edge.windows import LOG_LIMIT_MAX, WindowCounter, WindowLog, window_of

Kind = type[WindowLog] | type[WindowCounter]
KINDS = (WindowLog, WindowCounter)
BEGAN_S = 1_800_000_000.0  # a multiple of every window below


def test_small_limits_are_exact_and_large_ones_are_counted() -> None:
    assert isinstance(window_of(Rate(LOG_LIMIT_MAX, 60)), WindowLog)
    assert isinstance(window_of(Rate(LOG_LIMIT_MAX + 1, 60)), WindowCounter)


@pytest.mark.parametrize("kind", KINDS)
def test_each_request_leaves_one_less_until_there_is_nothing_left(kind: Kind) -> None:
    window = kind(Rate(3, 60))
    left = [window.take("a", BEGAN_S + second) for second in range(5)]
    assert [quota.remaining if quota else None for quota in left] == [2, 1, 0, None, None]
    assert all(quota.limit == 3 for quota in left if quota)


@pytest.mark.parametrize("kind", KINDS)
def test_callers_do_not_share(kind: Kind) -> None:
    window = kind(Rate(1, 60))
    assert window.take("a", BEGAN_S)
    assert window.take("b", BEGAN_S)
    assert window.take("a", BEGAN_S + 1) is None


def test_a_log_agrees_with_counting_all_requests_again() -> None:
    chance = random.Random(7)
    window, limit, window_s = WindowLog(Rate(5, 10)), 5, 10
    taken: list[float] = []
    now_s = BEGAN_S
    for _ in range(2000):
        now_s += chance.expovariate(0.7)
        in_view = [at_s for at_s in taken if now_s - window_s < at_s <= now_s]
        quota = window.take("a", now_s)
        assert (quota is None) == (len(in_view) >= limit)
        if quota is not None:
            taken.append(now_s)
            assert quota.remaining == limit - len(in_view) - 1


def test_counts_never_let_through_twice_the_limit_and_are_exact_for_an_even_load() -> None:
    window, limit, window_s = WindowCounter(Rate(60, 60)), 60, 60
    taken = [at_s for tenth in range(6000) if window.take("a", at_s := BEGAN_S + tenth / 10)]
    for end_s in taken:
        assert sum(end_s - window_s < at_s <= end_s for at_s in taken) < 2 * limit
    assert len(taken) / 10 == pytest.approx(60, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(20))
def test_after_the_wait_one_request_has_room_and_a_moment_before_it_none(kind: Kind, seed: int) -> None:
    chance = random.Random(seed)
    window = kind(Rate(chance.randint(1, 50), 60))
    now_s = BEGAN_S + chance.uniform(0, 60)
    for _ in range(3):
        while window.take("a", now_s):
            now_s += chance.uniform(0, 2)
        wait_s = window.wait_s("a", now_s)
        assert 0 < wait_s <= 120
        if wait_s > 0.01:
            assert window.take("a", now_s + wait_s - 0.005) is None
        now_s += wait_s + 1e-6  # seconds of an epoch are floats: the last digit may round down
        assert window.take("a", now_s)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_reset_the_whole_bucket_is_free(kind: Kind) -> None:
    window = kind(Rate(4, 60))
    for second in (1.5, 20.5, 59.5):
        quota = window.take("a", BEGAN_S + second)
    assert quota is not None
    assert window.left("a", BEGAN_S + 59.5) == quota
    assert window.left("a", quota.reset_at_s) == Quota(4, 4, quota.reset_at_s)


def test_a_log_is_reset_when_its_last_request_leaves_the_window() -> None:
    window = WindowLog(Rate(4, 60))
    window.take("a", BEGAN_S + 1.25)
    assert window.take("a", BEGAN_S + 20.25) == Quota(4, 2, int(BEGAN_S) + 81)
    assert window.left("a", BEGAN_S + 80).remaining == 3
    assert window.left("nobody", BEGAN_S + 0.5) == Quota(4, 4, int(BEGAN_S) + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_given_back_can_be_taken_again(kind: Kind) -> None:
    window = kind(Rate(2, 60))
    for second in (1, 2):
        window.take("a", BEGAN_S + second)
    window.give_back("a", BEGAN_S + 1)
    assert window.left("a", BEGAN_S + 3).remaining == 1
    window.give_back("nobody", BEGAN_S)
    assert window.take("a", BEGAN_S + 3)
    assert window.take("a", BEGAN_S + 4) is None


def test_a_request_that_has_left_the_window_gives_nothing_back() -> None:
    window = WindowLog(Rate(1, 60))
    window.take("a", BEGAN_S)
    assert window.take("a", BEGAN_S + 61)
    window.give_back("a", BEGAN_S)
    assert window.take("a", BEGAN_S + 62) is None


@pytest.mark.parametrize("kind", KINDS)
def test_callers_who_stay_away_are_forgotten(kind: Kind) -> None:
    window = kind(Rate(10, 60))
    for number in range(1000):
        window.take(f"once-{number}", BEGAN_S + number / 1000)
    assert window.callers == 1000
    for second in range(600):
        window.take("busy", BEGAN_S + 200 + second * 10)
    assert window.callers == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_of_callers_leaves_no_more_than_came_within_two_windows(kind: Kind) -> None:
    window = kind(Rate(10, 60))
    for number in range(20_000):
        window.take(f"once-{number}", BEGAN_S + number / 10)
    assert window.callers <= 2 * 60 * 10 + 2
