"""Encoders become graphs from tokens to embeddings that are what sentence-transformers computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.transformers import optimizer
from sentence_transformers import SentenceTransformer

from converters.checks.results import require_passed
from converters.checks.text_encoder import GraphEncoder, check_text_encoder
from converters.contract import Converted, TensorFact
from converters.formats import Artifact, Format
from converters.inspection import describe
from converters.recipe import OutOfTolerance
from converters.text_encoders.files import read_facts
from converters.text_encoders.source import FAMILIES as SUPPORTED
from tests.converters.conversions import checks, convert, model_file
from tests.converters.tiny_encoders import (
    FAMILIES,
    HIDDEN,
    LAYERS,
    POSITIONS,
    change,
    save_encoder,
    save_sentence_encoder,
)

TEXTS = ["a word", "Many words in a row, and then some more of them: " * 3, "", "Größe 東京", "x" * 90]
MEAN = {"pooling_mode_mean_tokens": True}


def test_every_supported_family_has_a_tiny_model_here() -> None:
    assert set(FAMILIES) == set(SUPPORTED)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_an_encoder_of_each_family_answers_as_its_source(family: str, tmp_path: Path) -> None:
    converted = convert(save_encoder(tmp_path / "source", family), tmp_path / "work")

    graph = describe(model_file(converted))
    names = ("input_ids", "attention_mask", *(("token_type_ids",) if FAMILIES[family].has_types else ()))
    assert graph.inputs == tuple(TensorFact(name, "INT64", (-1, -1)) for name in names)
    assert graph.outputs == (TensorFact("embedding", "FP32", (-1, HIDDEN)),)
    assert encode(converted, TEXTS) == pytest.approx(source_answers(tmp_path / "source"), abs=1e-5)
    found = checks(converted)
    assert found["mean_cosine"] == pytest.approx(1.0, abs=1e-6)
    assert found["max_difference"] < 1e-5
    assert found["padding_difference"] < 1e-5


def test_the_directory_is_what_the_backend_opens(tmp_path: Path) -> None:
    converted = convert(save_encoder(tmp_path / "source"), tmp_path / "work")

    facts = json.loads(model_file(converted, "encoder.json").read_text())
    tokenizer = json.loads(model_file(converted, "tokenizer.json").read_text())
    assert facts == {
        **{"task": "embedding", "max_tokens": POSITIONS, "pad_token_id": 0},
        **{"dimensions": HIDDEN, "labels": None},
    }
    assert (tokenizer["padding"], tokenizer["truncation"]) == (None, None)
    assert converted.facts.tasks == ("embedding",)
    assert converted.facts.context_length == POSITIONS
    assert converted.facts.parameters == describe(model_file(converted)).parameters


def test_a_conversion_gives_the_same_bytes_again(tmp_path: Path) -> None:
    source = save_encoder(tmp_path / "source")

    once, again = (convert(source, tmp_path / name) for name in ("once", "again"))

    for name in ("model.onnx", "tokenizer.json", "encoder.json"):
        assert model_file(once, name).read_bytes() == model_file(again, name).read_bytes()


@pytest.mark.parametrize(
    "pooling",
    [
        *(
            {"pooling_mode": mode}
            for mode in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
        ),
        {"pooling_mode_cls_token": True},
        {"pooling_mode_max_tokens": True, "pooling_mode_mean_sqrt_len_tokens": True, "pooling_mode_cls_token": False},
        {"pooling_mode": ["lasttoken", "cls"]},
        {},
    ],
    ids=str,
)
def test_each_pooling_is_the_one_of_sentence_transformers(pooling: dict[str, Any], tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", pooling)

    converted = convert(source, tmp_path / "work")

    assert encode(converted, TEXTS) == pytest.approx(source_answers(source), abs=1e-5)


def test_what_comes_after_the_pooling_is_in_the_graph(tmp_path: Path) -> None:
    source = save_sentence_encoder(
        tmp_path / "source",
        MEAN,
        ("Dense", {"in_features": HIDDEN, "out_features": 24, "bias": True}),
        ("LayerNorm", {"dimension": 24}),
        ("Dropout", {"dropout": 0.5}),
        ("Dense", {"in_features": 24, "out_features": 12, "bias": False,
                   "activation_function": "torch.nn.modules.activation.GELU"}),
        ("Normalize", {}),
    )  # fmt: skip

    converted = convert(source, tmp_path / "work")

    embeddings = encode(converted, TEXTS)
    assert embeddings.shape == (len(TEXTS), 12)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert embeddings == pytest.approx(source_answers(source), abs=1e-5)


@pytest.mark.parametrize("activation", ["Identity", "Tanh", "ReLU", "GELU", "Sigmoid"])
def test_each_activation_of_a_dense_layer_is_known_to_the_check(activation: str, tmp_path: Path) -> None:
    module = "linear" if activation == "Identity" else "activation"
    dense = {"in_features": HIDDEN, "out_features": 8, "activation_function": f"torch.nn.modules.{module}.{activation}"}
    source = save_sentence_encoder(tmp_path / "source", MEAN, ("Dense", dense))

    converted = convert(source, tmp_path / "work")

    assert checks(converted)["max_difference"] < 1e-5


def test_texts_are_cut_where_sentence_transformers_cuts_them(tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", MEAN, max_seq_length=9)

    converted = convert(source, tmp_path / "work")

    assert facts(converted)["max_tokens"] == 9
    assert encode(converted, TEXTS) == pytest.approx(source_answers(source), abs=1e-5)


@pytest.mark.parametrize(("family", "said", "expected"), [("bert", 512, 64), ("roberta", 512, 64), ("bert", 20, 20)])
def test_no_text_gets_more_tokens_than_there_are_positions(
    family: str, said: int, expected: int, tmp_path: Path
) -> None:
    source = save_encoder(tmp_path / "source", family)
    change(source / "tokenizer_config.json", model_max_length=said)

    assert facts(convert(source, tmp_path / "work"))["max_tokens"] == expected


def test_lower_case_as_sentence_transformers_asks_for_it(tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", MEAN, do_lower_case=True)
    change(source / "tokenizer_config.json", do_lower_case=False)

    converted = convert(source, tmp_path / "work")

    assert encode(converted, ["SOME Words"]) == pytest.approx(encode(converted, ["some words"]))
    assert encode(converted, TEXTS) == pytest.approx(source_answers(source), abs=1e-5)


def test_a_vocabulary_file_alone_becomes_a_tokenizer(tmp_path: Path) -> None:
    source = save_encoder(tmp_path / "source")
    vocabulary = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    (source / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    (source / "tokenizer.json").unlink()

    converted = convert(source, tmp_path / "work")

    assert encode(converted, TEXTS) == pytest.approx(source_answers(source), abs=1e-5)


def test_half_precision_weights_become_a_graph_in_single_precision(tmp_path: Path) -> None:
    source = save_encoder(tmp_path / "source", dtype="float16")

    converted = convert(source, tmp_path / "work")

    assert converted.facts.dtype == "float32"


def test_the_graph_can_be_quantized_and_its_attention_fused(tmp_path: Path) -> None:
    converted = convert(save_encoder(tmp_path / "source"), tmp_path / "work")
    tokens = {name: np.ones((2, 5), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    expected = answers(model_file(converted), tokens)

    quantize_dynamic(model_file(converted), tmp_path / "int8.onnx")
    fused = optimizer.optimize_model(
        str(model_file(converted)), model_type="bert", num_heads=2, hidden_size=HIDDEN, opt_level=0
    )
    fused.save_model_to_file(str(tmp_path / "fused.onnx"))

    assert fused.get_fused_operator_statistics()["Attention"] == LAYERS
    assert answers(tmp_path / "fused.onnx", tokens) == pytest.approx(expected, abs=1e-5)
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert "MatMulInteger" in kinds
    assert answers(tmp_path / "int8.onnx", tokens) == pytest.approx(expected, abs=0.2)


def test_a_graph_that_pools_otherwise_than_its_source_is_found_out(tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", MEAN)
    made = made_of(convert(source, tmp_path / "work"))
    change(source / "1_Pooling/config.json", pooling_mode="cls")

    found = check_text_encoder(Artifact(Format.ENCODER, source, made.facts), made, is_exact=True)

    with pytest.raises(OutOfTolerance, match="max_difference"):
        require_passed(found)


def test_a_graph_that_heeds_its_padding_is_found_out(tmp_path: Path) -> None:
    converted = convert(save_encoder(tmp_path / "source"), tmp_path / "work")
    graph = onnx.load(model_file(converted))
    # The mask of the attention is all ones now; the pooling still has its own.
    ones = onnx.helper.make_node("Sub", ["attention_mask", "attention_mask"], ["no_mask"])
    one = onnx.helper.make_node("Cos", ["no_mask_f"], ["ones_f"])
    to_float = onnx.helper.make_node("Cast", ["no_mask"], ["no_mask_f"], to=onnx.TensorProto.FLOAT)
    to_int = onnx.helper.make_node("Cast", ["ones_f"], ["ones"], to=onnx.TensorProto.INT64)
    for node in graph.graph.node:
        if "/model/" in node.name:
            node.input[:] = ["ones" if name == "attention_mask" else name for name in node.input]
    for node in (to_int, one, to_float, ones):
        graph.graph.node.insert(0, node)
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    onnx.save(graph, spoilt / "model.onnx")
    for name in ("tokenizer.json", "encoder.json"):
        (spoilt / name).write_bytes(model_file(converted, name).read_bytes())
    made = Artifact(Format.TEXT_ENCODER, spoilt, converted.facts)

    # Against itself: only the padding shows it.
    found = check_text_encoder(made, made, is_exact=True)

    assert [check.name for check in found if not check.passed] == ["padding_difference"]


def made_of(converted: Converted) -> Artifact:
    return Artifact(Format.TEXT_ENCODER, model_file(converted).parent, converted.facts)


def facts(converted: Converted) -> dict[str, Any]:
    return json.loads(model_file(converted, "encoder.json").read_text())  # type: ignore[no-any-return]


def encode(converted: Converted, texts: list[str]) -> Any:
    made = made_of(converted)
    return GraphEncoder(made, made, read_facts(made.directory))(texts)


def source_answers(source: Path) -> Any:
    return SentenceTransformer(str(source), device="cpu", local_files_only=True).encode(TEXTS)


def answers(graph: Path, tokens: dict[str, Any]) -> Any:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, tokens)[0]
