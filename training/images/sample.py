"""Draws with the files that ship, outside Triton, with the schedule and the steps of the diffusion backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from triton_backends.diffusion.model_files import read_facts
from triton_backends.diffusion.sampler import first_samples
from triton_backends.diffusion.schedule import denoised, steps

Array = np.ndarray[Any, np.dtype[Any]]
UNET, ENCODER = "digits-unet", "digits-text-encoder"
DIFFUSION, TEXT_TO_IMAGE = "digits-diffusion", "digits-text-to-image"


def open_graph(path: Path, threads: int = 1) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Sketch:
    """How an image is drawn; None as `guidance` is the model's own."""

    steps: int = 20
    guidance: float | None = None


class Pipeline:
    """DIFFUSION or TEXT_TO_IMAGE of a repository, with its parts beside it."""

    def __init__(self, repository: Path, name: str, threads: int = 2) -> None:
        version = repository / name / "1"
        self.facts = read_facts(version, takes_text=name == TEXT_TO_IMAGE)
        self._unet = open_graph(repository / UNET / "1" / "model.onnx", threads)
        if name == TEXT_TO_IMAGE:
            self._tokenizer = Tokenizer.from_file(str(version / "tokenizer.json"))
            self._encoder = open_graph(repository / ENCODER / "1" / "model.onnx", threads)

    def labelled(self, label: str) -> Array:
        condition: Array = self.facts.conditions[self.facts.labels.index(label)]
        return condition

    def read(self, text: str) -> Array:
        """The condition of a prompt."""
        ids = np.array([self._tokenizer.encode(text).ids[: self.facts.text_length]], np.int64)
        condition: Array = self._encoder.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
        return condition

    def draw(self, conditions: Sequence[Array], seeds: Sequence[int], sketch: Sketch | None = None) -> Array:
        """One image a condition, FP32 [n, size, size] in [-1, 1]: what the server draws first for each seed."""
        size, sketch = self.facts.image_size, sketch or Sketch()
        x = np.stack([first_samples(seed, 1, (1, size, size))[0] for seed in seeds])
        wanted = np.stack(conditions)
        guidance = np.float32(self.facts.guidance if sketch.guidance is None else sketch.guidance)
        for step in steps(self.facts.alphas_cumprod, sketch.steps):
            x = denoised(x, self._noise(x, step.timestep, wanted, guidance), step)
        drawn: Array = x[:, 0]
        return drawn

    def _noise(self, x: Array, timestep: int, wanted: Array, guidance: np.float32) -> Array:
        if guidance == 1:
            return self._predict(x, timestep, wanted)
        null = np.broadcast_to(self.facts.null_condition, wanted.shape)
        both = self._predict(np.concatenate([x, x]), timestep, np.concatenate([wanted, null]))
        with_it, without = np.split(both, 2)
        guided: Array = without + guidance * (with_it - without)
        return guided

    def _predict(self, x: Array, timestep: int, conditions: Array) -> Array:
        times = np.full(len(x), timestep, np.int64)
        predicted: Array = self._unet.run(None, {"sample": x, "timestep": times, "condition": conditions})[0]
        return predicted
