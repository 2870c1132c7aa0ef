"""Texts through a real Triton and our text_encoder backend: the tiny BERT of tests/fixtures, as both tasks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.backends.conftest import PROJECT, RunningTriton

FIXTURES = PROJECT / "tests" / "fixtures" / "tiny_text_encoders"
LIMIT = 32
OUTPUTS = {
    "embedding": '{ name: "embedding" data_type: TYPE_FP32 dims: [ 16 ] }',
    "classification": '{ name: "logits" data_type: TYPE_FP32 dims: [ 3 ] },'
    '{ name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ] }, { name: "label" data_type: TYPE_STRING dims: [ 1 ] }',
}
TEXTS = [
    "the quick brown fox",
    "",
    "good",
    "a server answers many requests at once",
    "fox " * 20,
    "bad film",
    "Ünïcode",
]
# Filling is masked, so only the order of additions may differ.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def config(task: str) -> str:
    return f"""
backend: "text_encoder"
max_batch_size: 64
input [ {{ name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {OUTPUTS[task]} ]
dynamic_batching {{ max_queue_delay_microseconds: 100000 }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
parameters {{ key: "threads" value: {{ string_value: "1" }} }}
"""


def publish(server: RunningTriton, task: str) -> InferenceServerClient:
    shutil.copytree(FIXTURES / task, server.repository / task)
    (server.repository / task / "config.pbtxt").write_text(config(task))
    return server.load(task)


@pytest.fixture(scope="module")
def embedder(triton_server: RunningTriton) -> InferenceServerClient:
    return publish(triton_server, "embedding")


@pytest.fixture(scope="module")
def classifier(triton_server: RunningTriton) -> InferenceServerClient:
    return publish(triton_server, "classification")


def text_input(texts: list[Any]) -> InferInput:
    given = InferInput("text_input", [len(texts), 1], "BYTES")
    raw = [text.encode() if isinstance(text, str) else text for text in texts]
    given.set_data_from_numpy(np.array(raw, object).reshape(-1, 1))
    return given


def embed(client: InferenceServerClient, texts: list[Any], **parameters: Any) -> np.ndarray:
    result = client.infer("embedding", [text_input(texts)], parameters=parameters)
    embedding: np.ndarray = result.as_numpy("embedding")
    return embedding


def alone(task: str, text: str, limit: int | None = None) -> list[np.ndarray]:
    """What the graph itself gives for one text, without any filling."""
    version = FIXTURES / task / "1"
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(version / "tokenizer.json"))
    if limit is not None:
        tokenizer.enable_truncation(limit)
    ids = np.array([tokenizer.encode(text).ids])
    taken = {entry.name for entry in session.get_inputs()}
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return [output[0] for output in session.run(None, {name: feeds[name] for name in taken})]


def test_a_text_is_embedded_as_the_graph_does_it(embedder: InferenceServerClient) -> None:
    for text in TEXTS:
        (expected,) = alone("embedding", text)
        (row,) = embed(embedder, [text])
        np.testing.assert_allclose(row, expected, **TOLERANCE)
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_texts_of_all_lengths_together_are_embedded_as_each_alone(embedder: InferenceServerClient) -> None:
    rows = embed(embedder, TEXTS * 9)
    assert rows.shape == (63, 16)
    np.testing.assert_allclose(rows, [alone("embedding", text)[0] for text in TEXTS] * 9, **TOLERANCE)


def test_a_text_is_classified_with_its_label(classifier: InferenceServerClient) -> None:
    result = classifier.infer("classification", [text_input(TEXTS)])
    expected = [alone("classification", text) for text in TEXTS]
    np.testing.assert_allclose(result.as_numpy("logits"), [logits for logits, _ in expected], **TOLERANCE)
    np.testing.assert_allclose(result.as_numpy("probabilities"), [chances for _, chances in expected], **TOLERANCE)
    labels = [[[b"bad", b"neutral", b"good"][chances.argmax()]] for _, chances in expected]
    assert result.as_numpy("label").tolist() == labels
    assert len({label for (label,) in labels}) > 1


def test_only_what_is_asked_for_comes_back(classifier: InferenceServerClient) -> None:
    result = classifier.infer("classification", [text_input(["good"])], outputs=[InferRequestedOutput("label")])
    assert [output.name for output in result.get_response().outputs] == ["label"]


def together(asks: list[Callable[[], Any]]) -> list[Any]:
    """Their answers, or the errors' texts; sent at once, so that Triton hands them over together."""

    def answer(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"

    with ThreadPoolExecutor(len(asks)) as pool:
        return list(pool.map(answer, asks))


def executions(client: InferenceServerClient, model: str) -> int:
    count: int = client.get_inference_statistics(model).model_stats[0].execution_count
    return count


def test_requests_that_triton_merges_get_each_their_own_rows(embedder: InferenceServerClient) -> None:
    before = executions(embedder, "embedding")
    asked = [[TEXTS[(i + j) % len(TEXTS)] for j in range(1 + i % 3)] for i in range(24)]
    answers = together([lambda texts=texts: embed(embedder, texts) for texts in asked])
    assert executions(embedder, "embedding") - before < 24
    for texts, rows in zip(asked, answers, strict=True):
        np.testing.assert_allclose(rows, [alone("embedding", text)[0] for text in texts], **TOLERANCE)


def test_in_a_mixed_batch_each_bad_request_fails_alone(embedder: InferenceServerClient) -> None:
    before = executions(embedder, "embedding")
    bad = {
        0: lambda: embed(embedder, ["good", "fox " * 50]),
        2: lambda: embed(embedder, [b"\xff"]),
        4: lambda: embed(embedder, ["good"], truncat=True),
        6: lambda: embed(embedder, ["good"], truncate="perhaps"),
    }
    answers = together([bad.get(i, lambda i=i: embed(embedder, [TEXTS[i % 7]])) for i in range(9)])
    assert executions(embedder, "embedding") - before < 9
    sentences = {
        0: "text_input[1] has 52 tokens; the model takes at most 32 tokens: shorten it, or send the request "
        "parameter truncate: true to have only its beginning read",
        2: "text_input[0] is not UTF-8: invalid start byte at byte 0",
        4: "unknown parameter 'truncat'; the parameters are truncate",
        6: "truncate must be true or false, got 'perhaps'",
    }
    for i, answer in enumerate(answers):
        if i in bad:
            assert answer == f"StatusCode.INVALID_ARGUMENT {sentences[i]}"
        else:
            np.testing.assert_allclose(answer[0], alone("embedding", TEXTS[i % 7])[0], **TOLERANCE)


def test_a_long_text_is_cut_with_its_last_token_kept_when_asked(embedder: InferenceServerClient) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 10
    (expected,) = alone("embedding", text, LIMIT)
    rows = embed(embedder, [text, "good"], truncate=True)
    np.testing.assert_allclose(rows, [expected, alone("embedding", "good")[0]], **TOLERANCE)
    longest = "fox " * (LIMIT - 2)
    np.testing.assert_allclose(embed(embedder, [longest]), embed(embedder, [longest], truncate=True), **TOLERANCE)


def test_of_a_text_too_long_to_count_only_the_beginning_is_read(embedder: InferenceServerClient) -> None:
    text = "fox " * 100_000
    with pytest.raises(InferenceServerException, match=r"text_input\[0\] has 400000 characters, too many to count"):
        embed(embedder, [text])
    np.testing.assert_allclose(
        embed(embedder, [text], truncate=True), [alone("embedding", text[:1000], LIMIT)[0]], **TOLERANCE
    )
