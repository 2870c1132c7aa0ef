"""The recipe is a function of its seed, wherever it is interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.training.tiny import RUN
from training.corpus import SourceFile, read_corpus
from training.optimizer import rate_share
from training.train import Corpus, Trainer
from training.windows import Reader, loosen_spaces, token_stream

STOPPED_AT = 9


@pytest.fixture(scope="module")
def corpus(files: list[SourceFile], tokenizer: Tokenizer) -> Corpus:
    half = len(files) // 2
    streams = (token_stream(files[:half], tokenizer), token_stream(files[half:], tokenizer))
    loose = tuple(loosen_spaces(stream, tokenizer, 0.5, seed=0) for stream in streams)
    return Corpus(Reader(streams, seed=0), Reader(loose, seed=0), held_out=streams[0])


@pytest.fixture(scope="module")
def whole(corpus: Corpus) -> list[float]:
    return losses(Trainer(RUN, corpus, compiled=False), RUN.steps)


def losses(trainer: Trainer, steps: int) -> list[float]:
    return [trainer.advance() for _ in range(steps)]


def test_the_same_seed_trains_the_same_model_though_it_was_stopped(
    corpus: Corpus, whole: list[float], tmp_path: Path
) -> None:
    stopped = Trainer(RUN, corpus, compiled=False)
    assert losses(stopped, STOPPED_AT) == whole[:STOPPED_AT]
    stopped.save(tmp_path / "checkpoint.pt")
    later = Trainer(RUN, corpus, compiled=False)
    later.resume(tmp_path / "checkpoint.pt")
    assert losses(later, RUN.steps - STOPPED_AT) == pytest.approx(whole[STOPPED_AT:])


def test_training_learns(whole: list[float]) -> None:
    assert whole[-1] < whole[0]


def test_the_last_steps_read_whole_contexts() -> None:
    assert [RUN.window(step) for step in (0, 15, 16, 19)] == [32, 32, 64, 64]


def test_rates_go_up_stay_and_end_near_zero() -> None:
    shares = [rate_share(step, 200, 100) for step in (0, 19, 39, 99, 150, 199)]
    assert shares == pytest.approx([0.025, 0.5, 1.0, 1.0, 0.5, 0.01])


def test_a_pass_reads_every_window_once(corpus: Corpus) -> None:
    alone = Reader(corpus.tight.streams[:1], seed=0)
    count = (len(alone.streams[0]) - 1) // 32 - 1
    rows = alone.batch(0, count, 32).numpy()
    assert rows.shape == (count, 33)
    assert len(np.unique(rows, axis=0)) == count


def test_a_loose_space_changes_the_tokens_and_not_the_text(corpus: Corpus, tokenizer: Tokenizer) -> None:
    tight, loose = corpus.tight.streams[0], corpus.loose.streams[0]
    assert len(loose) > len(tight)
    assert tokenizer.decode(loose.tolist()) == tokenizer.decode(tight.tolist())


def test_the_corpus_leaves_out_copies_and_tables(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "encodings/cp037.py", "test/test_x.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x = 1\n" if name in ("a.py", "b.py") else f"# {name}\n", encoding="utf-8")
    found = read_corpus(tmp_path)
    assert [(file.path, file.is_test) for file in found] == [("a.py", False), ("test/test_x.py", True)]


def test_line_ends_and_indentation_are_tokens_of_their_own(tokenizer: Tokenizer) -> None:
    text = "def f(self):\n    if self:\n        return 1\n"
    encoded = tokenizer.encode(text)
    assert tokenizer.decode(encoded.ids) == text
    assert encoded.tokens.count("Ċ") == 3
    assert {"Ġ" * 4, "Ġ" * 8} <= set(encoded.tokens)
