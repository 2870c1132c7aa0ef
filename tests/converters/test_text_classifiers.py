"""Sequence classifiers become graphs from tokens to logits and probabilities, with the labels of their source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from converters.checks.results import require_passed
from converters.checks.text_encoder import check_text_encoder
from converters.contract import Converted, TensorFact
from converters.formats import Artifact, Format
from converters.inspection import describe
from converters.recipe import OutOfTolerance
from tests.converters.conversions import checks, convert, model_file
from tests.converters.tiny_encoders import FAMILIES, change, save_classifier

TOKENS = {
    "input_ids": np.array([[2, 40, 50, 60, 3], [2, 70, 3, 0, 0]]),
    "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_classifier_of_each_family_answers_as_its_source(family: str, tmp_path: Path) -> None:
    labels = {0: "bad", 1: "neutral", 2: "good"}
    source = save_classifier(tmp_path / "source", family, id2label=labels, label2id={v: k for k, v in labels.items()})

    converted = convert(source, tmp_path / "work")

    outputs = describe(model_file(converted)).outputs
    assert outputs == (TensorFact("logits", "FP32", (-1, 3)), TensorFact("probabilities", "FP32", (-1, 3)))
    facts = json.loads(model_file(converted, "encoder.json").read_text())
    assert (facts["task"], facts["dimensions"]) == ("classification", 3)
    assert facts["labels"] == ["bad", "neutral", "good"]
    assert converted.facts.tasks == ("text_classification",)
    logits, probabilities = answers(converted)
    assert logits == pytest.approx(source_logits(source), abs=1e-5)
    assert probabilities == pytest.approx(softmax(logits), abs=1e-6)
    found = checks(converted)
    assert found["top1_agreement"] == 1.0
    assert found["max_difference"] < 1e-5


@pytest.mark.parametrize(
    ("labels", "problem_type"), [(3, "multi_label_classification"), (1, None), (1, "multi_label_classification")]
)
def test_labels_that_do_not_exclude_each_other_have_a_probability_each(
    labels: int, problem_type: str | None, tmp_path: Path
) -> None:
    source = save_classifier(tmp_path / "source", num_labels=labels)
    change(source / "config.json", problem_type=problem_type)

    logits, probabilities = answers(convert(source, tmp_path / "work"))

    assert logits.shape == (2, labels)
    assert probabilities == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


def test_labels_that_exclude_each_other_by_configuration_share_one_probability(tmp_path: Path) -> None:
    source = save_classifier(tmp_path / "source", problem_type="single_label_classification")

    _, probabilities = answers(convert(source, tmp_path / "work"))

    assert probabilities.sum(axis=1) == pytest.approx(1.0)


def test_a_classifier_with_other_weights_than_its_source_is_found_out(tmp_path: Path) -> None:
    source = save_classifier(tmp_path / "source")
    converted = convert(source, tmp_path / "work")
    other = save_classifier(tmp_path / "other", initializer_range=0.3)
    made = Artifact(Format.TEXT_ENCODER, model_file(converted).parent, converted.facts)

    found = check_text_encoder(Artifact(Format.CLASSIFIER, other, made.facts), made, is_exact=True)

    with pytest.raises(OutOfTolerance, match="max_difference"):
        require_passed(found)


def answers(converted: Converted) -> Any:
    session = onnxruntime.InferenceSession(model_file(converted), providers=["CPUExecutionProvider"])
    types = {"token_type_ids": np.zeros_like(TOKENS["input_ids"])}
    names = {entry.name for entry in session.get_inputs()}
    return session.run(None, {name: value for name, value in (TOKENS | types).items() if name in names})


def source_logits(source: Path) -> Any:
    model = AutoModelForSequenceClassification.from_pretrained(source, local_files_only=True).eval()
    with torch.no_grad():
        return model(**{name: torch.from_numpy(value) for name, value in TOKENS.items()}).logits.numpy()


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
