"""Runs conversions in this process, as the child does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from converters.contract import ConversionRequest, Converted, Progressed, StepRequest, request_to_json
from converters.pipeline import Pipeline


def convert(source: Path, workspace: Path, *steps: StepRequest | str, **asked: Any) -> Converted:
    """`steps`: a plan of one's own; none: the plan that fits. Raises what the pipeline raises."""
    if steps:
        asked["steps"] = tuple(step if isinstance(step, StepRequest) else StepRequest(step) for step in steps)
    request = ConversionRequest(source=str(source), **asked)
    workspace.mkdir(parents=True, exist_ok=True)
    (workspace / "job.json").write_text(json.dumps(request_to_json(request)))
    events: list[Progressed] = []
    converted = Pipeline(request, workspace, events.append).run()
    assert [event.fraction for event in events] == sorted(event.fraction for event in events)
    return converted


def model_file(converted: Converted, name: str = "model.onnx") -> Path:
    return Path(converted.directory) / "1" / name


def checks(converted: Converted) -> dict[str, float]:
    return {check["name"]: check["value"] for check in converted.record["checks"]}  # type: ignore[index, union-attr]
