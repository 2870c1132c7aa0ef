"""What is asked, once through our REST API and once of Triton itself, and that both give the same answer."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonplane_client import ApiClient

from benchmarks.load import Request, grpc_frame
from benchmarks.server import Server
from control_plane.domain.tensors import bytes_elements

PROMPT, MAX_TOKENS = "def read_json(path):\n", 16
VECTOR = [0.5, -1.25, 2.0, 0.0, 3.5, -0.75, 1.0, 0.25]
_SERVICE = "inference.GRPCInferenceService"


@dataclass(frozen=True, slots=True)
class Case:
    """`model` is the directory's name inside Triton."""

    name: str
    model: str
    front: Request
    direct: Request


def make_cases(server: Server, text_model: str, tensor_model: str) -> list[Case]:
    """Tensors, a text in one piece, and a text as a stream. Exits where the two ways do not give the same answer."""
    with ApiClient(server.http, api_key=server.key) as client:
        text, vector = (f"{name}--r{client.get_model(name)['version']}" for name in (text_model, tensor_model))
    headers = {"authorization": f"Bearer {server.key}", "content-type": "application/json"}
    case_of_tensors = Case(
        "tensors",
        vector,
        Request(f"{server.http}/v2/models/{tensor_model}/infer", _tensor_json(), headers),
        _direct(server, "ModelInfer", _tensor_message(vector)),
    )
    body = {"model_id": text_model, "input_data": {"text": PROMPT}, "max_length": MAX_TOKENS, "temperature": 0}
    cases_of_text = [
        Case(
            name,
            text,
            Request(f"{server.http}{path}", json.dumps(body).encode(), headers),
            _direct(server, "ModelStreamInfer", _text_message(text, stream=name == "text-stream")),
        )
        for name, path in (("text", "/inference"), ("text-stream", "/inference/stream"))
    ]
    cases = [case_of_tensors, *cases_of_text]
    for case in cases:
        _check(case, server)
    return cases


def failures_inside_triton(server: Server, model: str) -> int:
    """h2load takes a gRPC error for an answer, for HTTP says 200; Triton's own counter does not."""
    with grpc.insecure_channel(server.triton) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        (statistics,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name=model)).model_stats
    return int(statistics.inference_stats.fail.count)


def _direct(server: Server, method: str, message: Any) -> Request:
    headers = {"content-type": "application/grpc", "te": "trailers"}
    return Request(
        f"http://{server.triton}/{_SERVICE}/{method}", grpc_frame(message.SerializeToString()), headers, is_grpc=True
    )


def _tensor_json() -> bytes:
    tensor = {"name": "features", "shape": [1, len(VECTOR)], "datatype": "FP32", "data": VECTOR}
    return json.dumps({"inputs": [tensor]}).encode()


def _tensor_message(model: str) -> Any:
    tensor = pb.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, len(VECTOR)])
    raw = struct.pack(f"<{len(VECTOR)}f", *VECTOR)
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw])


def _text_message(model: str, *, stream: bool) -> Any:
    """The options that the product sends for the same request."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="text_input", datatype="BYTES", shape=[1])
    raw = len(PROMPT).to_bytes(4, "little") + PROMPT.encode()
    message = pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw])
    for name, whole in {"max_tokens": MAX_TOKENS, "top_k": 0}.items():
        message.parameters[name].int64_param = whole
    for name, number in {"temperature": 0, "top_p": 0.9, "frequency_penalty": 0, "presence_penalty": 0}.items():
        message.parameters[name].double_param = number
    message.parameters["stream"].bool_param = stream
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    return message


def _check(case: Case, server: Server) -> None:
    answer = httpx.post(case.front.url, content=case.front.body, headers=dict(case.front.headers), timeout=60)
    front = _tensor_of(answer) if case.name == "tensors" else _text_of(answer)
    method, message = case.direct.url.rpartition("/")[2], case.direct.body[5:]
    direct = _ask_triton(server, method, message)
    if front != direct:
        raise SystemExit(f"{case.name}: the two ways answer differently: {front!r} and {direct!r}")


def _tensor_of(answer: httpx.Response) -> list[float]:
    return list(answer.raise_for_status().json()["outputs"][0]["data"])


def _text_of(answer: httpx.Response) -> str:
    answer.raise_for_status()
    if answer.headers["content-type"].startswith("application/json"):
        return str(answer.json()["output"]["text"])
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(json.loads(line)["token"] for line in lines)


def _ask_triton(server: Server, method: str, message: bytes) -> list[float] | str:
    with grpc.insecure_channel(server.triton) as channel:
        if method == "ModelInfer":
            infer = channel.unary_unary(f"/{_SERVICE}/{method}", None, pb.ModelInferResponse.FromString)
            raw = infer(message).raw_output_contents[0]
            return list(struct.unpack(f"<{len(raw) // 4}f", raw))
        stream = channel.stream_stream(f"/{_SERVICE}/{method}", None, pb.ModelStreamInferResponse.FromString)
        return "".join(_text_in(reply) for reply in stream(iter([message])))


def _text_in(reply: Any) -> str:
    if reply.error_message:
        raise SystemExit(f"Triton refuses the request: {reply.error_message}")
    answer = reply.infer_response
    outputs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    (raw,) = [raw for output, raw in outputs if output.name == "text_output"] or [b""]
    return "".join(element.decode() for element in bytes_elements(raw))
