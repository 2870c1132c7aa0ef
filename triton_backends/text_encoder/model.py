"""Triton's entry to text encoders: many requests with a text a row in, one FP32 row a text out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from triton_backends.runtime.model_files import BrokenModel, read_text
from triton_backends.runtime.parameters import model_parameter
from triton_backends.runtime.sessions import sequential_options
from triton_backends.runtime.tensors import bytes_array
from triton_backends.runtime.triton import Array, Request, Response, error, require_numpy_1, triton
from triton_backends.text_encoder.encoder_files import LABEL, EncoderFacts, read_encoder
from triton_backends.text_encoder.graph import EncoderGraph
from triton_backends.text_encoder.tokenization import TextTokenizer
from triton_backends.text_encoder.work import Encoder, Piece

# Keeps what attention needs for one run in the tens of megabytes.
MAX_BATCH_TOKENS = 4096
# Different lengths: the graph has to bear filling too.
_TRIAL = ("", "a trial of two lengths")


class TritonPythonModel:
    """One instance of a text encoder; the name and the methods are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        require_numpy_1()
        config = json.loads(args["model_config"])
        directory = Path(args["model_repository"], args["model_version"])
        self._facts = read_encoder(directory)
        _check_config(config, self._facts)
        tokenizer = TextTokenizer(read_text(directory / "tokenizer.json"), self._facts)
        file = directory / (config.get("default_model_filename") or "model.onnx")
        graph = EncoderGraph(file, self._facts, sequential_options(config))
        _try(graph, tokenizer)
        limit = model_parameter(config, "max_batch_tokens", MAX_BATCH_TOKENS, low=1)
        self._encoder = Encoder(tokenizer, graph, limit)

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        pieces = [Piece.read(request) for request in requests]
        self._encoder.encode(pieces)
        return [self._response(piece) for piece in pieces]

    def _response(self, piece: Piece) -> Response:
        utils = triton()
        if piece.failure is not None:
            return utils.InferenceResponse(error=error(*piece.failure))
        wanted = piece.request.requested_output_names()
        outputs = {**piece.outputs, **({LABEL: self._labels(piece)} if LABEL in wanted else {})}
        return utils.InferenceResponse([utils.Tensor(name, outputs[name]) for name in outputs if name in wanted])

    def _labels(self, piece: Piece) -> Array:
        names = self._facts.labels or []
        best = piece.outputs["probabilities"].argmax(axis=1)
        return bytes_array([names[number] for number in best]).reshape(-1, 1)


def _check_config(config: Mapping[str, Any], facts: EncoderFacts) -> None:
    if config.get("max_batch_size", 0) < 1:
        raise BrokenModel("config.pbtxt must say a max_batch_size of 1 or more: a row is a text")
    inputs = [entry["name"] for entry in config.get("input", [])]
    if inputs != ["text_input"]:
        raise BrokenModel(f"config.pbtxt must have the one input 'text_input', not {inputs}")
    known = [*facts.outputs, *([LABEL] if facts.labels else [])]
    for entry in config.get("output", []):
        if entry["name"] not in known:
            raise BrokenModel(f"config.pbtxt names output {entry['name']!r}; for {facts.task} there are {known}")


def _try(graph: EncoderGraph, tokenizer: TextTokenizer) -> None:
    """A model that cannot run is found out when it is loaded. Raises: BrokenModel."""
    (tokens,) = tokenizer.encode([_TRIAL], truncate=True)
    if not isinstance(tokens, list):
        raise BrokenModel(str(tokens))
    try:
        graph.run(tokens)
    except Exception as problem:
        raise BrokenModel(f"the graph does not run: {str(problem).splitlines()[0]}") from None
