"""What a directory of the `text_generation` backend must hold, before the backend finds out itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Signature
from control_plane.gateways.repository.layout import VERSION
from control_plane.gateways.repository.pbtxt import ModelConfig

BACKEND = "text_generation"
_TOKENIZER, _FACTS = f"{VERSION}/tokenizer.json", f"{VERSION}/generation.json"
_FILES = (f"{VERSION}/model.onnx", _TOKENIZER, _FACTS)
_COUNTS = ("context_length", "vocab_size", "num_hidden_layers", "num_key_value_heads", "head_size")
_JSON_BYTES_MAX = 64 * 2**20  # the largest tokenizers in use are near 20 MB


def read_generation_facts(stage: Path) -> dict[str, Any]:
    """generation.json, checked; all files that the backend opens are there. Raises InvalidRequest."""
    for path in _FILES:
        if not (stage / path).is_file():
            raise InvalidRequest(f"a {BACKEND} model needs {path}", path=path)
    if "model" not in _read_object(stage, _TOKENIZER):
        raise InvalidRequest(f"{_TOKENIZER} is no Hugging Face tokenizer: it has no 'model'", path=_TOKENIZER)
    facts = _read_object(stage, _FACTS)
    for key in _COUNTS:
        if not _is_count(facts.get(key)) or facts[key] == 0:
            raise InvalidRequest(f"{_FACTS}: {key!r} must be a number above 0", path=_FACTS)
    ends = facts.get("eos_token_ids")
    if not isinstance(ends, list) or not ends or not all(map(_is_count, ends)):
        raise InvalidRequest(f"{_FACTS}: 'eos_token_ids' must be a list of token ids", path=_FACTS)
    if facts.get("bos_token_id") is not None and not _is_count(facts["bos_token_id"]):
        raise InvalidRequest(f"{_FACTS}: 'bos_token_id' must be a token id or null", path=_FACTS)
    return facts


def check_text_config(config: ModelConfig) -> None:
    """The backend streams and batches by itself. Raises InvalidRequest."""
    if not config.model_transaction_policy.decoupled:
        raise InvalidRequest(f"a {BACKEND} model streams: add model_transaction_policy {{ decoupled: true }}")
    if config.max_batch_size or config.HasField("dynamic_batching"):
        raise InvalidRequest(f"a {BACKEND} model batches by itself: say max_batch_size: 0, without dynamic_batching")
    if [tensor.name for tensor in config.input] != ["text_input"]:
        raise InvalidRequest(f"a {BACKEND} model has one input, 'text_input' of TYPE_STRING")
    if "text_output" not in [tensor.name for tensor in config.output]:
        raise InvalidRequest(f"a {BACKEND} model has the output 'text_output' of TYPE_STRING")


def check_text_graph(signature: Signature, facts: dict[str, Any]) -> None:
    """model.onnx is a decoder with the key-value cache that generation.json speaks of. Raises InvalidRequest."""
    inputs = {spec.name for spec in signature.inputs}
    for needed in ("input_ids", f"past_key_values.{facts['num_hidden_layers'] - 1}.key"):
        if needed not in inputs:
            raise InvalidRequest(f"model.onnx has no input {needed!r}, which generation.json makes the backend expect")
    if f"past_key_values.{facts['num_hidden_layers']}.key" in inputs:
        raise InvalidRequest(f"model.onnx has more layers than the {facts['num_hidden_layers']} of generation.json")
    logits = next((spec for spec in signature.outputs if spec.name == "logits"), None)
    if logits is None or logits.shape[-1:] not in ((-1,), (facts["vocab_size"],)):
        raise InvalidRequest(f"model.onnx gives no 'logits' over the {facts['vocab_size']} tokens of generation.json")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read_object(stage: Path, path: str) -> dict[str, Any]:
    if (stage / path).stat().st_size > _JSON_BYTES_MAX:
        raise InvalidRequest(f"{path} is over {_JSON_BYTES_MAX} bytes", path=path)
    try:
        value = json.loads((stage / path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not JSON", path=path) from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"{path} must be a JSON object", path=path)
    return value
