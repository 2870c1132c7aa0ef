"""What ships says what was trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tests.training.tiny import SHAPE
from training.architecture import build_model
from training.export import export, load_source
from training.session import Graph, Reading, Tokens


@pytest.fixture(scope="module")
def exported(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    export(build_model(SHAPE, seed=1), tokenizer, directory)
    return directory


@pytest.fixture(scope="module")
def ids() -> Tokens:
    return np.random.default_rng(0).integers(1, 512, (1, 40))


def test_the_served_graph_agrees_with_torch(exported: Path, ids: Tokens) -> None:
    with torch.no_grad():
        expected = load_source(exported / "source")(torch.from_numpy(ids)).logits.numpy()
    found = Graph(exported / "1").logits(ids)
    # 8 bits a weight: the error of a logit stays a small part of how much logits differ.
    assert np.abs(found - expected).max() < 0.1 * expected.std()


def test_reading_token_by_token_gives_the_same_logits(exported: Path, ids: Tokens) -> None:
    graph = Graph(exported / "1")
    reading = Reading(graph)
    pieces = [reading.read(ids[:, :17]), *(reading.read(ids[:, i : i + 1]) for i in range(17, 40))]
    whole = graph.logits(ids)
    assert np.abs(np.concatenate(pieces, 1) - whole).max() < 0.05 * whole.std()


def test_no_weight_is_left_in_fp32(exported: Path) -> None:
    graph = onnx.load(exported / "1" / "model.onnx").graph
    operators = [node.op_type for node in graph.node]
    assert "MatMul" not in operators
    assert operators.count("GatherBlockQuantized") == 1
    embeddings = [tensor for tensor in graph.initializer if 512 in tensor.dims and len(tensor.raw_data) >= 512 * 64]
    assert [tensor.data_type for tensor in embeddings] == [onnx.TensorProto.UINT8]


def test_the_version_directory_states_what_a_server_must_know(exported: Path) -> None:
    assert json.loads((exported / "1" / "generation.json").read_text(encoding="utf-8")) == {
        "context_length": 128,
        "eos_token_ids": [0],
        "bos_token_id": 0,
        "vocab_size": 512,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "head_size": 32,
    }


def test_a_chat_becomes_comments_that_code_follows(exported: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported / "source")
    messages = [
        {"role": "system", "content": "Write Python."},
        {"role": "user", "content": "Add two\nnumbers"},
        {"role": "assistant", "content": "def add(a, b):\n    return a + b"},
        {"role": "user", "content": "Subtract"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "# Write Python.\n# Add two\n# numbers\ndef add(a, b):\n    return a + b\n# Subtract\n"
