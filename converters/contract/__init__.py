"""What the control plane and a conversion child say to each other: a command line in, JSON lines out."""

from __future__ import annotations

from converters.contract.commands import catalog_command, evaluate_command, inspect_command, run_command, sample_command
from converters.contract.events import (
    CandidateFact,
    Cataloged,
    Converted,
    Evaluated,
    Event,
    Facts,
    Failed,
    Inspected,
    LevelFact,
    Progressed,
    RecipeFact,
    Sampled,
)
from converters.contract.lines import (
    BrokenStream,
    evaluation_from_json,
    from_line,
    request_from_json,
    request_to_json,
    sample_from_json,
    to_line,
)
from converters.contract.requests import (
    PRECISIONS,
    ConversionRequest,
    EvaluationRequest,
    JsonObject,
    SampleRequest,
    StepRequest,
    TensorFact,
)

__all__ = [
    "PRECISIONS",
    "BrokenStream",
    "CandidateFact",
    "Cataloged",
    "ConversionRequest",
    "Converted",
    "Evaluated",
    "EvaluationRequest",
    "Event",
    "Facts",
    "Failed",
    "Inspected",
    "JsonObject",
    "LevelFact",
    "Progressed",
    "RecipeFact",
    "SampleRequest",
    "Sampled",
    "StepRequest",
    "TensorFact",
    "catalog_command",
    "evaluate_command",
    "evaluation_from_json",
    "from_line",
    "inspect_command",
    "request_from_json",
    "request_to_json",
    "run_command",
    "sample_command",
    "sample_from_json",
    "to_line",
]
