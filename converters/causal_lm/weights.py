"""The safetensors of a causal language model: are they all there, and of the shapes that config.json promises?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from converters.causal_lm.config import CausalLmConfig
from converters.onnx_graphs.files import first_line
from converters.recipe import Refused

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHOWN = 3


def weight_files(folder: Path) -> tuple[str, ...]:
    """The names of the files that hold the weights, the index of several first. Raises: Refused."""
    if (folder / _SINGLE).is_file():
        return (_SINGLE,)
    try:
        parts = sorted(set(json.loads((folder / _INDEX).read_bytes())["weight_map"].values()))
    except OSError:
        raise Refused(f"the weights are missing: give {_SINGLE}, or {_INDEX} and the files that it names") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{_INDEX} has no weight_map from tensors to files") from error
    for part in parts:
        if not isinstance(part, str) or Path(part).name != part or not part.endswith(".safetensors"):
            raise Refused(f"{_INDEX} names {part!r}, which is no safetensors file beside it")
        if not (folder / part).is_file():
            raise Refused(f"{part}, which {_INDEX} names, is missing")
    return (_INDEX, *parts)


def count_parameters(folder: Path, config: CausalLmConfig) -> int:
    """How many weights the model has, tied ones once. Raises: Refused where one is missing or misshapen."""
    shapes = tensor_shapes(folder)
    if config.layers > len(shapes):
        raise Refused(f"config.json promises {config.layers} layers; the weights hold {len(shapes)} tensors in all")
    model = _blueprint(config)
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if config.parsed.tie_word_embeddings else set()
    prefix = f"{model.base_model_prefix}."
    missing = []
    for name, parameter in model.named_parameters():
        # Some checkpoints were saved from the model without its head, and lack the prefix.
        found = shapes.get(name, shapes.get(name.removeprefix(prefix)))
        if found is None:
            missing.append(name)
        elif found != tuple(parameter.shape):
            raise Refused(f"config.json promises {name} the shape {tuple(parameter.shape)}; the weights have {found}")
    missing = [name for name in missing if name not in tied]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise Refused(f"the weights lack {', '.join(missing[:_SHOWN])}{more}, which config.json promises")
    return sum(parameter.numel() for parameter in model.parameters())


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """By name, from the headers alone. Raises: Refused."""
    from safetensors import SafetensorError, safe_open

    shapes = {}
    for file in weight_files(folder):
        if file == _INDEX:
            continue
        try:
            with safe_open(folder / file, framework="pt") as content:
                shapes.update({name: tuple(content.get_slice(name).get_shape()) for name in content.keys()})  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            raise Refused(f"{file} is damaged or no safetensors file: {first_line(error)}") from error
    return shapes


def _blueprint(config: CausalLmConfig) -> Any:
    """The model without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config.parsed, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RuntimeError) as error:
        raise Refused(f"config.json does not fit its architecture: {first_line(error)}") from error
