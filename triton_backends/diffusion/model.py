"""Triton's entry to drawing: checks each request and hands it to the threads that draw.

The model is decoupled: `execute` returns at once, and a drawing's answers come from its thread, through one that sends.
Each thread calls the model's parts inside Triton and waits for them; other drawings go on meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from triton_backends.diffusion.drawing import Drawing, Studio
from triton_backends.diffusion.model_files import SamplerFacts, read_facts
from triton_backends.diffusion.options import DrawingOptions, read_options, read_seed
from triton_backends.diffusion.parts import TEXT_ENCODER, UNET, TextEncoder, Unet, part_names
from triton_backends.diffusion.prompts import Prompts
from triton_backends.diffusion.workers import Counters, Workers
from triton_backends.runtime.decoupled import accept, close_all, require_decoupled
from triton_backends.runtime.metrics import Metrics
from triton_backends.runtime.model_files import read_text
from triton_backends.runtime.parameters import model_parameter
from triton_backends.runtime.replies import Reply, ReplyPump
from triton_backends.runtime.tensors import inputs_by_name
from triton_backends.runtime.triton import Request, log, require_numpy_1

THREADS, QUEUE = 4, 64
METRICS = {
    "diffusion_steps": "Denoising steps done since the model was loaded, one for each image",
    "diffusion_cancelled": "Drawings whose caller left since the model was loaded",
    "diffusion_failed": "Drawings that failed after they were accepted since the model was loaded",
    "diffusion_busy": "Drawings under way",
    "diffusion_waiting": "Drawings waiting for a thread",
}


class TritonPythonModel:
    """One instance of an image model; the name and the methods are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        require_numpy_1()
        config = json.loads(args["model_config"])
        require_decoupled(config)
        parts = part_names(config)
        directory = Path(args["model_repository"], args["model_version"])
        facts = read_facts(directory, takes_text=TEXT_ENCODER in parts)
        encoder = _encoder(parts, directory, facts)
        self._metrics = Metrics(METRICS, {"model": args["model_name"], "version": args["model_version"]})
        threads = model_parameter(config, "threads", THREADS, low=1)
        self._workers = Workers(threads, model_parameter(config, "queue", QUEUE), self._report)
        self._studio = Studio(
            facts, Unet(parts[UNET]), encoder, self._workers.report_soon, lambda: self._workers.is_closed
        )
        self._pump = ReplyPump()
        log(f"{args['model_name']}: draws with {', '.join(parts.values())}, {threads} drawings at a time")

    def execute(self, requests: Sequence[Request]) -> None:
        accept(requests, self._pump, self._submit)

    def finalize(self) -> None:
        close_all(self._workers, self._pump, self._metrics)

    def _submit(self, request: Request, parameters: Mapping[str, Any], reply: Reply) -> None:
        self._workers.submit(self._drawing(request, read_options(parameters), reply))

    def _drawing(self, request: Request, options: DrawingOptions, reply: Reply) -> Drawing:
        inputs = inputs_by_name(request)
        return Drawing(self._studio, reply, options, read_seed(inputs.get("seed")), inputs.get("text_input"))

    def _report(self, counters: Counters) -> None:
        self._metrics.set({name: getattr(counters, name.removeprefix("diffusion_")) for name in METRICS})


def _encoder(parts: Mapping[str, Any], directory: Path, facts: SamplerFacts) -> TextEncoder | None:
    if facts.text_length is None:
        return None
    prompts = Prompts(read_text(directory / "tokenizer.json"), facts.text_length)
    return TextEncoder(parts[TEXT_ENCODER], prompts, facts.conditions.shape[1])
