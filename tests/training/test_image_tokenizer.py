"""The tokenizer of prompts is trained to the same file each time, and cuts prompts as the shipped one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from training.images.prompts import Writer
from training.images.tokenizer import train_tokenizer
from training.images.train_encoder import TextRun

REPOSITORY = Path(__file__).parents[2]
SHIPPED = REPOSITORY / "model_repository" / "digits-text-to-image" / "1" / "tokenizer.json"
# Among so few prompts many pairs of pieces are equally frequent where the vocabulary is full.
VOCAB_SIZE, PROMPTS = 600, 2_000
TRAIN = f"from training.images.tokenizer import train_tokenizer as t; print(t(0, {VOCAB_SIZE}, {PROMPTS}).to_str())"


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    """As a run trains it."""
    return train_tokenizer(TextRun.seed, TextRun().shape.vocab_size)


def in_a_process_of_its_own(hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    told = subprocess.run(
        [sys.executable, "-c", TRAIN], cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True
    )
    return told.stdout.strip()


def without_numbers(tokenizer: Tokenizer) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(tokenizer.to_str())
    told["model"]["vocab"] = set(told["model"]["vocab"])
    return told


def test_two_processes_train_the_same_file_byte_for_byte() -> None:
    here = train_tokenizer(0, VOCAB_SIZE, PROMPTS).to_str()
    assert [in_a_process_of_its_own(hash_seed) for hash_seed in ("1", "2")] == [here, here]


def test_the_pieces_are_those_of_the_shipped_tokenizer_and_only_their_numbers_are_others(trained: Tokenizer) -> None:
    shipped = Tokenizer.from_file(str(SHIPPED))
    assert without_numbers(trained) == without_numbers(shipped)
    writer = Writer(seed=1, held_out=True)
    for text in (writer.write().text for _ in range(500)):
        assert trained.encode(text).tokens == shipped.encode(text).tokens


def test_pieces_inside_words_are_not_cut_out_of_a_text_as_special_tokens(trained: Tokenizer) -> None:
    assert trained.encode("draw a ##n").tokens == ["[CLS]", "draw", "a", "[UNK]", "[UNK]", "n"]
    assert trained.token_to_id("[PAD]") == 0
