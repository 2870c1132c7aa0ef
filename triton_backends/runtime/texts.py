"""Texts on their way to a model: UTF-8, and the tokenizer that a Hugging Face model carries."""

from __future__ import annotations

from tokenizers import Tokenizer

from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.parameters import InvalidParameter


def decode_text(name: str, raw: bytes) -> str:
    """`name` is what the error calls it. Raises: InvalidParameter."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from None


def read_tokenizer(tokenizer_json: str) -> Tokenizer:
    """Raises: BrokenModel."""
    try:
        return Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # The library raises nothing narrower.
        raise BrokenModel(f"tokenizer.json cannot be read: {error}") from None
