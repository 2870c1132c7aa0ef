"""The model in the repository is the one its card describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from training.export import load_source
from training.score import score, torch_logits
from training.session import Graph

LIMIT_BYTES = 32_000_000


@pytest.fixture(scope="module")
def figures(shipped: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shipped / "figures.json").read_text(encoding="utf-8"))
    return found


def test_it_is_small_enough_to_ship(shipped: Path) -> None:
    assert sum(path.stat().st_size for path in shipped.rglob("*") if path.is_file()) <= LIMIT_BYTES


def test_its_description_tells_the_truth(shipped: Path) -> None:
    described = json.loads((shipped / "tritonplane.json").read_text(encoding="utf-8"))
    model = load_source(shipped / "source")
    assert described["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert described["context_length"] == model.config.max_position_embeddings >= 1024


def test_the_card_gives_the_measured_figures(shipped: Path, figures: dict[str, Any]) -> None:
    card = (shipped / "README.md").read_text(encoding="utf-8")
    for part in figures["held_out"].values():
        for name, digits in (("loss", 3), ("perplexity", 2), ("bits_per_byte", 3), ("served_perplexity_ratio", 4)):
            assert f"{part[name]:.{digits}f}" in card
    for sample in figures["samples"]:
        assert sample["greedy"] in card
        assert sample["sampled"] in card


def test_eight_bits_cost_almost_nothing_on_unseen_text(shipped: Path, unseen_text: str) -> None:
    tokenizer = Tokenizer.from_file(str(shipped / "1" / "tokenizer.json"))
    stream = np.array(tokenizer.encode(unseen_text).ids, np.int64)
    window = len(stream) - 2
    source = score(torch_logits(load_source(shipped / "source")), stream, window)
    served = score(Graph(shipped / "1").logits, stream, window)
    assert served.loss == pytest.approx(source.loss, abs=0.01)
    assert source.perplexity < 25
    assert float((served.guesses == source.guesses).mean()) > 0.97


def test_the_last_positions_of_the_context_are_as_good_as_the_middle(figures: dict[str, Any]) -> None:
    for part in figures["held_out"].values():
        by_position = part["loss_by_position"]
        assert by_position["960-1023"] < by_position["0-63"]


def test_both_tokenizers_are_one(shipped: Path, unseen_text: str) -> None:
    served = Tokenizer.from_file(str(shipped / "1" / "tokenizer.json"))
    source = AutoTokenizer.from_pretrained(shipped / "source")
    ids = served.encode(unseen_text).ids
    assert source.encode(unseen_text) == ids
    assert served.decode(ids) == source.decode(ids) == unseen_text
