"""Making a model faster or smaller: what is asked for, what is tried, and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median_low

from control_plane.domain.statistics import Interval, Rounds, quantile, ratio_of_medians


class Level(StrEnum):
    """How much is tried (contract 2.6); each level tries all that those before it do. `converters/levels` says what."""

    BASIC = "basic"
    ADVANCED = "advanced"
    EXPERT = "expert"
    MASTER = "master"
    LEGENDARY = "legendary"
    TRANSCENDENT = "transcendent"
    DIVINE = "divine"
    OMNIPOTENT = "omnipotent"
    INFINITE = "infinite"
    ULTIMATE = "ultimate"
    ABSOLUTE = "absolute"
    PERFECT = "perfect"


class Objective(StrEnum):
    """What is to be better than the baseline's."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MEMORY = "memory"


class Deploy(StrEnum):
    """What is done with the revision that an optimization has made."""

    NONE = "none"
    LOAD = "load"
    CANARY = "canary"
    PROMOTE = "promote"


class Outcome(StrEnum):
    """How a candidate ended."""

    APPLIED = "applied"  # made, measured, and accurate enough
    REJECTED = "rejected"  # not accurate enough, or it could not be made or served
    SKIPPED = "skipped"  # not tried: hardware, software or time is missing


BASELINE = "baseline"  # candidate 0, the untouched model


@dataclass(frozen=True, slots=True)
class OptimizationOptions:
    """What a caller may say (contract 2.6).

    `min_accuracy` None: the level's. `recipes` empty: all candidates of the level, else those of these names.
    `eval_data`: a file below the import root. `baseline`: a reference; None: the model in full precision.
    Units: seconds, milliseconds, tokens; `concurrency` requests at a time when throughput is measured.
    """

    level: Level
    min_accuracy: float | None = None
    time_budget_s: float = 300.0
    objective: Objective = Objective.LATENCY
    eval_data: str | None = None
    batch_size: int = 1
    sequence_length: int = 32
    recipes: tuple[str, ...] = ()
    deploy: Deploy = Deploy.LOAD
    slo_p99_ms: float | None = None
    baseline: str | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How alike a candidate and the baseline answer on inputs that nothing was tuned on (contract 0.4).

    `value` is 0..1. `data` says what the inputs were. `extra`: other measures, as perplexity_ratio.
    """

    metric: str
    value: float
    samples: int
    data: str
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def is_low_evidence(self) -> bool:
        return self.samples < EVIDENCE_MIN


EVIDENCE_MIN = 100


@dataclass(frozen=True, slots=True)
class Serving:
    """One model in a scratch Triton, as it was measured.

    Units: seconds; `throughput` items (rows, or generated tokens of a text model) a second at `concurrency` requests
    at a time; bytes. `pss_bytes` is the proportional set size of its processes after warm-up, None where unknown.
    """

    latency_p50_s: float
    latency_p95_s: float
    throughput: float
    concurrency: int
    size_bytes: int
    pss_bytes: int | None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate beside the baseline, measured in turns on the same machine, inputs and Triton.

    `latency`: seconds of each request by round; `rate`: items a second of each window by round. `speedup` and
    `throughput_ratio` are above 1 where the candidate is better.
    """

    baseline: Serving
    candidate: Serving
    latency: Rounds
    rate: Rounds
    speedup: Interval
    throughput_ratio: Interval

    @property
    def memory_reduction(self) -> float | None:
        """1 - PSS(candidate) / PSS(baseline); None where either is unknown."""
        ours, theirs = self.candidate.pss_bytes, self.baseline.pss_bytes
        return None if not ours or not theirs else 1 - ours / theirs

    @property
    def artifact_reduction(self) -> float:
        return 1 - self.candidate.size_bytes / max(1, self.baseline.size_bytes)


def gain(comparison: Comparison, objective: Objective) -> Interval:
    """How much better than the baseline by the objective: above 1 is better."""
    match objective:
        case Objective.LATENCY:
            return comparison.speedup
        case Objective.THROUGHPUT:
            return comparison.throughput_ratio
        case Objective.MEMORY:
            ours, theirs = comparison.candidate.pss_bytes, comparison.baseline.pss_bytes
            ratio = theirs / ours if ours and theirs else 1.0
            return Interval(ratio, ratio, ratio, ratio)  # read, not sampled


def pooled(comparisons: Sequence[Comparison]) -> Comparison:
    """Several comparisons of the same two as one: figures of all rounds together, the median of memory.

    The intervals tell also of how much the comparisons differ.
    """
    if len(comparisons) == 1:
        return comparisons[0]
    latency = _together([one.latency for one in comparisons])
    rate = _together([one.rate for one in comparisons])
    return Comparison(
        _overall([one.baseline for one in comparisons], latency.baseline, rate.baseline),
        _overall([one.candidate for one in comparisons], latency.candidate, rate.candidate),
        latency=latency,
        rate=rate,
        speedup=ratio_of_medians(
            latency.baseline, latency.candidate, parts=[len(one.latency.baseline) for one in comparisons]
        ),
        throughput_ratio=ratio_of_medians(
            rate.candidate, rate.baseline, parts=[len(one.rate.baseline) for one in comparisons]
        ),
    )


def _overall(
    servings: Sequence[Serving], latency: Sequence[Sequence[float]], rate: Sequence[Sequence[float]]
) -> Serving:
    last, seconds = servings[-1], [one for turn in latency for one in turn]
    p50_s, tokens_per_second = quantile(seconds, 0.5), last.tokens_per_second
    memory = [one.pss_bytes for one in servings if one.pss_bytes is not None]
    return replace(
        last,
        pss_bytes=median_low(memory) if memory else None,
        latency_p50_s=p50_s,
        latency_p95_s=quantile(seconds, 0.95),
        throughput=quantile([one for turn in rate for one in turn], 0.5),
        tokens_per_second=None if tokens_per_second is None else tokens_per_second * last.latency_p50_s / p50_s,
    )


def _together(parts: Sequence[Rounds]) -> Rounds:
    """As many values of each round as all have."""
    count = min(len(one) for rounds in parts for one in (*rounds.baseline, *rounds.candidate))
    sides = [
        tuple(one[:count] for rounds in parts for one in getattr(rounds, side)) for side in ("baseline", "candidate")
    ]
    return Rounds(*sides)
