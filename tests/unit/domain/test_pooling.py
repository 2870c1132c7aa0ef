"""Several comparisons of the same two models, told as one."""

from __future__ import annotations

import pytest

from control_plane.domain.optimization import Comparison, Serving, pooled
from control_plane.domain.statistics import Rounds, quantile, ratio_of_medians

ROUNDS = 6
TOKENS = 16


def compared(baseline_s: float, candidate_s: float) -> Comparison:
    latency = Rounds(((baseline_s,) * 3,) * ROUNDS, ((candidate_s,) * 3,) * ROUNDS)
    rate = Rounds(((1 / baseline_s,),) * ROUNDS, ((1 / candidate_s,),) * ROUNDS)
    return Comparison(
        serving(baseline_s),
        serving(candidate_s),
        latency,
        rate,
        ratio_of_medians(latency.baseline, latency.candidate),
        ratio_of_medians(rate.candidate, rate.baseline),
    )


def serving(took_s: float) -> Serving:
    return Serving(took_s, took_s, 1 / took_s, 8, 1000, 5000, TOKENS / took_s)


def test_latencies_and_ratios_of_several_repeats_are_of_the_same_samples() -> None:
    whole = pooled([compared(0.2, 0.1), compared(0.3, 0.1), compared(0.4, 0.2)])
    assert whole.latency.samples == 3 * 3 * ROUNDS
    assert whole.baseline.latency_p50_s == pytest.approx(0.3)
    assert whole.candidate.latency_p50_s == pytest.approx(0.1)
    assert whole.speedup.value == pytest.approx(whole.baseline.latency_p50_s / whole.candidate.latency_p50_s)
    assert whole.throughput_ratio.value == pytest.approx(whole.candidate.throughput / whole.baseline.throughput)
    assert whole.candidate.latency_p95_s == quantile([one for turn in whole.latency.candidate for one in turn], 0.95)
    assert whole.candidate.tokens_per_second == pytest.approx(TOKENS / whole.candidate.latency_p50_s)


def test_one_comparison_stays_as_it_is() -> None:
    one = compared(0.2, 0.1)
    assert pooled([one]) is one


def test_comparisons_that_differ_are_less_certain_than_their_rounds() -> None:
    """Each of them is exact, and so is what only all rounds together would say of twice as fast, or of as fast."""
    even, odd = pooled([compared(0.2, 0.1)] * 5), pooled([compared(0.2, one) for one in (0.1, 0.1, 0.1, 0.2, 0.2)])
    assert (even.speedup.low, even.speedup.low_999) == (pytest.approx(2), pytest.approx(2))
    assert odd.speedup.value == pytest.approx(2)
    assert odd.speedup.low < 1.5
    assert odd.throughput_ratio.low_999 < odd.throughput_ratio.low < 1.5
