"""What config.json of a causal language model says, refused where it makes no sense or no recipe takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.onnx_graphs.files import first_line
from converters.recipe import Refused, UnsupportedSource

# Beyond these a config.json is a mistake, and the tables of positions alone would fill the memory.
_LAYERS_MAX, _CONTEXT_MAX, _WIDTH_MAX = 1024, 2**24, 2**24
_ROTATED = 16  # GroupQueryAttention rotates heads in groups of so many values.


@dataclass(frozen=True, slots=True)
class Architecture:
    """A class of transformers that converts. `positions`: the kinds of rotary embedding that were seen to agree."""

    model_type: str
    positions: frozenset[str] = frozenset({"default"})


ARCHITECTURES: Mapping[str, Architecture] = {
    "Ernie4_5ForCausalLM": Architecture("ernie4_5"),
    "GPT2LMHeadModel": Architecture("gpt2", frozenset()),
    "Gemma2ForCausalLM": Architecture("gemma2"),
    "Gemma3ForCausalLM": Architecture("gemma3_text"),
    "GemmaForCausalLM": Architecture("gemma"),
    "GraniteForCausalLM": Architecture("granite"),
    "HunYuanDenseV1ForCausalLM": Architecture("hunyuan_v1_dense"),
    "LlamaForCausalLM": Architecture("llama", frozenset({"default", "llama3"})),
    "MistralForCausalLM": Architecture("mistral"),
    "NemotronForCausalLM": Architecture("nemotron"),
    "Phi3ForCausalLM": Architecture("phi3", frozenset({"default", "longrope"})),
    "PhiForCausalLM": Architecture("phi"),
    "Qwen2ForCausalLM": Architecture("qwen2"),
    "Qwen3ForCausalLM": Architecture("qwen3"),
}


@dataclass(frozen=True, slots=True)
class CausalLmConfig:
    """`parsed` is transformers' configuration object.

    `context_length` of a longrope model is the one it was trained for first: beyond it all positions would turn
    otherwise, for the short texts of a batch too.
    """

    architecture: str
    vocab_size: int
    context_length: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    parsed: Any = field(repr=False)


def read_config(folder: Path) -> CausalLmConfig:
    """Raises: Refused, UnsupportedSource."""
    architecture = _architecture(json.loads((folder / "config.json").read_bytes()))
    parsed = _parse(folder)
    sizes = {
        name: _size(parsed, name)
        for name in ("hidden_size", "vocab_size", "max_position_embeddings", "num_hidden_layers", "num_attention_heads")
    }
    heads = sizes["num_attention_heads"]
    groups = heads if getattr(parsed, "num_key_value_heads", None) is None else _size(parsed, "num_key_value_heads")
    if getattr(parsed, "head_dim", None) is None and sizes["hidden_size"] % heads:
        raise Refused(f"config.json: {sizes['hidden_size']} hidden values cannot be split among {heads} heads")
    if heads % groups:
        raise Refused(f"config.json: {heads} attention heads cannot share {groups} key-value heads evenly")
    config = CausalLmConfig(
        architecture=architecture,
        vocab_size=sizes["vocab_size"],
        context_length=_context_length(parsed, sizes["max_position_embeddings"]),
        layers=sizes["num_hidden_layers"],
        heads=heads,
        key_value_heads=groups,
        head_size=getattr(parsed, "head_dim", None) or sizes["hidden_size"] // heads,
        parsed=parsed,
    )
    _check_positions(config)
    return config


def _architecture(raw: dict[str, Any]) -> str:
    if "auto_map" in raw:
        raise UnsupportedSource(
            "config.json asks for code of its own (auto_map), and a model's code is never run here: if transformers "
            "has this architecture built in, remove auto_map from config.json; otherwise it cannot be converted"
        )
    names = raw.get("architectures") or [None]
    known = ARCHITECTURES.get(names[0])
    if known is None:
        supported = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedSource(
            f"the architecture {names[0]} is not supported; language models of these architectures are: {supported}",
            architecture=names[0],
            supported=sorted(ARCHITECTURES),
        )
    if raw.get("model_type") != known.model_type:
        raise Refused(
            f"config.json contradicts itself: {names[0]} has the model_type {known.model_type!r}, "
            f"not {raw.get('model_type')!r}"
        )
    if raw.get("quantization_config"):
        raise UnsupportedSource("the weights are quantized already; give the model as it was before (fp32, fp16, bf16)")
    return str(names[0])


def _parse(folder: Path) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except StrictDataclassError as error:
        raise Refused(f"config.json does not fit its architecture: {_reason(error)}") from error
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, OSError) as error:
        raise Refused(f"config.json does not fit its architecture: {first_line(error)}") from error


def _reason(error: Exception) -> str:
    """The second line of a validation error says what is wrong, the first only where."""
    return str(error).strip().splitlines()[-1].strip()[:300]


def _size(parsed: Any, name: str) -> int:
    limit = {"num_hidden_layers": _LAYERS_MAX, "max_position_embeddings": _CONTEXT_MAX}.get(name, _WIDTH_MAX)
    value = getattr(parsed, name, None)
    if not isinstance(value, int) or not 1 <= value <= limit:
        raise Refused(f"config.json: {name} must be a whole number from 1 to {limit}, got {value!r}")
    return value


def _context_length(parsed: Any, longest: int) -> int:
    first = getattr(parsed, "original_max_position_embeddings", None)
    return min(longest, first) if first and "longrope" in rotary_kinds(parsed) else longest


def _check_positions(config: CausalLmConfig) -> None:
    allowed = ARCHITECTURES[config.architecture].positions
    found = rotary_kinds(config.parsed)
    if not found <= allowed:
        raise UnsupportedSource(
            f"{config.architecture} with rotary positions of the kind {min(found - allowed)!r} is not supported; "
            f"supported kinds: {', '.join(sorted(allowed)) or 'none'}"
        )
    rotated = int(config.head_size * _rotated_part(config.parsed))
    if allowed and (config.head_size % _ROTATED or rotated % _ROTATED):
        raise UnsupportedSource(
            f"each attention head has {config.head_size} values, of which {rotated} are rotated; onnxruntime takes "
            f"multiples of {_ROTATED} only"
        )


def _rotated_part(parsed: Any) -> float:
    parameters = getattr(parsed, "rope_parameters", None) or {}
    return float(parameters.get("partial_rotary_factor") or 1.0)


def rotary_kinds(parsed: Any) -> set[str]:
    """The rope_type of every kind of layer; some models have one for all, some one for each."""
    parameters = getattr(parsed, "rope_parameters", None) or {}
    each = [entry for entry in parameters.values() if isinstance(entry, dict)] or [parameters]
    return {str(entry.get("rope_type", "default")) for entry in each if entry}
