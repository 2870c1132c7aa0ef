"""Optimizations that were never run: their figures are computed by the product's own code from made-up samples."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from functools import cache

from control_plane.domain.errors import DomainError
from control_plane.domain.jobs import JsonObject
from control_plane.domain.optimization import BASELINE, Accuracy, Comparison, Outcome, Serving
from control_plane.domain.optimization_records import Tried
from control_plane.domain.statistics import Rounds, quantile, ratio_of_medians
from control_plane.ports import Progress
from control_plane.services.evidence import Final, Findings, evidence_of, result_of
from control_plane.services.jobs import Run

HALF_AS_LONG, AS_LONG, LONGER = 0.5, 1.0, 1.6
_ROUNDS, _EACH = 12, 3
MACHINE: dict[str, object] = {
    "cpu": "A processor <of the tests>",
    "device": "cpu",
    "cores": 2,
    "memory_bytes": 8 * 2**30,
    "flags": ["avx2", "fma"],
}
ARTIFACT: JsonObject = {"path": "model.onnx", "size_bytes": 25_000, "sha256": "ab" * 32}


@cache  # every world asks for the same, and bootstrapping it takes 10 ms
def comparison(share: float, size_bytes: int, pss_bytes: int | None) -> Comparison:
    """A candidate that takes `share` of the baseline's time."""
    latency = Rounds(_samples(0.010, 0), _samples(0.010 * share, 1))
    rate = Rounds(_samples(100.0, 2), _samples(100.0 / share, 3))
    return Comparison(
        _serving(latency.baseline, rate.baseline, 100_000, 200_000_000),
        _serving(latency.candidate, rate.candidate, size_bytes, pss_bytes),
        latency,
        rate,
        ratio_of_medians(latency.baseline, latency.candidate),
        ratio_of_medians(rate.candidate, rate.baseline),
    )


def findings(*, baseline_wins: bool = False) -> Findings:
    """Four candidates: one twice as fast, one not accurate enough, one that needs a GPU, one slower."""
    baseline = Tried(
        BASELINE,
        BASELINE,
        Outcome.APPLIED,
        artifacts=({**ARTIFACT, "size_bytes": 100_000},),
        accuracy=_accuracy(1.0),
        comparison=comparison(AS_LONG, 100_000, 200_000_000),
    )
    fast = Tried(
        "int8-dynamic",
        "master",
        Outcome.APPLIED,
        plan=({"recipe": "onnx_dynamic_int8", "parameters": {"per_channel": True}},),
        settings={"instance_count": 1},
        artifacts=(ARTIFACT,),
        accuracy=_accuracy(0.9954),
        comparison=comparison(HALF_AS_LONG, 25_000, 120_000_000),
    )
    wrong = Tried(
        "weights-4bit",
        "divine",
        Outcome.REJECTED,
        reason="accuracy: cosine is 0.9312, below 0.99",
        accuracy=_accuracy(0.9312),
    )
    absent = Tried("tensorrt-fp16", "omnipotent", Outcome.SKIPPED, reason="requires_gpu: no NVIDIA GPU <here>")
    slow = Tried(
        "threads-1",
        "expert",
        Outcome.APPLIED,
        artifacts=baseline.artifacts,
        accuracy=_accuracy(1.0),
        comparison=comparison(LONGER, 100_000, None),
    )
    again = comparison(HALF_AS_LONG, 25_000, 120_000_000)
    finals = [Final(fast.name, again, stands=not baseline_wins, reason="it is noise" if baseline_wins else None)]
    winner = None if baseline_wins else fast
    return Findings([baseline, slow, fast, wrong, absent], finals, winner, MACHINE, {"onnxruntime": "1.20"}, {})


@dataclass
class StubOptimizing:
    """The workflow of an optimization without its work. It waits half-way for its `gate`, or raises `failure`."""

    findings: Findings = field(default_factory=findings)
    gate: asyncio.Event | None = None
    failure: DomainError | None = None
    half_way: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, run: Run) -> JsonObject:
        run.report(Progress(0.5, "measuring int8-dynamic beside the baseline"))
        await run.settled()
        self.half_way.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        result = result_of(self.findings, run.job.model, 2 if self.findings.winner else None)
        evidence = evidence_of(self.findings, result, about(run.job.id, run.job.model, run.job.parameters))
        (run.workspace / "evidence.json").write_text(json.dumps(evidence))
        return result


def about(optimization_id: str, model: str, options: JsonObject) -> JsonObject:
    return {"optimization_id": optimization_id, "model": model, "baseline_revision": 1, "options": options}


def told(optimization_id: str, model: str, *, baseline_wins: bool = False) -> tuple[JsonObject, JsonObject]:
    """A result and its evidence, as JSON that has travelled."""
    found = findings(baseline_wins=baseline_wins)
    result = result_of(found, model, 2 if found.winner else None)
    evidence = evidence_of(found, result, about(optimization_id, model, {"level": "divine", "min_accuracy": None}))
    travelled: tuple[JsonObject, JsonObject] = tuple(json.loads(json.dumps([result, evidence])))
    return travelled


def _samples(middle: float, seed: int) -> tuple[tuple[float, ...], ...]:
    """Rounds that scatter by up to 5 % around `middle`, the same each time."""
    steps = [(7 * position + 3 * seed) % 11 for position in range(_ROUNDS * _EACH)]
    values = [middle * (0.95 + 0.01 * step) for step in steps]
    return tuple(tuple(values[start : start + _EACH]) for start in range(0, len(values), _EACH))


def _serving(
    latency: tuple[tuple[float, ...], ...], rate: tuple[tuple[float, ...], ...], size_bytes: int, pss_bytes: int | None
) -> Serving:
    times = [value for values in latency for value in values]
    rates = [value for values in rate for value in values]
    return Serving(quantile(times, 0.5), quantile(times, 0.95), quantile(rates, 0.5), 8, size_bytes, pss_bytes)


def _accuracy(value: float) -> Accuracy:
    return Accuracy("cosine", value, 200, "the converter's own sentences", {"max_difference": 1 - value})
