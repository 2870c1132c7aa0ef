"""Triton's entry to ONNX models: one repository entry runs here and, unchanged, on NVIDIA's C++ onnxruntime backend.

Requests that Triton hands over together run as one batch, and are answered each with its own rows. Where a batch
fails its requests are run one by one, so that a bad one fails alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triton_backends.onnxruntime.batches import grouped, merged, split
from triton_backends.onnxruntime.session_options import session_options
from triton_backends.onnxruntime.signature import InvalidTensor, Signature, from_graph, to_graph
from triton_backends.runtime.sessions import open_session
from triton_backends.runtime.tensors import inputs_by_name
from triton_backends.runtime.triton import Array, Request, Response, error, require_numpy_1, triton


class TritonPythonModel:
    """One instance of an ONNX model; the name and the methods are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        require_numpy_1()
        config = json.loads(args["model_config"])
        self._session = open_session(_model_file(args, config), session_options(config))
        self._signature = Signature.read(config, self._session)
        self._batches = config.get("max_batch_size", 0) > 0

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        answers: list[Response | None] = [None] * len(requests)
        accepted: dict[int, dict[str, Array]] = {}
        for place, request in enumerate(requests):
            try:
                accepted[place] = self._signature.check_inputs(inputs_by_name(request))
            except InvalidTensor as problem:
                answers[place] = _failure(str(problem), "INVALID_ARG")
        for places in grouped(accepted) if self._batches else [[place] for place in accepted]:
            outputs = self._run_group([accepted[place] for place in places], [requests[place] for place in places])
            for place, answer in zip(places, outputs, strict=True):
                answers[place] = answer
        return [_failure("the request was not answered", "INTERNAL") if one is None else one for one in answers]

    def _run_group(self, inputs: list[dict[str, Array]], requests: list[Request]) -> list[Response]:
        if len(inputs) > 1:
            try:
                return self._run_merged(inputs, requests)
            except Exception:  # One by one, to find out whose fault it is.
                return [self._run_alone(one, request) for one, request in zip(inputs, requests, strict=True)]
        return [self._run_alone(inputs[0], requests[0])]

    def _run_merged(self, inputs: list[dict[str, Array]], requests: list[Request]) -> list[Response]:
        wanted = {name for request in requests for name in request.requested_output_names()}
        rows = [next(iter(one.values())).shape[0] for one in inputs]
        parts = split(self._run(merged(inputs), wanted), rows)
        return [_answer(outputs, request) for outputs, request in zip(parts, requests, strict=True)]

    def _run_alone(self, inputs: dict[str, Array], request: Request) -> Response:
        try:
            return _answer(self._run(inputs, set(request.requested_output_names())), request)
        except Exception as problem:
            reason = str(problem).splitlines()[0]
            # onnxruntime says so when the sizes of the inputs do not go together.
            code = "INVALID_ARG" if "INVALID_ARGUMENT" in reason else "INTERNAL"
            return _failure(f"the model failed: {reason}", code)

    def _run(self, inputs: dict[str, Array], wanted: set[str]) -> dict[str, Array]:
        names = [name for name in self._signature.outputs if name in wanted]
        results = self._session.run(names, {name: to_graph(array) for name, array in inputs.items()})
        outputs = {name: from_graph(array) for name, array in zip(names, results, strict=True)}
        rows = next(iter(inputs.values())).shape[0] if self._batches and inputs else None
        self._signature.check_outputs(outputs, rows)
        return outputs


def _model_file(args: dict[str, str], config: dict[str, Any]) -> Path:
    path = Path(args["model_repository"], args["model_version"], config.get("default_model_filename") or "model.onnx")
    # A model with external data may be a folder, as the native backend allows.
    return path / "model.onnx" if path.is_dir() else path


def _answer(outputs: dict[str, Array], request: Request) -> Response:
    utils = triton()
    wanted = set(request.requested_output_names())
    return utils.InferenceResponse([utils.Tensor(name, array) for name, array in outputs.items() if name in wanted])


def _failure(message: str, code: str) -> Response:
    return triton().InferenceResponse(error=error(message, code))
