"""What an optimization has measured as JSON, for a job's durable steps and its evidence, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Description, LoadOptions, description_from_json
from control_plane.domain.optimization import Accuracy, Comparison, Outcome, Serving
from control_plane.domain.statistics import Interval, Rounds


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate and what became of it.

    `plan`: every conversion step from `origin` (a folder of the job's workspace) on. `folder`: the model directory in
    the workspace that holds the result, `artifacts` its files. `settings`: fields of LoadOptions. None where the
    candidate did not get so far.
    """

    name: str
    level: str
    outcome: Outcome
    reason: str | None = None
    origin: str = ""
    plan: tuple[JsonObject, ...] = ()
    settings: JsonObject | None = None
    folder: str | None = None
    artifacts: tuple[JsonObject, ...] = ()
    description: Description | None = None
    accuracy: Accuracy | None = None
    comparison: Comparison | None = None

    @property
    def size_bytes(self) -> int:
        return sum(int(str(artifact["size_bytes"])) for artifact in self.artifacts)

    @property
    def artifacts_key(self) -> tuple[str, ...]:
        """Equal for candidates that are the same files."""
        return tuple(f"{artifact['sha256']} {artifact['path']}" for artifact in self.artifacts)

    @property
    def load_options(self) -> LoadOptions:
        return LoadOptions(**(self.settings or {}))  # type: ignore[arg-type]  # our own field names


def tried_to_json(tried: Tried) -> JsonObject:
    return asdict(tried)


def tried_from_json(fields: Mapping[str, Any]) -> Tried:
    """Of `tried_to_json`."""
    return Tried(
        **{
            **fields,
            "outcome": Outcome(fields["outcome"]),
            "plan": tuple(fields["plan"]),
            "artifacts": tuple(fields["artifacts"]),
            "description": None if fields["description"] is None else description_from_json(fields["description"]),
            "accuracy": None if fields["accuracy"] is None else Accuracy(**fields["accuracy"]),
            "comparison": None if fields["comparison"] is None else comparison_from_json(fields["comparison"]),
        }
    )


def comparison_from_json(fields: Mapping[str, Any]) -> Comparison:
    """Of `dataclasses.asdict`."""
    return Comparison(
        Serving(**fields["baseline"]),
        Serving(**fields["candidate"]),
        _rounds(fields["latency"]),
        _rounds(fields["rate"]),
        Interval(**fields["speedup"]),
        Interval(**fields["throughput_ratio"]),
    )


def _rounds(fields: Mapping[str, Any]) -> Rounds:
    return Rounds(_tuples(fields["baseline"]), _tuples(fields["candidate"]))


def _tuples(values: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(one) for one in values)
