"""Runs the onnxruntime-genai model builder, and mends what it gets wrong.

Each mend was found by comparing the graph with torch, and tests/converters repeats the comparison: configurations are
adapted before the builder reads them, since it was written for an older layout of transformers' configurations.
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from converters.causal_lm.config import CausalLmConfig
from converters.causal_lm.tokens import TOKENIZER
from converters.causal_lm.weights import weight_files
from converters.formats import GRAPH
from converters.onnx_graphs.files import WEIGHTS_FILE, first_line, save_graph
from converters.recipe import UnsupportedSource
from converters.workspace import link_or_copy

# Weights in one file with the graph, as far as a protobuf reaches.
_INLINE_BYTES_MAX = 2**31 - 2**28
# The builder fuses attention in half precision for GPUs only; onnxruntime runs the result on the CPU too.
_PROVIDERS = {"fp32": "cpu", "fp16": "cuda"}


def build_graph(source: Path, target: Path, config: CausalLmConfig, dtype: str) -> None:
    """Write model.onnx into `target`. Raises: UnsupportedSource."""
    # Beside the target, so that weights are linked and not copied; what a killed run leaves goes with the step.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        staged, built = Path(scratch, "source"), Path(scratch, "built")
        _stage(source, staged, target / TOKENIZER, config)
        _build(staged, built, dtype)
        _take(built, target, config)


def _stage(source: Path, staged: Path, tokenizer: Path, config: CausalLmConfig) -> None:
    """A directory with nothing but what the builder shall read: no pickles, adapters, or code of the model's own."""
    from transformers import PreTrainedTokenizerFast

    for file in weight_files(source):
        link_or_copy(source / file, staged / file)
    whole = type(config.parsed).from_dict(config.parsed.to_dict())
    # The builder computes in the dtype that it loads: Gemma's 1 + weight would be rounded to 8 bits.
    whole.dtype = "float32"
    whole.architectures = [config.architecture]
    whole.save_pretrained(staged)
    PreTrainedTokenizerFast(tokenizer_file=str(tokenizer)).save_pretrained(staged)


def _build(staged: Path, built: Path, dtype: str) -> None:
    from onnxruntime_genai.models import builder

    provider, cache = _PROVIDERS[dtype], str(staged.parent / "cache")
    arguments = ("", str(staged), str(built), dtype, provider, cache)
    # Norms inside attention are a GPU kernel's; a cache of the window's size would not hold what a server keeps in it.
    options = ["hf_token=false", "fuse_qk_norm_gqa=false", "windowed_kv_cache=false"]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            prepared = builder.parse_extra_options(*arguments, options)
            _adapt(prepared["hf_details"]["hf_config"])
            builder.create_model(*arguments, **prepared)
        except (NotImplementedError, KeyError, AttributeError, ValueError, TypeError, ZeroDivisionError) as error:
            raise UnsupportedSource(
                f"the model builder cannot write this model's graph: {first_line(error)}"
            ) from error


def _adapt(parsed: Any) -> None:
    """Say in the builder's words what transformers 5 says in its own."""
    parameters = getattr(parsed, "rope_parameters", None)
    if isinstance(parameters, dict) and "full_attention" in parameters:  # Gemma 3: one for each kind of layer
        parsed.rope_local_base_freq = parameters["sliding_attention"]["rope_theta"]
        parsed.rope_theta = parameters["full_attention"]["rope_theta"]
        parsed.rope_parameters = dict(parameters["full_attention"])
    elif isinstance(parameters, dict) and parameters.get("rope_type") == "longrope":
        parsed.rope_parameters = {**parameters, "type": "longrope"}
    if getattr(parsed, "sliding_window", None) and getattr(parsed, "layer_types", None) is None:
        # Mistral and Phi 3 have a window in every layer, which the builder overlooks.
        parsed.layer_types = ["sliding_attention"] * parsed.num_hidden_layers
    if not hasattr(parsed, "rms_norm_eps"):  # Phi and Nemotron normalize with a mean, and name it otherwise
        parsed.rms_norm_eps = getattr(parsed, "layer_norm_eps", None) or parsed.norm_eps


def _take(built: Path, target: Path, config: CausalLmConfig) -> None:
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    model = onnx.load(built / GRAPH, load_external_data=False)
    # Its notes on shapes contradict some of the operators' own rules.
    del model.graph.value_info[:]
    # The builder adds the commit of whatever git repository it is installed in: the same model, other bytes.
    model.producer_version = version("onnxruntime-genai")
    if config.architecture.startswith("Gemma"):
        _scale_exactly(model.graph, config.parsed.hidden_size)
    if (built / WEIGHTS_FILE).stat().st_size <= _INLINE_BYTES_MAX:
        load_external_data_for_model(model, str(built))
        save_graph(model, target)
    else:
        onnx.save(model, target / GRAPH)
        (built / WEIGHTS_FILE).replace(target / WEIGHTS_FILE)


def _scale_exactly(graph: Any, hidden_size: int) -> None:
    """Gemma multiplies embeddings by the square root of the width, which the builder rounds to two digits."""
    from onnx import numpy_helper

    scaling = next(node for node in graph.node if node.name == "/model/embed_tokens/Mul")
    constant = next(node for node in graph.node if scaling.input[1] in node.output)
    value = numpy_helper.to_array(constant.attribute[0].t)
    exact = value.dtype.type(math.sqrt(hidden_size)).reshape(value.shape)
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(exact))
