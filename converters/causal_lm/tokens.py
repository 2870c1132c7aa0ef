"""What a language model knows of tokens: its tokenizer, its chat template, and the ids that begin and end a text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converters.causal_lm.config import CausalLmConfig
from converters.onnx_graphs.files import first_line
from converters.recipe import Refused, UnsupportedSource

TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template.jinja"
# What a tokenizer.json can be made from; without any of them transformers makes up an empty tokenizer.
_OLDER = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
# Decoders whose tokens stand for bytes one by one, as a stream of text needs.
_STREAMED = {"ByteLevel", "Metaspace", "ByteFallback"}


def write_tokenizer(folder: Path, target: Path, config: CausalLmConfig) -> None:
    """Put tokenizer.json into `target`, made from the older files where there is none. Raises: Refused.

    Added tokens that the model has no row for (Gemma 3 lists an image token) are left out: nothing could follow them.
    """
    if (folder / TOKENIZER).is_file():
        shutil.copyfile(folder / TOKENIZER, target / TOKENIZER)
    else:
        _made_anew(folder).save(str(target / TOKENIZER))
    document = _read_object(target / TOKENIZER)
    added = document.get("added_tokens") or []
    kept = [one for one in added if one["id"] < config.vocab_size or not one.get("special")]
    if len(kept) < len(added):
        (target / TOKENIZER).write_text(json.dumps(document | {"added_tokens": kept}, ensure_ascii=False), "utf-8")
    _check_tokenizer(target / TOKENIZER, config)


def _made_anew(folder: Path) -> Any:
    from transformers import AutoTokenizer

    missing = (
        f"the directory has no {TOKENIZER}, and none could be made from its other files: save the tokenizer with "
        "save_pretrained of a fast tokenizer"
    )
    if not any((folder / name).is_file() for name in _OLDER):
        raise Refused(missing)
    try:
        fast = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, trust_remote_code=False)
        return fast.backend_tokenizer
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError, RuntimeError) as error:
        raise Refused(missing) from error


def _check_tokenizer(file: Path, config: CausalLmConfig) -> None:
    from tokenizers import Tokenizer

    text = file.read_text("utf-8", errors="replace")
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise Refused(f"{TOKENIZER} cannot be read: {first_line(error)}") from error
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest < 0:
        raise Refused(f"{TOKENIZER} has no tokens")
    if largest >= config.vocab_size:
        raise Refused(
            f"{TOKENIZER} has the token id {largest}, and the model has only {config.vocab_size} (vocab_size in "
            "config.json): tokenizer and model are not of one kind"
        )
    decoder = json.loads(text).get("decoder") or {}
    kinds = {step.get("type") for step in [decoder, *decoder.get("decoders", [])]}
    if not kinds & _STREAMED:
        raise UnsupportedSource(
            f"{TOKENIZER} decodes with {decoder.get('type') or 'nothing'}: byte-level BPE and SentencePiece tokenizers "
            "are supported for text generation"
        )


def write_template(folder: Path, target: Path) -> None:
    """Put chat_template.jinja into `target` where the model has one, in a file or in tokenizer_config.json."""
    if (folder / TEMPLATE).is_file():
        shutil.copyfile(folder / TEMPLATE, target / TEMPLATE)
        return
    given = _read_object(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(given, list):
        named = {entry.get("name"): entry.get("template") for entry in given if isinstance(entry, dict)}
        given = named.get("default")
    if isinstance(given, str) and given:
        (target / TEMPLATE).write_text(given, "utf-8")


def end_of_text(folder: Path, config: CausalLmConfig) -> list[int]:
    """The ids that end a text: generation_config.json's, else config.json's, else the tokenizer's. Raises: Refused."""
    for given in _candidates(folder, config, "eos_token"):
        found = [one for one in (given if isinstance(given, list) else [given]) if _is_token(one, config)]
        if found:
            return found
    raise Refused("no token ends a text: set eos_token_id in generation_config.json to an id of the vocabulary")


def begin_of_text(folder: Path, config: CausalLmConfig) -> int | None:
    return next((one for one in _candidates(folder, config, "bos_token") if _is_token(one, config)), None)


def _candidates(folder: Path, config: CausalLmConfig, role: str) -> Iterator[Any]:
    yield _read_object(folder / "generation_config.json").get(f"{role}_id")
    yield getattr(config.parsed, f"{role}_id", None)
    token = _read_object(folder / "tokenizer_config.json").get(role)
    if isinstance(token, dict):
        token = token.get("content")
    added = _read_object(folder / TOKENIZER).get("added_tokens") or []
    yield next((one["id"] for one in added if one.get("content") == token), None)


def _is_token(value: Any, config: CausalLmConfig) -> bool:
    return type(value) is int and 0 <= value < config.vocab_size


def _read_object(file: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is absent. Raises: Refused."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{file.name} is not JSON") from error
    if not isinstance(found, dict):
        raise Refused(f"{file.name} must be a JSON object")
    return found
