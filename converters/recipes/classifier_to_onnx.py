"""Hugging Face sequence classifiers to a graph from tokens to logits and probabilities."""

from __future__ import annotations

from typing import Any

from converters.contract import Facts
from converters.formats import Format
from converters.recipe import Recipe, Step, UnsupportedSource
from converters.text_encoders.files import CLASSIFICATION, EncoderFacts, pad_token_id, token_limit, write_tokenizer
from converters.text_encoders.source import open_model, open_tokenizer, read_config

_MULTIPLE = "multi_label_classification"
# How sentence-transformers marks a model that scores a pair of texts.
_CROSS_ENCODER = ("sentence_transformers", "sbert_ce_default_activation_function")


def run(step: Step) -> Facts:
    """Raises Refused."""
    from converters.text_encoders.export import Classifier, describe, export

    folder = step.source.directory
    settings = read_config(folder)
    _check_task(settings)
    tokenizer = open_tokenizer(folder)
    model = open_model(folder, "AutoModelForSequenceClassification")
    config = model.config
    step.report(0.3)
    is_exclusive = config.num_labels > 1 and config.problem_type != _MULTIPLE
    classifier = Classifier(model, is_exclusive=is_exclusive).eval()
    padding = pad_token_id(tokenizer, config)
    max_tokens = token_limit(tokenizer, config, None)
    facts = EncoderFacts(CLASSIFICATION, max_tokens, padding, classifier.dimensions, labels_of(config))
    write_tokenizer(tokenizer, step.target, is_lowered=False, vocabulary=config.vocab_size)
    facts.write(step.target)
    export(classifier, step.target, padding)
    return describe(step.target, "text_classification", max_tokens)


def labels_of(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))


def _check_task(settings: dict[str, Any]) -> None:
    if settings.get("problem_type") == "regression":
        raise UnsupportedSource(
            "the model is a regression (problem_type): its answer is a number and no probability of a label, and "
            "text encoders give embeddings or probabilities"
        )
    if any(settings.get(name) for name in _CROSS_ENCODER):
        raise UnsupportedSource("the model is a cross-encoder, which scores pairs of texts; classifiers take one text")


RECIPE = Recipe(
    name="classifier_to_onnx",
    summary="Hugging Face sequence classifier to ONNX, probabilities inside the graph",
    gives={Format.CLASSIFIER: Format.TEXT_ENCODER},
    run=run,
)
