"""The texts that converted forms of the shipped model are judged by are those that it never read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from training.corpus import SourceFile, read_corpus, standard_library
from training.evaluation_texts import FILE, STRETCH_CHARACTERS, evaluation_texts

MANIFEST = Path(__file__).parents[2] / "training" / "manifest.json"
LIMIT_BYTES, TOKENS_MIN = 300_000, 4_000


def held_out(path: str, text: str) -> SourceFile:
    return SourceFile(path, "00" * 32, text)


def digest_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def test_the_shipped_texts_are_made_of_the_held_out_files(shipped: Path) -> None:
    rows = json.loads(MANIFEST.read_text("utf-8"))
    wanted = {path: digest for path, digest, part in rows if part.startswith("held_out")}
    if any(digest_of(standard_library() / path) != digest for path, digest in wanted.items()):
        pytest.skip("this Python has another standard library than the one that was trained on")
    # Distributors add files of their own.
    files = [file for file in read_corpus(standard_library()) if file.held_out and file.path in wanted]
    assert {file.path: file.sha256 for file in files} == wanted
    assert (shipped / FILE).read_text("utf-8") == evaluation_texts(files)


def test_they_are_small_and_enough(shipped: Path) -> None:
    content = (shipped / FILE).read_bytes()
    tokenizer = Tokenizer.from_file(str(shipped / "1" / "tokenizer.json"))
    texts = [json.loads(line)["text"] for line in content.decode().splitlines()]
    assert len(content) <= LIMIT_BYTES
    assert len(texts) == 48
    assert sum(len(tokenizer.encode(text).ids) - 1 for text in texts) >= TOKENS_MIN


def test_a_stretch_begins_and_ends_with_a_line_and_trained_files_have_none() -> None:
    lines = "".join(f"line {number}\n" for number in range(2_000))
    trained = SourceFile("b.py", "ff" * 32, "trained")
    made = evaluation_texts([held_out("a.py", lines), trained, held_out("c.py", "short")])

    first, second = (json.loads(line)["text"] for line in made.splitlines())
    assert len(first) <= STRETCH_CHARACTERS
    assert f"\n{first}" in lines
    assert first.startswith("line ")
    assert first.endswith("\n")
    assert second == "short"
    assert len(json.loads(evaluation_texts([held_out("d.py", "x" * 9_000)]))["text"]) == STRETCH_CHARACTERS
