"""Several comparisons of the same two models, told as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.domain.optimization import Comparison, Serving, pooled
from control_plane.domain.statistics import Rounds, quantile, ratio_of_medians

ROUNDS = 6
TOKENS = 16


def compared(baseline_s: float, candidate_s: float, rounds: int = ROUNDS, rate_rounds: int = ROUNDS) -> Comparison:
    latency = Rounds(((baseline_s,) * 3,) * rounds, ((candidate_s,) * 3,) * rounds)
    rate = Rounds(((1 / baseline_s,),) * rate_rounds, ((1 / candidate_s,),) * rate_rounds)
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


def test_comparisons_of_unequal_rounds_are_pooled_each_as_a_part_of_its_own() -> None:
    """A model whose requests take about as long as makes it slow has other rounds after one load than after another."""
    fast, slow = compared(0.4, 0.2), compared(0.6, 0.2, rounds=10, rate_rounds=5)
    whole = pooled([fast, slow])
    assert whole.latency.samples == 3 * 16
    assert len(whole.rate.candidate) == 11
    assert whole.speedup.low_999 < 1.02 < whole.speedup.value
    assert pooled([fast, compared(0.4, 0.2, rounds=10, rate_rounds=5)]).speedup.low_999 == pytest.approx(2)


def test_memory_is_the_median_of_all_that_is_known() -> None:
    def read(*pss: int | None) -> int | None:
        one = compared(0.2, 0.1)
        return pooled(
            [replace(one, candidate=replace(one.candidate, pss_bytes=each)) for each in pss]
        ).candidate.pss_bytes

    assert read(300, 900, 200, None) == 300
    assert read(None, None) is None
