"""The tokenizer that lies beside the graph of a text model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.onnx_graphs.files import first_line
from converters.recipe import Refused

TOKENIZER = "tokenizer.json"


def open_tokenizer(folder: Path, max_tokens: int | None = None) -> Any:
    """A `tokenizers.Tokenizer` that does not pad, and cuts at `max_tokens` only. Raises Refused."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises nothing narrower
        raise Refused(f"{TOKENIZER} of the text model cannot be read: {first_line(error)}") from error
    direction = (tokenizer.truncation or {}).get("direction", "right").lower()
    tokenizer.no_truncation()
    if max_tokens is not None:
        tokenizer.enable_truncation(max_tokens, direction=direction)
    tokenizer.no_padding()
    return tokenizer
