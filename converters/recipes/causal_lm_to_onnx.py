"""A Hugging Face causal language model becomes what the text_generation backend opens."""

from __future__ import annotations

import os
from pathlib import Path

from converters.causal_lm.config import CausalLmConfig, read_config
from converters.contract import Facts
from converters.formats import Format
from converters.recipe import Lacking, Parameter, Recipe, Step

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_GPT2 = "GPT2LMHeadModel"


def convert(step: Step) -> Facts:
    """Raises: Refused, UnsupportedSource, Lacking."""
    dtype = step.parameters["dtype"]
    if dtype == "bf16":
        raise Lacking(
            "onnxruntime has no bf16 matrix multiplication for the CPU, where text models are served: use fp16, q8 or "
            "fp32",
            requires="bf16 kernels of onnxruntime for the CPU",
        )
    # Read when transformers and tqdm are imported: nothing is asked of the internet, no bars fill the job's log.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    from converters.causal_lm.tokens import write_template, write_tokenizer
    from converters.causal_lm.weights import count_parameters

    source = step.source.directory
    config = read_config(source)
    parameters = count_parameters(source, config)
    write_tokenizer(source, step.target, config)
    write_template(source, step.target)
    _write_facts(source, step.target, config)
    step.report(0.2)
    _write_graph(source, step.target, config, dtype)
    return Facts(
        kind="transformer",
        tasks=("text_generation",),
        parameters=parameters,
        dtype=_DTYPES[dtype],
        context_length=config.context_length,
    )


def _write_graph(source: Path, target: Path, config: CausalLmConfig, dtype: str) -> None:
    if config.architecture == _GPT2:
        from converters.causal_lm.gpt2 import write_gpt2

        write_gpt2(source, target, config, dtype)
    else:
        from converters.causal_lm.genai_builder import build_graph

        build_graph(source, target, config, dtype)


def _write_facts(source: Path, target: Path, config: CausalLmConfig) -> None:
    from converters.causal_lm.files import GenerationFacts
    from converters.causal_lm.tokens import begin_of_text, end_of_text

    GenerationFacts(
        context_length=config.context_length,
        eos_token_ids=tuple(end_of_text(source, config)),
        bos_token_id=begin_of_text(source, config),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.layers,
        num_key_value_heads=config.key_value_heads,
        head_size=config.head_size,
    ).write(target)


RECIPE = Recipe(
    name="causal_lm_to_onnx",
    summary="Write a language model as an ONNX graph with a key-value cache",
    gives={Format.CAUSAL_LM: Format.TEXT_GENERATION},
    run=convert,
    parameters={"dtype": Parameter("fp32", "Type of the weights and of what is computed", tuple(_DTYPES))},
)
