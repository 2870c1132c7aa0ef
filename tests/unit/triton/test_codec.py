"""Tensors pass between the domain and Triton's messages untouched, and wrong answers are caught."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from control_plane.domain.errors import EngineFailed
from control_plane.domain.tensors import Inference, pack, text_tensor, unpack
from control_plane.gateways.triton import codec


def _reply(*outputs: tuple[str, str, list[int], bytes]) -> Any:
    return pb.ModelInferResponse(
        outputs=[{"name": name, "datatype": kind, "shape": shape} for name, kind, shape, _ in outputs],
        raw_output_contents=[raw for *_, raw in outputs],
    )


def _asking(*outputs: str) -> Inference:
    return Inference("m", (), 1.0, outputs=outputs)


def test_a_request_carries_tensors_outputs_parameters_and_the_request_id() -> None:
    inference = Inference(
        "m--r1",
        (pack("X", "FP32", [1, 2], [1, 2]), text_tensor("T", "ä")),
        timeout_s=1.0,
        outputs=("Y",),
        parameters=(("flag", True), ("count", 3), ("heat", 0.5), ("name", "n")),
        request_id="req-1",
    )
    message = codec.request(inference)
    assert (message.model_name, message.model_version, message.id) == ("m--r1", "", "req-1")
    assert [(i.name, i.datatype, list(i.shape)) for i in message.inputs] == [("X", "FP32", [1, 2]), ("T", "BYTES", [1])]
    assert list(message.raw_input_contents) == [struct.pack("<2f", 1, 2), b"\x02\x00\x00\x00\xc3\xa4"]
    assert [output.name for output in message.outputs] == ["Y"]
    values = {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in message.parameters.items()}
    assert values == {"flag": True, "count": 3, "heat": 0.5, "name": "n"}
    assert isinstance(values["flag"], bool)


def test_an_answer_comes_back_as_it_was_sent() -> None:
    prediction = codec.prediction(_reply(("Y", "INT32", [2], struct.pack("<2i", 5, -6))), _asking("Y"))
    assert [(tensor.name, unpack(tensor)) for tensor in prediction.outputs] == [("Y", [5, -6])]
    assert prediction.is_final


def test_a_requested_output_that_is_missing_is_a_failure() -> None:
    with pytest.raises(EngineFailed, match="'Z'"):
        codec.prediction(_reply(("Y", "INT32", [1], bytes(4))), _asking("Y", "Z"))


@pytest.mark.parametrize(
    ("kind", "shape", "raw"),
    [
        ("FP32", [2], bytes(4)),
        ("FP32", [1], b""),  # what numpy 2 in the stub does
        ("BOOL", [1], bytes(2)),
        ("BYTES", [2], b"\x01\x00\x00\x00a"),
        ("BYTES", [1], b"\x09\x00\x00\x00a"),
        ("BYTES", [1], b"\x01\x00"),
    ],
)
def test_bytes_that_do_not_fit_their_shape_are_a_failure(kind: str, shape: list[int], raw: bytes) -> None:
    with pytest.raises(EngineFailed, match="do not fit"):
        codec.prediction(_reply(("Y", kind, shape, raw)), _asking())


def test_an_output_without_bytes_is_a_failure() -> None:
    reply = _reply(("Y", "FP32", [1], bytes(4)))
    reply.outputs.add(name="Z", datatype="FP32", shape=[1])
    with pytest.raises(EngineFailed, match="lacks"):
        codec.prediction(reply, _asking())


def test_the_last_piece_of_a_stream_may_be_empty() -> None:
    reply = _reply()
    reply.parameters[codec.FINAL].bool_param = True
    assert codec.piece(reply).is_final
    assert not codec.piece(_reply(("Y", "FP32", [1], bytes(4)))).is_final


def test_statistics_are_summed_over_versions_in_microseconds() -> None:
    def version(count: int) -> Any:
        row = pb.ModelStatistics(inference_count=count, execution_count=1)
        row.inference_stats.success.count = count
        row.inference_stats.queue.ns = 5_000
        row.response_stats["0"].cancel.count = 2
        return row

    summed = codec.statistics([version(3), version(4)])
    assert (summed.inference_count, summed.execution_count, summed.success_count) == (7, 2, 7)
    assert (summed.queue_us, summed.cancel_count, summed.failure_count) == (10, 4, 0)
