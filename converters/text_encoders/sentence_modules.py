"""What a sentence-transformers directory says happens to the hidden states: pooling, dense layers, normalization.

Source: sentence-transformers 2 to 6, modules.json and the config.json of each module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.recipe import Refused, UnsupportedSource
from converters.text_encoders.source import read_object

MODULES = "modules.json"
# In the order in which older files' switches are joined; the word before it is the newer files' name of the mode.
POOLINGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid")
_ACTIVATION = re.compile(rf"torch\.nn\.(?:modules\.\w+\.)?({'|'.join(ACTIVATIONS)})")
_TYPE = re.compile(r"sentence_transformers\.(?:\w+\.)+(\w+)")
_WORDS = re.compile(r"sentence_\w+_config\.json|sentence_xlm-roberta_config\.json")
_WEIGHTS = "model.safetensors"
_EMBEDDING = "sentence_embedding"


@dataclass(frozen=True, slots=True)
class Stage:
    """A module after the pooling. `kind`: Dense, LayerNorm or Normalize; the first two have a `weights` file."""

    kind: str
    weights: Path | None = None
    activation: str = "Identity"


@dataclass(frozen=True, slots=True)
class Layout:
    """`transformer`: the folder of the Hugging Face model. `max_tokens` None: nothing is said."""

    transformer: Path
    poolings: tuple[str, ...] = ("mean",)
    stages: tuple[Stage, ...] = ()
    max_tokens: int | None = None
    is_lowered: bool = False


def read_layout(folder: Path) -> Layout:
    """A directory without modules.json gets what sentence-transformers gives it: the mean, and no normalization.

    Raises: Refused, UnsupportedSource.
    """
    if not (folder / MODULES).is_file():
        return Layout(folder)
    _check_prompt(folder)
    modules = list(_modules(folder))
    if [kind for kind, _ in modules[:2]] != ["Transformer", "Pooling"]:
        raise UnsupportedSource(f"{MODULES} must begin with a Transformer and a Pooling to be a text encoder")
    transformer, words = modules[0][1], _words(modules[0][1])
    return Layout(
        transformer,
        _poolings(read_object(modules[1][1] / "config.json")),
        tuple(_stage(kind, path) for kind, path in modules[2:] if kind != "Dropout"),
        _count(words.get("max_seq_length")),
        words.get("do_lower_case") is True,
    )


def _check_prompt(folder: Path) -> None:
    name = read_object(folder / "config_sentence_transformers.json").get("default_prompt_name")
    if name is not None:
        raise UnsupportedSource(
            f"config_sentence_transformers.json puts the prompt {name!r} before every text, which is not converted: "
            "set default_prompt_name to null there and send the prompt with the texts"
        )


def _modules(folder: Path) -> Iterator[tuple[str, Path]]:
    try:
        entries = json.loads((folder / MODULES).read_bytes())
        entries = sorted(entries, key=lambda entry: entry["idx"])
        found = [(str(entry["type"]), str(entry["path"])) for entry in entries]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(f"{MODULES} must be a list of objects with idx, path and type") from error
    for kind, path in found:
        known = _TYPE.fullmatch(kind)
        if known is None or known[1] not in {"Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"}:
            raise UnsupportedSource(
                f"{MODULES} has a module {kind!r}, which is not converted; Transformer, Pooling, Dense, LayerNorm and "
                "Normalize of sentence-transformers are",
                module=kind,
            )
        place = (folder / path).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise Refused(f"{MODULES} leads out of the directory: {path!r}")
        yield known[1], place


def _words(folder: Path) -> dict[str, Any]:
    """sentence_bert_config.json, which older releases named after other families too."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _WORDS.fullmatch(file.name):
            return read_object(file)
    return {}


def _count(value: object) -> int | None:
    if value is None or (type(value) is int and value > 0):
        return value
    raise Refused(f"max_seq_length must be a whole number of at least 1, got {value!r}")


def _poolings(config: dict[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode")
    if named is None:
        chosen = [mode for mode, switch in POOLINGS.items() if config.get(switch)] or ["mean"]
    else:
        chosen = named if isinstance(named, list) else [named]
    unknown = [mode for mode in chosen if mode not in POOLINGS]
    if unknown or not chosen:
        raise UnsupportedSource(f"the pooling {unknown or chosen} is not known; these are: {', '.join(POOLINGS)}")
    return tuple(chosen)


def _stage(kind: str, folder: Path) -> Stage:
    config = read_object(folder / "config.json")
    for role in ("module_input_name", "module_output_name"):
        if config.get(role) not in (None, _EMBEDDING):
            raise UnsupportedSource(f"{folder.name}: a {kind} of {config[role]!r} is not converted")
    if kind == "Normalize":
        return Stage(kind)
    if kind not in ("Dense", "LayerNorm"):
        raise UnsupportedSource(f"{MODULES}: a second {kind} is not converted")
    if config.get("use_residual"):
        raise UnsupportedSource(f"{folder.name}: a {kind} with a residual connection is not converted")
    if not (folder / _WEIGHTS).is_file():
        raise Refused(f"{folder.name} has no {_WEIGHTS}; pickled weights are not opened: save the model again")
    activation = _activation(config, folder) if kind == "Dense" else "Identity"
    return Stage(kind, folder / _WEIGHTS, activation)


def _activation(config: dict[str, Any], folder: Path) -> str:
    """Tanh is what sentence-transformers takes where nothing is said."""
    named = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    known = _ACTIVATION.fullmatch(named)
    if known is None:
        raise UnsupportedSource(
            f"{folder.name}: the activation {named!r} is not converted; these of torch.nn are: {', '.join(ACTIVATIONS)}"
        )
    return known[1]
