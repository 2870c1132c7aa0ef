"""The facts of a sampler's version directory: the schedule it was trained with, its conditions and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from triton_backends.runtime import model_files
from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.triton import Array

FACTS, CONDITIONS = "diffusion.json", "conditions.npy"
GUIDANCE_MAX = 20
SIZE_MAX = 512  # 16 images of that size are 50 MB of samples a step
TRAINED_STEPS_MAX = 10_000
_KEYS = (
    "image_size",
    "channels",
    "alphas_cumprod",
    "labels",
    "null_condition_row",
    "guidance",
    "text_length",
    "pad_token_id",
)


@dataclass(frozen=True, slots=True)
class SamplerFacts:
    """`conditions`: FP32 [rows, d]; row i is that of `labels[i]`. `text_length` is None where no text is taken."""

    image_size: int
    channels: int
    alphas_cumprod: tuple[float, ...]
    labels: tuple[str, ...]
    null_condition_row: int
    guidance: float
    text_length: int | None
    conditions: Array

    @property
    def null_condition(self) -> Array:
        row: Array = self.conditions[self.null_condition_row]
        return row


def read_facts(directory: Path, *, takes_text: bool) -> SamplerFacts:
    """Raises: BrokenModel."""
    told = model_files.read_facts(directory / FACTS, _KEYS)
    conditions = _conditions(directory / CONDITIONS)
    facts = SamplerFacts(
        image_size=_whole(told, "image_size", 1, SIZE_MAX),
        channels=_channels(told["channels"]),
        alphas_cumprod=_alphas(told["alphas_cumprod"]),
        labels=_labels(told["labels"]),
        null_condition_row=_whole(told, "null_condition_row", 0, len(conditions) - 1),
        guidance=_guidance(told["guidance"]),
        text_length=None if told["text_length"] is None else _whole(told, "text_length", 1, 2**16),
        conditions=conditions,
    )
    if len(facts.labels) > len(conditions):
        raise BrokenModel(f"{FACTS} names {len(facts.labels)} labels, {CONDITIONS} has {len(conditions)} rows")
    if takes_text != (facts.text_length is not None):
        raise BrokenModel(f"{FACTS}: text_length must be a number where there is a part.text_encoder, else null")
    if not _is_pad_token(told["pad_token_id"], takes_text=takes_text):
        raise BrokenModel(
            f"{FACTS}: pad_token_id must be a whole number from 0 where there is a part.text_encoder, else null"
        )
    if takes_text and facts.labels:
        raise BrokenModel(f"{FACTS}: a model that takes text has no labels")
    return facts


def _conditions(path: Path) -> Array:
    if not path.is_file():
        raise BrokenModel(f"{path.name} is missing from version {path.parent.name}")
    try:
        conditions: Array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BrokenModel(f"{path.name} cannot be read: {error}") from None
    if conditions.dtype != np.float32 or conditions.ndim != 2 or not conditions.size:
        raise BrokenModel(f"{path.name} must be FP32 [rows, d], is {conditions.dtype} {list(conditions.shape)}")
    if not np.isfinite(conditions).all():
        raise BrokenModel(f"{path.name} holds numbers that are not finite")
    return conditions


def _whole(told: dict[str, Any], name: str, low: int, high: int) -> int:
    value = told[name]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BrokenModel(f"{FACTS}: {name} must be a whole number from {low} to {high}, is {str(value)[:50]}")
    return value


def _channels(value: Any) -> int:
    if value not in (1, 3):
        raise BrokenModel(f"{FACTS}: channels must be 1 (grey) or 3 (RGB), is {str(value)[:50]}")
    return int(value)


def _alphas(values: Any) -> tuple[float, ...]:
    wanted = f"1 to {TRAINED_STEPS_MAX} falling numbers between 0 and 1"
    if not isinstance(values, list) or not 1 <= len(values) <= TRAINED_STEPS_MAX:
        raise BrokenModel(f"{FACTS}: alphas_cumprod must be {wanted}")
    if not all(_is_number(value) and 0 < value < 1 for value in values):
        raise BrokenModel(f"{FACTS}: alphas_cumprod must be {wanted}")
    if any(after >= before for before, after in pairwise(values)):
        raise BrokenModel(f"{FACTS}: alphas_cumprod must fall from each training step to the next")
    return tuple(float(value) for value in values)


def _labels(values: Any) -> tuple[str, ...]:
    is_list = isinstance(values, list) and all(isinstance(value, str) and value for value in values)
    if not is_list or len(set(values)) < len(values):
        raise BrokenModel(f"{FACTS}: labels must be a list of different texts, none of them empty")
    return tuple(values)


def _is_pad_token(value: Any, *, takes_text: bool) -> bool:
    """Nothing is filled here: it is kept for who runs the text encoder with prompts of several lengths."""
    if not takes_text:
        return value is None
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _guidance(value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= GUIDANCE_MAX:
        raise BrokenModel(f"{FACTS}: guidance must be a number from 0 to {GUIDANCE_MAX}, is {str(value)[:50]}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
