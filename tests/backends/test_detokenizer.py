"""From token ids to pieces of text."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer

from tests.backends.conftest import PROJECT
from triton_backends.text_generation.detokenizer import Pieces, UnknownTokenizer, token_bytes

TOKENIZER_JSON = (PROJECT / "tests" / "fixtures" / "tiny_text_model" / "1" / "tokenizer.json").read_text()
TABLE = token_bytes(TOKENIZER_JSON)
TOKENIZER = Tokenizer.from_str(TOKENIZER_JSON)


def pieces_of(text: str, *stops: str) -> tuple[list[str], bool]:
    pieces = Pieces(TABLE, stops)
    made = []
    for token_id in TOKENIZER.encode(text).ids:
        made.append(pieces.push(token_id))
        if pieces.stopped:
            return made, True
    return [*made, pieces.flush()], False


@pytest.mark.parametrize("text", ["def main():\n    return 0\n", "grüße 日本語 🎉🎉 \u0000\t", "  spaces  ", "é"])
def test_the_pieces_joined_are_the_text(text: str) -> None:
    made, _ = pieces_of(text)
    assert "".join(made) == text
    assert "\ufffd" not in "".join(made)


def test_a_character_of_several_tokens_comes_whole_with_its_last() -> None:
    made, _ = pieces_of("🎉")
    assert made[:-2] == [""] * (len(made) - 2)
    assert made[-2:] == ["🎉", ""]


def test_an_unfinished_character_at_the_end_becomes_a_replacement() -> None:
    pieces = Pieces(TABLE, ())
    first = TOKENIZER.encode("🎉").ids[0]
    assert pieces.push(first) == ""
    assert pieces.flush() == "\ufffd"


def test_bytes_that_no_character_begins_with_become_a_replacement_at_once() -> None:
    continuation = next(token_id for token_id, piece in enumerate(TABLE) if piece == b"\x89")
    assert Pieces(TABLE, ()).push(continuation) == "\ufffd"


@pytest.mark.parametrize("stop", ["):", "return", "\n", "urn 0", "n", "main():\n    return 0\n"])
def test_a_stop_sequence_ends_the_text_before_it(stop: str) -> None:
    text = "def main():\n    return 0\n"
    made, stopped = pieces_of(text, stop)
    assert stopped
    assert "".join(made) == text[: text.index(stop)]


def test_the_earliest_of_several_stop_sequences_counts() -> None:
    made, stopped = pieces_of("one two three", "three", "two", "zzz")
    assert stopped
    assert "".join(made) == "one "


def test_text_that_only_begins_like_a_stop_sequence_is_given_in_the_end() -> None:
    made, stopped = pieces_of("abcab", "abcabd")
    assert not stopped
    assert made[:-1] == [""] * (len(made) - 1)
    assert "".join(made) == "abcab"


def test_special_tokens_have_no_text() -> None:
    assert TABLE[0] == b""


def test_sentencepiece_tokens_are_understood() -> None:
    document = {
        "added_tokens": [{"id": 0, "content": "<s>", "special": True}],
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"vocab": {"<s>": 0, "<0xC3>": 1, "<0xA9>": 2, "\u2581caf": 3}},
    }
    pieces = Pieces(token_bytes(json.dumps(document)), ())
    assert [pieces.push(token_id) for token_id in (3, 1, 2)] == [" caf", "", "é"]


def test_a_tokenizer_whose_tokens_are_not_bytes_is_refused() -> None:
    with pytest.raises(UnknownTokenizer, match="WordPiece"):
        token_bytes('{"model": {"vocab": {"a": 0}}, "decoder": {"type": "WordPiece"}}')
