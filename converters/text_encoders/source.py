"""Opens the Hugging Face directory of an encoder or a sequence classifier: only its own words, never its code."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters.recipe import Refused, UnsupportedSource

CONFIG = "config.json"
_OBJECT_BYTES_MAX = 16 * 2**20
_SAID_CHARACTERS_MAX = 300
# Each of them was converted and compared; a family that is not here may be exported wrongly without anyone noticing.
FAMILIES = (
    *("albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra"),
    *("modernbert", "mpnet", "roberta", "xlm-roberta"),
)
# Families that number positions from the padding's id on: that many places of the table are never used.
_SHIFTED = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})
# Settings that make transformers do something else than open the safetensors beside config.json.
_FORBIDDEN = {
    "auto_map": "brings code of its own (auto_map), which is never run; save the model in an architecture of "
    "transformers itself",
    "quantization_config": "holds weights that are quantized already (quantization_config); give the full-precision "
    "model and ask for a precision",
    "transformers_weights": "names another weights file (transformers_weights); save the model with save_pretrained",
}
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model")


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when there is no such file. Raises Refused."""
    if not file.is_file():
        return {}
    if file.stat().st_size > _OBJECT_BYTES_MAX:
        raise Refused(f"{file.name} is over {_OBJECT_BYTES_MAX} bytes")
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused(f"{file.name} is not JSON") from error
    if not isinstance(found, dict):
        raise Refused(f"{file.name} must be a JSON object")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a family that can be converted. Raises Refused, UnsupportedSource."""
    config = read_object(folder / CONFIG)
    if not config:
        raise Refused(f"the model has no {CONFIG}; save it with save_pretrained")
    for settings in (config, read_object(folder / "tokenizer_config.json")):
        for name, why in _FORBIDDEN.items():
            if settings.get(name):
                raise Refused(f"the model {why}", setting=name)
    if (folder / "adapter_config.json").is_file():
        raise Refused("the directory is an adapter of another model; merge the two (merge_and_unload) and save that")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UnsupportedSource(
            f"a text encoder of the family {family!r} cannot be converted; these can: {', '.join(FAMILIES)}",
            family=family,
        )
    return config


def positions(config: Any) -> int:
    """How many tokens the model has positions for, by its transformers configuration."""
    count = int(config.max_position_embeddings)
    if config.model_type not in _SHIFTED:
        return count
    # MPNet's code ignores the configured padding and counts from 1.
    padding = 1 if config.model_type == "mpnet" else int(config.pad_token_id)
    return count - padding - 1


def input_names(model: Any) -> tuple[str, ...]:
    """What the graph of a torch module takes; a single type of token says nothing, so it is left out."""
    has_types = "token_type_ids" in inspect.signature(model.forward).parameters
    has_types = has_types and getattr(model.config, "type_vocab_size", 0) > 1
    return ("input_ids", "attention_mask", *(("token_type_ids",) if has_types else ()))


def open_model(folder: Path, auto_class: str) -> Any:
    """The torch module in single precision, through the transformers class `auto_class`.

    Attention is written out ("eager"): that is the form which graph fusions know, and MPNet has no other.
    Raises: Refused.
    """
    import torch

    transformers = _transformers()
    loader = getattr(transformers, auto_class)

    def load() -> Any:
        return loader.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )

    model, report = _opened("the weights cannot be opened", load)
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise Refused(f"the weights are not those of config.json: {name} is {list(found)}, not {list(expected)}")
    # The pooler of AutoModel is not used; whatever else is missing would be made up at random.
    missing = sorted(name for name in report["missing_keys"] if auto_class != "AutoModel" or "pooler" not in name)
    if missing:
        raise Refused(f"the weights are not complete: {missing[0]} is missing, one of {len(missing)}", missing=missing)
    return model.eval()


def open_tokenizer(folder: Path) -> Any:
    """The fast tokenizer as transformers makes it of the directory's files. Raises Refused."""
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        # transformers would make an empty one up.
        raise Refused(f"the model has no tokenizer: there is none of {', '.join(_TOKENIZER_FILES)}")
    transformers = _transformers()

    def load() -> Any:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    tokenizer = _opened("the tokenizer cannot be opened", load)
    if not getattr(tokenizer, "is_fast", False):
        raise Refused("the tokenizer has no fast form (tokenizer.json); save the model with one that has")
    return tokenizer


def _transformers() -> Any:
    # Read once, at import: the library then never asks a server what a directory does not say.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    return transformers


def _opened(what: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except MemoryError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors raise nothing narrower.
        # Some of their errors say in the second line what the first one announces.
        said = " ".join(str(error).split()) or type(error).__name__
        raise Refused(f"{what}: {said[:_SAID_CHARACTERS_MAX]}") from error
