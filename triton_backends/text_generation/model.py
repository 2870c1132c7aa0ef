"""Triton's entry to text generation: checks each request and hands it to the scheduler's thread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from triton_backends.runtime.decoupled import accept, close_all, require_decoupled
from triton_backends.runtime.metrics import Metrics
from triton_backends.runtime.model_files import read_text
from triton_backends.runtime.parameters import InvalidParameter, model_parameter
from triton_backends.runtime.replies import Reply, ReplyPump
from triton_backends.runtime.sessions import sequential_options
from triton_backends.runtime.tensors import inputs_by_name
from triton_backends.runtime.texts import decode_text, read_tokenizer
from triton_backends.runtime.triton import Array, Request, log, require_numpy_1
from triton_backends.text_generation.detokenizer import token_bytes
from triton_backends.text_generation.engines.interface import Sequence as TextSequence
from triton_backends.text_generation.engines.interface import TokenIds
from triton_backends.text_generation.engines.onnxruntime_graph import DecoderGraph
from triton_backends.text_generation.engines.onnxruntime_slots import SlotEngine
from triton_backends.text_generation.generation import Generation, Vocabulary
from triton_backends.text_generation.grammar import Grammars
from triton_backends.text_generation.model_files import GenerationFacts, read_facts
from triton_backends.text_generation.options import GenerationOptions, read_options
from triton_backends.text_generation.sampling import Constraint, new_samplers
from triton_backends.text_generation.scheduler import Counters, Scheduler

METRICS = {
    "text_generation_tokens": "Tokens generated since the model was loaded",
    "text_generation_cancelled": "Requests whose caller left since the model was loaded",
    "text_generation_failed": "Requests that failed after they were accepted since the model was loaded",
    "text_generation_busy": "Texts under way",
    "text_generation_waiting": "Texts waiting for a slot",
}


class TritonPythonModel:
    """One instance of a text model; the name and the methods are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        require_numpy_1()
        config = json.loads(args["model_config"])
        require_decoupled(config)
        directory = Path(args["model_repository"], args["model_version"])
        self._facts = read_facts(directory)
        tokenizer_json = read_text(directory / "tokenizer.json")
        self._prompts = Prompts(tokenizer_json, self._facts)
        self._grammars = Grammars(tokenizer_json, self._facts.vocab_size, self._facts.eos_token_ids)
        self._vocabulary = Vocabulary(token_bytes(tokenizer_json), frozenset(self._facts.eos_token_ids))
        graph = DecoderGraph(
            directory / (config.get("default_model_filename") or "model.onnx"),
            self._facts,
            rows=model_parameter(config, "slots", 8, low=1),
            options=sequential_options(config),
        )
        engine = SlotEngine(graph, self._facts)
        self._metrics = Metrics(METRICS, {"model": args["model_name"], "version": args["model_version"]})
        self._scheduler = Scheduler(engine, queue=model_parameter(config, "queue", 64), report=self._report)
        self._pump = ReplyPump()
        self._scheduler.start()
        log(
            f"{args['model_name']}: {graph.rows} slots of {self._facts.context_length} tokens, key-value cache up to "
            f"{graph.cache_bytes} bytes, every step runs {'all' if engine.decodes_all_rows else 'the busy'} rows"
        )

    def execute(self, requests: Sequence[Request]) -> None:
        accept(requests, self._pump, self._submit)

    def finalize(self) -> None:
        close_all(self._scheduler, self._pump, self._metrics)

    def _submit(self, request: Request, parameters: Mapping[str, Any], reply: Reply) -> None:
        self._scheduler.submit(self._generation(request, read_options(parameters), reply))

    def _report(self, counters: Counters) -> None:
        self._metrics.set(_measured(counters))

    def _generation(self, request: Request, options: GenerationOptions, reply: Reply) -> Generation:
        prompt = self._prompts.read(inputs_by_name(request).get("text_input"))
        generation = Generation(options, self._vocabulary, reply)
        for sampler in new_samplers(options, self._constraints(options)):
            generation.add(TextSequence(prompt, sampler))
        return generation

    def _constraints(self, options: GenerationOptions) -> list[Constraint | None]:
        if options.grammar is None:
            return [None] * options.n
        compiled = self._grammars.compile(options.grammar)
        return [compiled.copy() for _ in range(options.n)]


def _measured(counters: Counters) -> dict[str, float]:
    return {name: getattr(counters, name.removeprefix("text_generation_")) for name in METRICS}


class Prompts:
    """Turns `text_input` into token ids that leave room for an answer."""

    def __init__(self, tokenizer_json: str, facts: GenerationFacts) -> None:
        self._tokenizer = read_tokenizer(tokenizer_json)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._facts = facts
        # No token stands for more bytes than its spelling in the vocabulary has.
        self._longest_token_bytes = max(len(token.encode()) for token in self._tokenizer.get_vocab())

    def read(self, text_input: Array | None) -> TokenIds:
        """Shapes: BYTES[1] -> INT64[tokens]. Raises: InvalidParameter."""
        if text_input is None or text_input.size != 1:
            raise InvalidParameter("text_input must hold exactly one string, BYTES[1]")
        raw = bytes(text_input.reshape(-1)[0])
        # Counting the tokens of 16 MiB takes half a minute, in which no other request would begin.
        self._check_length("at least ", -(-len(raw) // self._longest_token_bytes))
        token_ids = self._token_ids(decode_text("text_input", raw))
        self._check_length("", len(token_ids))
        return np.array(token_ids, np.int64)

    def _check_length(self, how_exact: str, tokens: int) -> None:
        limit = self._facts.context_length
        if tokens >= limit:
            raise InvalidParameter(
                f"the prompt has {how_exact}{tokens} tokens; the model's context length is {limit} tokens, "
                "of which at least one is for the answer"
            )

    def _token_ids(self, text: str) -> list[int]:
        bos = self._facts.bos_token_id
        token_ids: list[int] = self._tokenizer.encode(text).ids
        if bos is not None and token_ids[:2] == [bos, bos]:
            # The text (a rendered chat template) brought its own.
            token_ids = token_ids[1:]
        if not token_ids:
            token_ids = [self._facts.eos_token_ids[0] if bos is None else bos]
        return token_ids
