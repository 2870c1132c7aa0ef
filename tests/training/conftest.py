"""Text that needs no standard library, and the models that ship; collected only where torch is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from training.corpus import SourceFile, read_corpus
from training.tokenizer import train_tokenizer

# The server's environment has no torch; training is tested in the conversion environment.
collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "model_repository"
SHIPPED = MODELS / "stdlib-coder"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads wait longer for each other than models of this size compute."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def files() -> list[SourceFile]:
    """The training code itself: some Python text that is always there."""
    return read_corpus(ROOT / "training")


@pytest.fixture(scope="session")
def tokenizer(files: list[SourceFile]) -> Tokenizer:
    return train_tokenizer((file.text for file in files), vocab_size=512)


@pytest.fixture(scope="session")
def models() -> Path:
    return MODELS


@pytest.fixture(scope="session")
def shipped() -> Path:
    return SHIPPED


@pytest.fixture(scope="session")
def unseen_text() -> str:
    """Python written for this test, so no model of the standard library has read it."""
    return (Path(__file__).parent / "held_out.txt").read_text(encoding="utf-8")
