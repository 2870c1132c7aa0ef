"""Adding up what was done, and which rollups tell of a period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.rollups import Period, Work, kept_for_questions, kept_in_store, period

NOON = datetime(2026, 11, 21, 12, 0, 30, 250_000, tzinfo=UTC)
NOW_S = NOON.timestamp()
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def at(hour: int, minute: int = 0, second: int = 0) -> int:
    return int(datetime(2026, 11, 21, hour, minute, second, tzinfo=UTC).timestamp())


OUTCOMES = st.lists(st.tuples(st.floats(1e-5, 100), st.integers(0, 50), st.booleans()), max_size=30)


def work_of(outcomes: list[tuple[float, int, bool]]) -> Work:
    work = Work()
    for took_s, tokens, is_well in outcomes:
        (work.succeeded if is_well else work.failed)(took_s, tokens)
    return work


@given(OUTCOMES, OUTCOMES)
def test_two_works_added_are_the_work_of_both(
    one: list[tuple[float, int, bool]], other: list[tuple[float, int, bool]]
) -> None:
    total, both = work_of(one), work_of(one + other)
    total.add(work_of(other))
    assert (total.count, total.successes, total.tokens, total.durations) == (
        both.count, both.successes, both.tokens, both.durations,
    )  # fmt: skip
    assert total.average_s == pytest.approx(both.average_s)
    assert total.tokens_per_s == pytest.approx(both.tokens_per_s)


def test_rates_are_of_all_inferences_and_times_of_those_that_succeeded() -> None:
    work = work_of([(1.0, 0, True), (3.0, 0, True), (99.0, 0, False)])
    assert (work.success_rate, work.error_rate) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert work.average_s == 2.0
    assert work.percentile_s(50) == pytest.approx(1.0, rel=0.05)
    assert work.percentile_s(99) == pytest.approx(3.0, rel=0.05)


def test_tokens_per_second_count_the_time_that_gave_tokens_failed_or_not() -> None:
    assert work_of([(2.0, 10, True), (1.0, 5, False), (50.0, 0, True), (50.0, 0, False)]).tokens_per_s == 5.0


def test_nothing_done_has_no_rates_and_no_times() -> None:
    work = Work()
    assert work.count == 0
    assert {work.success_rate, work.error_rate, work.average_s, work.tokens_per_s, work.average_queue_s} == {None}
    assert {work.percentile_s(percent) for percent in (50, 95, 99)} == {None}


def test_a_day_is_told_by_minutes_and_its_last_hour_by_seconds() -> None:
    minutes, seconds = Period(NOON - timedelta(hours=24), NOON).rollups(LONG_AGO, NOW_S)
    assert (minutes.start, minutes.stop) == (at(12) - 86_400, at(11))
    assert (seconds.start, seconds.stop) == (at(11), at(12, 0, 31))


def test_a_period_within_the_last_hour_needs_no_minutes() -> None:
    minutes, seconds = Period(NOON - timedelta(seconds=10), NOON).rollups(LONG_AGO, NOW_S)
    assert list(minutes) == []
    assert (seconds.start, seconds.stop) == (at(12, 0, 20), at(12, 0, 31))


def test_a_period_of_yesterday_needs_no_seconds_and_has_whole_minutes() -> None:
    day = timedelta(days=1)
    start, end = (datetime(2026, 11, 20, 9, 30, second, tzinfo=UTC) for second in (20, 50))
    minutes, seconds = Period(start, end).rollups(LONG_AGO, NOW_S)
    assert at(9, 30) - day.total_seconds() in minutes
    assert at(9, 31) - day.total_seconds() not in minutes
    assert list(seconds) == []


def test_what_was_before_the_model_and_before_7_days_is_left_out() -> None:
    everything = Period(LONG_AGO, NOON)
    minutes, _ = everything.rollups(LONG_AGO, NOW_S)
    assert minutes.start == at(12) - 7 * 86_400
    minutes, seconds = everything.rollups(NOON - timedelta(minutes=2), NOW_S)
    assert list(minutes) == []
    assert seconds.start == at(11, 58, 30)


@given(st.floats(min_value=1e9, max_value=1e10))
def test_the_store_keeps_what_a_question_may_still_count_on(now_s: float) -> None:
    asked, later = kept_for_questions(now_s), kept_in_store(now_s + 30)
    assert later.seconds_from_s <= asked.seconds_from_s
    assert later.minutes_from_s <= asked.minutes_from_s


def test_a_period_is_the_last_24_hours_unless_said_otherwise() -> None:
    assert period(None, None, NOON) == Period(NOON - timedelta(hours=24), NOON)
    assert period(None, NOON - timedelta(days=3), NOON).start == NOON - timedelta(days=4)
    assert period(NOON - timedelta(days=3), None, NOON).end == NOON
    with pytest.raises(InvalidRequest, match="must not be after"):
        period(NOON + timedelta(seconds=1), None, NOON)


def test_a_day_before_the_first_day_of_the_calendar_is_that_day() -> None:
    first = datetime.min.replace(tzinfo=UTC)
    assert period(None, first, NOON) == Period(first, first)
    assert list(period(None, first, NOON).rollups(LONG_AGO, NOW_S)[0]) == []
