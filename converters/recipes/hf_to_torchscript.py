"""A Hugging Face model becomes a traced TorchScript module: tokens in, and logits or an embedding out."""

from __future__ import annotations

import warnings

from converters.contract import Facts
from converters.formats import TORCH_FILES, Format
from converters.onnx_graphs.files import first_line
from converters.recipe import Recipe, Step, UnsupportedSource

_ROWS, _TOKENS = 2, 7


def run(step: Step) -> Facts:
    """Raises: Refused, UnsupportedSource."""
    import torch

    from converters.torch_modules.hugging_face import open_text_module

    text = open_text_module(step.source)
    step.report(0.3)
    example = tuple(text.sample(_ROWS, _TOKENS).values())
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # It warns of its age and of every branch; that other shapes work is checked afterwards.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(text.module, example, check_trace=False)
            torch.jit.save(traced, step.target / TORCH_FILES["torchscript"])
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UnsupportedSource(f"torch cannot trace this model: {first_line(error)}") from error
    weights = sum(parameter.numel() for parameter in text.module.parameters())
    return Facts(tasks=(text.task,), parameters=weights, dtype="float32", context_length=text.max_tokens)


RECIPE = Recipe(
    name="hf_to_torchscript",
    summary="Trace a Hugging Face model as a TorchScript module",
    gives=dict.fromkeys((Format.CAUSAL_LM, Format.ENCODER, Format.CLASSIFIER), Format.TORCHSCRIPT),
    run=run,
)
