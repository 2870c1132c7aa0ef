"""Triton's entry to drawing: checks each request and hands it to the threads that draw.

The model is decoupled: `execute` returns at once, and a drawing's answers come from its thread, through one that sends.
Each thread calls the model's parts inside Triton and waits for them; other drawings go on meanwhile.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from triton_backends.diffusion.drawing import Drawing, Studio
from triton_backends.diffusion.model_files import SamplerFacts, read_facts
from triton_backends.diffusion.options import read_options, read_seed
from triton_backends.diffusion.parts import TEXT_ENCODER, UNET, TextEncoder, Unet, part_names
from triton_backends.diffusion.prompts import Prompts
from triton_backends.diffusion.workers import Counters, QueueFull, Workers
from triton_backends.runtime.metrics import Metrics
from triton_backends.runtime.model_files import BrokenModel, read_text
from triton_backends.runtime.parameters import InvalidParameter, model_parameter, parse_parameters
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
        if not config.get("model_transaction_policy", {}).get("decoupled"):
            raise BrokenModel("config.pbtxt must say model_transaction_policy { decoupled: true }")
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
        for request in requests:
            reply = self._pump.open(request.get_response_sender(), frozenset(request.requested_output_names()))
            try:
                self._workers.submit(self._drawing(request, reply))
            except InvalidParameter as error:
                reply.fail(str(error), "INVALID_ARG")
            except QueueFull as error:
                reply.fail(str(error), "UNAVAILABLE")

    def finalize(self) -> None:
        self._workers.close()
        self._pump.close()
        self._metrics.close()
        # What Triton gave a reply crashes the process if it goes with the interpreter.
        gc.collect()

    def _drawing(self, request: Request, reply: Reply) -> Drawing:
        options = read_options(parse_parameters(request.parameters()))
        inputs = inputs_by_name(request)
        return Drawing(self._studio, reply, options, read_seed(inputs.get("seed")), inputs.get("text_input"))

    def _report(self, counters: Counters) -> None:
        self._metrics.set({name: getattr(counters, name.removeprefix("diffusion_")) for name in METRICS})


def _encoder(parts: Mapping[str, Any], directory: Path, facts: SamplerFacts) -> TextEncoder | None:
    if facts.text_length is None:
        return None
    prompts = Prompts(read_text(directory / "tokenizer.json"), facts.text_length)
    return TextEncoder(parts[TEXT_ENCODER], prompts, facts.conditions.shape[1])
