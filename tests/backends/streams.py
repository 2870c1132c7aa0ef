"""Requests to a decoupled model over Triton's own gRPC streams, as tests send and read them."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput


@dataclass
class TritonStream:
    """One gRPC stream, as a rule with one request on it."""

    client: InferenceServerClient
    arrived: queue.Queue[tuple[Any, Any]] = field(default_factory=queue.Queue)

    def ask(self, model: str, inputs: Sequence[InferInput], parameters: dict[str, Any]) -> None:
        self.client.start_stream(lambda result, error: self.arrived.put((result, error)))
        self.ask_more(model, inputs, parameters)

    def ask_more(self, model: str, inputs: Sequence[InferInput], parameters: dict[str, Any]) -> None:
        """Of the same stream."""
        self.client.async_stream_infer(model, inputs, parameters=parameters, enable_empty_final_response=True)

    def next(self, timeout_s: float = 30) -> tuple[dict[str, list[Any]], bool]:
        """The next response's tensors, and whether it is the last. Raises: InferenceServerException, queue.Empty."""
        result, error = self.arrived.get(timeout=timeout_s)
        if error is not None:
            raise error
        response = result.get_response()
        tensors = {output.name: result.as_numpy(output.name).tolist() for output in response.outputs}
        return tensors, response.parameters["triton_final_response"].bool_param

    def all(self) -> list[dict[str, list[Any]]]:
        responses, final = [], False
        while not final:
            tensors, final = self.next()
            responses.append(tensors)
        self.client.stop_stream()
        return responses


AnyStream = TypeVar("AnyStream", bound=TritonStream)


@contextmanager
def opened(kind: type[AnyStream], address: str, count: int) -> Iterator[list[AnyStream]]:
    streams = [kind(InferenceServerClient(address)) for _ in range(count)]
    yield streams
    for stream in streams:
        stream.client.stop_stream(cancel_requests=True)
        stream.client.close()


def text_tensor(text: bytes) -> InferInput:
    given = InferInput("text_input", [1], "BYTES")
    given.set_data_from_numpy(np.array([text], object))
    return given
