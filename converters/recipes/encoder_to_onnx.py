"""Hugging Face encoders and sentence-transformers directories to a graph from tokens to embeddings."""

from __future__ import annotations

from converters.contract import Facts
from converters.formats import Format
from converters.recipe import Recipe, Step
from converters.text_encoders.files import EMBEDDING, EncoderFacts, pad_token_id, token_limit, write_tokenizer
from converters.text_encoders.sentence_modules import read_layout
from converters.text_encoders.source import open_model, open_tokenizer, read_config


def run(step: Step) -> Facts:
    """Raises Refused."""
    from converters.text_encoders.export import Embedder, describe, export

    layout = read_layout(step.source.directory)
    read_config(layout.transformer)
    tokenizer = open_tokenizer(layout.transformer)
    model = open_model(layout.transformer, "AutoModel")
    embedder = Embedder(model, layout).eval()
    step.report(0.3)
    padding = pad_token_id(tokenizer, model.config)
    facts = EncoderFacts(
        EMBEDDING, token_limit(tokenizer, model.config, layout.max_tokens), padding, embedder.dimensions
    )
    write_tokenizer(tokenizer, step.target, is_lowered=layout.is_lowered, vocabulary=model.config.vocab_size)
    facts.write(step.target)
    export(embedder, step.target, padding)
    return describe(step.target, "embedding", facts.max_tokens)


RECIPE = Recipe(
    name="encoder_to_onnx",
    summary="Hugging Face encoder or sentence-transformers directory to ONNX, pooling inside the graph",
    gives={Format.ENCODER: Format.TEXT_ENCODER},
    run=run,
)
