"""Turns token ids into text piece by piece: the pieces joined are the text, and no piece splits a character."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any


class UnknownTokenizer(ValueError):
    """The tokenizer's decoder is of a kind whose tokens cannot be turned into bytes one by one."""


def token_bytes(tokenizer_json: str) -> list[bytes]:
    """The bytes each token id stands for; special tokens stand for none.

    Covers byte-level BPE (GPT-2, Llama 3, Qwen, ...) and SentencePiece with byte fallback (Llama 2, Gemma, ...).
    """
    document = json.loads(tokenizer_json)
    decode = _token_decoder(document)
    vocabulary = document["model"]["vocab"]
    pairs = vocabulary.items() if isinstance(vocabulary, dict) else _unigram_pairs(vocabulary)
    table = {token_id: decode(token) for token, token_id in pairs}
    for added in document.get("added_tokens", []):
        table[added["id"]] = b"" if added["special"] else added["content"].encode()
    return [table.get(token_id, b"") for token_id in range(max(table) + 1)]


class Pieces:
    """The text of one candidate so far, cut at the first stop sequence.

    Text is held back while it is an unfinished character or could still become a stop sequence.
    """

    def __init__(self, table: Sequence[bytes], stops: Sequence[str]) -> None:
        self._table = table
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """The text that is certain once this token is known; `stopped` tells whether a stop sequence was reached."""
        piece = self._table[token_id] if token_id < len(self._table) else b""
        return self._advance(self._decoder.decode(piece))

    def flush(self) -> str:
        """What was held back, at the end; an unfinished character becomes U+FFFD."""
        text = self._advance(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _advance(self, text: str) -> str:
        if not self._stops:
            return text
        text = self._held + text
        found = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max(_unfinished(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _unfinished(text: str, stop: str) -> int:
    """The length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


def _unigram_pairs(vocabulary: list[list[Any]]) -> list[tuple[str, int]]:
    return [(token, token_id) for token_id, (token, _) in enumerate(vocabulary)]


def _token_decoder(document: dict[str, Any]) -> Any:
    decoder = document.get("decoder") or {}
    kinds = {step["type"] for step in [decoder, *decoder.get("decoders", [])] if "type" in step}
    if "ByteLevel" in kinds:
        return _byte_level
    if kinds & {"Metaspace", "ByteFallback"}:
        return _sentencepiece
    raise UnknownTokenizer(
        f"tokenizer.json decodes with {sorted(kinds) or 'nothing'}; byte-level BPE and SentencePiece are supported"
    )


def _byte_level(token: str) -> bytes:
    alphabet = _byte_alphabet()
    if all(character in alphabet for character in token):
        return bytes(alphabet[character] for character in token)
    return token.encode()


def _sentencepiece(token: str) -> bytes:
    if len(token) == len("<0x00>") and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " ").encode()


@lru_cache(1)
def _byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level BPE (GPT-2's `bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
