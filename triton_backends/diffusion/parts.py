"""The models that a drawing calls inside Triton: the UNet, and the encoder of a hybrid's prompts; both are timed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triton_backends.diffusion.prompts import Prompts
from triton_backends.runtime.calls import CallFailed, call
from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.triton import Array

UNET, TEXT_ENCODER = "part.unet", "part.text_encoder"


@dataclass(slots=True)
class Stages:
    """What each model took of one drawing, in the order of their first use."""

    took_s: dict[str, float] = field(default_factory=dict)

    def add(self, model: str, started_s: float) -> None:
        self.took_s[model] = self.took_s.get(model, 0.0) + time.perf_counter() - started_s

    def as_json(self) -> str:
        return json.dumps([{"model": model, "time_ms": round(took * 1000, 3)} for model, took in self.took_s.items()])


@dataclass(frozen=True, slots=True)
class Unet:
    """`model` is its name inside Triton."""

    model: str

    def noise(self, sample: Array, timestep: int, conditions: Array, stages: Stages) -> Array:
        """What noise it sees in one sample, under each condition.

        Shapes: FP32 [channels, size, size], FP32 [n, d] -> FP32 [n, channels, size, size].
        Raises: ModelUnavailable, CallFailed.
        """
        started_s = time.perf_counter()
        rows = len(conditions)
        inputs = {
            "sample": np.repeat(sample[np.newaxis], rows, axis=0),
            "timestep": np.full(rows, timestep, np.int64),
            "condition": np.ascontiguousarray(conditions, np.float32),
        }
        noise = call(self.model, inputs, "noise")
        stages.add(self.model, started_s)
        if noise.shape != inputs["sample"].shape or noise.dtype != np.float32 or not np.isfinite(noise).all():
            wanted = list(inputs["sample"].shape)
            raise CallFailed(f"the model {self.model!r} must give noise FP32 {wanted} of finite numbers, and did not")
        return noise


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """`model` is its name inside Triton; `width` is that of a condition."""

    model: str
    prompts: Prompts
    width: int

    def condition(self, text_input: Array | None, stages: Stages) -> Array:
        """Shapes: BYTES[1] -> FP32 [d]. Raises: InvalidParameter, ModelUnavailable, CallFailed."""
        started_s = time.perf_counter()
        ids = np.array([self.prompts.read(text_input)], np.int64)
        condition = call(self.model, {"input_ids": ids, "attention_mask": np.ones_like(ids)}, "condition")
        stages.add(self.model, started_s)
        if condition.shape != (1, self.width) or condition.dtype != np.float32 or not np.isfinite(condition).all():
            raise CallFailed(
                f"the model {self.model!r} must give condition FP32 [1, {self.width}] of finite numbers, and did not"
            )
        row: Array = condition[0]
        return row


def part_names(config: Mapping[str, Any]) -> dict[str, str]:
    """The parts that a model configuration names. Raises: BrokenModel."""
    parameters = config.get("parameters", {})
    names = {part: parameters[part]["string_value"] for part in (UNET, TEXT_ENCODER) if part in parameters}
    if not names.get(UNET):
        raise BrokenModel(f"config.pbtxt must name the UNet's model in the parameter {UNET}")
    return names
