"""What an optimization says of itself: the result that routes show, and the evidence that a revision carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from control_plane.domain.jobs import JsonObject
from control_plane.domain.optimization import BASELINE, Comparison, Serving
from control_plane.domain.optimization_records import Tried

SCHEMA = 1
TOOL = "tritonplane, in turns over gRPC to a Triton of its own"


@dataclass(frozen=True, slots=True)
class Final:
    """A finalist, measured again on fresh samples; `stands`: it is better than the baseline for certain."""

    name: str
    comparison: Comparison
    stands: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found. `tried`: the baseline first. `winner` None: the baseline is best."""

    tried: Sequence[Tried]
    finals: Sequence[Final]
    winner: Tried | None
    machine: Mapping[str, object]
    tools: Mapping[str, object]
    searches: Mapping[str, object]

    @property
    def baseline(self) -> Tried:
        return self.tried[0]

    @property
    def decisive(self) -> Comparison:
        """What the figures of the result come from: the winner's fresh samples, or the baseline beside itself."""
        if self.winner is not None:
            return next(final.comparison for final in self.finals if final.name == self.winner.name)
        assert self.baseline.comparison is not None
        return self.baseline.comparison


def result_of(findings: Findings, model: str, published: int | None) -> JsonObject:
    """Contract T-REST-13, beside what every job has."""
    winner, decisive = findings.winner, findings.decisive
    shown = winner or findings.baseline
    accuracy = shown.accuracy
    result: JsonObject = {
        "optimized_revision": published,
        "optimized_model_id": None if published is None else f"{model}:{published}",
        "performance_metrics": performance_metrics(findings),
        "baseline": _serving(decisive.baseline),
        "optimized": None if winner is None else _serving(decisive.candidate),
        "recipes": [_recipe(one) for one in findings.tried],
        "chosen_recipe": BASELINE if winner is None else winner.name,
        "accuracy": None
        if accuracy is None
        else {
            "metric": accuracy.metric,
            "samples": accuracy.samples,
            "value": accuracy.value,
            "low_evidence": accuracy.is_low_evidence,
            "data": accuracy.data,
        },
        "artifacts": [] if winner is None else list(winner.artifacts),
        "environment": {**findings.machine, "tool": TOOL},
    }
    return {**result, **findings.searches}


def performance_metrics(findings: Findings) -> JsonObject:
    """Of the winner over the baseline; a baseline that wins is 1.0 of itself, with the interval that noise has here."""
    decisive, winner = findings.decisive, findings.winner
    accuracy = (winner or findings.baseline).accuracy
    metrics: JsonObject = {
        "speedup": decisive.speedup.value if winner else 1.0,
        "speedup_ci_low": decisive.speedup.low,
        "speedup_ci_high": decisive.speedup.high,
        "throughput_ratio": decisive.throughput_ratio.value if winner else 1.0,
        "throughput_ratio_ci_low": decisive.throughput_ratio.low,
        "throughput_ratio_ci_high": decisive.throughput_ratio.high,
        "artifact_reduction": decisive.artifact_reduction if winner else 0.0,
        "samples": decisive.latency.samples,
    }
    memory = decisive.memory_reduction if winner else 0.0
    if memory is not None:
        metrics["memory_reduction"] = memory
    if accuracy is not None:
        metrics |= {"accuracy_preservation": accuracy.value, "n_eval": accuracy.samples, **accuracy.extra}
    return metrics


def evidence_of(findings: Findings, result: JsonObject, about: JsonObject) -> JsonObject:
    """Everything with its raw samples; `about`: whose evidence it is."""
    return {
        "schema": SCHEMA,
        **about,
        "result": result,
        "candidates": [_candidate(one) for one in findings.tried],
        "finals": [asdict(final) for final in findings.finals],
        "tools": dict(findings.tools),
        "machine": dict(findings.machine),
    }


def _serving(serving: Serving) -> JsonObject:
    return {
        "latency_p50_s": serving.latency_p50_s,
        "latency_p95_s": serving.latency_p95_s,
        "throughput": serving.throughput,
        "concurrency": serving.concurrency,
        "size_bytes": serving.size_bytes,
        "memory_bytes": serving.pss_bytes,
        "tokens_per_second": serving.tokens_per_second,
    }


def _recipe(tried: Tried) -> JsonObject:
    metrics: JsonObject = {}
    if tried.accuracy is not None:
        metrics |= {"accuracy": tried.accuracy.value, **tried.accuracy.extra}
    if tried.comparison is not None:
        comparison = tried.comparison
        metrics |= {
            "speedup": comparison.speedup.value,
            "speedup_ci_low": comparison.speedup.low,
            "speedup_ci_high": comparison.speedup.high,
            "throughput_ratio": comparison.throughput_ratio.value,
            "artifact_reduction": comparison.artifact_reduction,
        }
        if comparison.memory_reduction is not None:
            metrics["memory_reduction"] = comparison.memory_reduction
    return {
        "name": tried.name,
        "level": tried.level,
        "status": tried.outcome.value,
        "reason": tried.reason,
        "metrics": metrics,
    }


def _candidate(tried: Tried) -> JsonObject:
    fields = asdict(tried)
    return {
        "name": tried.name,
        "level": tried.level,
        "status": tried.outcome.value,
        "reason": tried.reason,
        "steps": fields["plan"],
        "settings": fields["settings"],
        "artifacts": fields["artifacts"],
        "accuracy": fields["accuracy"],
        "comparison": fields["comparison"],
    }
