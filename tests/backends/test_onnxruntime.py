"""ONNX models through a real Triton and our onnxruntime backend."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.backends.conftest import PROJECT, RunningTriton

MODELS = PROJECT / "tests" / "fixtures" / "onnx_models"
GATHER = """
backend: "onnxruntime"
max_batch_size: 16
input [ { name: "index" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: %s } ]
output [ { name: "value" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]
dynamic_batching { max_queue_delay_microseconds: 100000 }
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""
TYPES = {
    "bool": ("BOOL", np.array([True, False])),
    "fp16": ("FP16", np.array([1.5, -2], np.float16)),
    "fp64": ("FP64", np.array([1e-300, 2])),
    "int8": ("INT8", np.array([-128, 127], np.int8)),
    "int64": ("INT64", np.array([2**62, -1])),
    "uint8": ("UINT8", np.array([0, 255], np.uint8)),
    "bytes": ("STRING", np.array([b"", "grüße".encode()], object)),
}


def publish(server: RunningTriton, name: str, graph: str, config: str, file_name: str = "model.onnx") -> None:
    version = server.repository / name / "1"
    version.mkdir(parents=True)
    shutil.copy(MODELS / f"{graph}.onnx", version / file_name)
    (version.parent / "config.pbtxt").write_text(config)


@pytest.fixture(scope="module")
def gather(triton_server: RunningTriton) -> InferenceServerClient:
    publish(triton_server, "gather", "gather", GATHER % "false")
    return triton_server.load("gather")


@pytest.fixture(scope="module")
def ragged(triton_server: RunningTriton) -> InferenceServerClient:
    """Triton hands over requests of different sizes together."""
    publish(triton_server, "ragged", "gather", GATHER % "true")
    return triton_server.load("ragged")


def tensor(name: str, values: np.ndarray) -> InferInput:
    given = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    given.set_data_from_numpy(values)
    return given


def look_up(client: InferenceServerClient, index: list[list[int]], model: str = "gather") -> list:
    return client.infer(model, [tensor("index", np.array(index))]).as_numpy("value").tolist()


def row(index: int) -> list[float]:
    return [3.0 * index, 3.0 * index + 1, 3.0 * index + 2]


def test_requests_merged_by_triton_get_each_their_own_rows(gather: InferenceServerClient) -> None:
    asked = [[[i % 5, (i + 1) % 5]] * (1 + i % 3) for i in range(24)]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda index: look_up(gather, index), asked))
    assert answers == [[[row(i) for i in one] for one in index] for index in asked]
    statistics = gather.get_inference_statistics("gather").model_stats[0]
    assert statistics.execution_count < 24


def test_requests_of_different_sizes_run_apart(ragged: InferenceServerClient) -> None:
    asked = [[list(range(1 + i % 4))] for i in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda index: look_up(ragged, index, "ragged"), asked))
    assert answers == [[[row(i) for i in one] for one in index] for index in asked]


def test_a_bad_request_does_not_fail_its_batch_mates(gather: InferenceServerClient) -> None:
    def ask(i: int) -> list | str:
        try:
            return look_up(gather, [[99 if i == 3 else i % 5]])
        except InferenceServerException as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert "indices element out of data bounds" in answers[3]
    assert [answer for i, answer in enumerate(answers) if i != 3] == [[[row(i % 5)]] for i in range(8) if i != 3]


def echo_config() -> str:
    def ports(side: str) -> str:
        entries = [
            f'{{ name: "{name}_{side}" data_type: TYPE_{kind} dims: [ -1 ] }}' for name, (kind, _) in TYPES.items()
        ]
        return ", ".join(entries)

    return f"""
backend: "onnxruntime"
max_batch_size: 0
default_model_filename: "echo.onnx"
input [ {ports("in")} ]
output [ {ports("out")} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""


@pytest.fixture(scope="module")
def echo(triton_server: RunningTriton) -> InferenceServerClient:
    publish(triton_server, "echo", "echo", echo_config(), file_name="echo.onnx")
    return triton_server.load("echo")


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_comes_back_as_it_went(echo: InferenceServerClient, kind: str) -> None:
    inputs = [tensor(f"{name}_in", values) for name, (_, values) in TYPES.items()]
    result = echo.infer("echo", inputs, outputs=[InferRequestedOutput(f"{kind}_out")])
    assert [output.name for output in result.get_response().outputs] == [f"{kind}_out"]
    assert result.as_numpy(f"{kind}_out").tolist() == TYPES[kind][1].tolist()


def test_an_output_with_the_wrong_number_of_rows_is_an_error(triton_server: RunningTriton) -> None:
    config = (
        'backend: "onnxruntime"\nmax_batch_size: 4\ninput [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]\n'
        'output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]\ninstance_group [ { count: 1 kind: KIND_CPU } ]\n'
    )
    publish(triton_server, "first_row", "first_row", config)
    client = triton_server.load("first_row")
    with pytest.raises(InferenceServerException, match="output 'y' has 1 rows for an input of 2"):
        client.infer("first_row", [tensor("x", np.ones((2, 2), np.float32))])


THREADS = 'key: "intra_op_thread_count" value: { string_value: "1"'


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("unfit_type", "INT64", "INT32", "input 'index' is TYPE_INT32 in config.pbtxt and tensor(int64) in the graph"),
        ("unfit_name", '"value"', '"values"', "config.pbtxt names output 'values'; the graph has ['value']"),
        (
            "unfit_mode",
            THREADS,
            'key: "execution_mode" value: { string_value: "2"',
            "execution_mode must be 0 (sequential) or 1 (parallel), got 2",
        ),
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_one_line(
    triton_server: RunningTriton, name: str, old: str, new: str, reason: str
) -> None:
    publish(triton_server, name, "gather", (GATHER % "false").replace(old, new))
    with pytest.raises(InferenceServerException, match=re.escape(reason)):
        triton_server.load(name)


def test_a_broken_file_is_refused_in_one_line(triton_server: RunningTriton) -> None:
    publish(triton_server, "broken", "gather", GATHER % "false")
    (triton_server.repository / "broken" / "1" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(InferenceServerException, match=r"model\.onnx cannot be opened") as raised:
        triton_server.load("broken")
    assert str(triton_server.repository) not in str(raised.value).split("cannot be opened")[1]
