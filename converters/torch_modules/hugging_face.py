"""Hugging Face directories as torch modules from tokens to the answer, with the names of what they take."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from converters.formats import Artifact, Format
from converters.text_encoders.sentence_modules import read_layout
from converters.text_encoders.source import input_names, open_model, positions, read_config

_MULTIPLE = "multi_label_classification"
_SEED = 2026


class CausalLm(nn.Module):  # type: ignore[misc]
    """Tokens to the logits of the next one, at each position."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        answer = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, return_dict=True)
        return answer.logits


class TwoInputs(nn.Module):  # type: ignore[misc]
    """Gives the inputs of a module their names, which a traced `forward(*inputs)` would not have."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.module(input_ids, attention_mask)


class ThreeInputs(nn.Module):  # type: ignore[misc]
    """With the types of tokens."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.module(input_ids, attention_mask, token_type_ids)


@dataclass(frozen=True, slots=True)
class TextModule:
    """A module in evaluation mode, and what it can be tried on. `task` is the server's word for what it does."""

    module: nn.Module
    names: tuple[str, ...]
    vocabulary: int
    max_tokens: int
    task: str

    def sample(self, rows: int, tokens: int) -> dict[str, Tensor]:
        """Texts of any tokens, the last of several shorter than the others.

        Shapes: INT64[rows, tokens] by name.
        """
        shape = (rows, min(tokens, self.max_tokens))
        random = torch.Generator().manual_seed(_SEED + rows)
        ids, mask = torch.randint(0, self.vocabulary, shape, generator=random), torch.ones(shape, dtype=torch.int64)
        if rows > 1:
            mask[-1, -(shape[1] // 3) :] = 0
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        return {name: given[name] for name in self.names}


def open_text_module(source: Artifact) -> TextModule:
    """In single precision, on the CPU. Raises: Refused."""
    match source.format:
        case Format.CAUSAL_LM:
            return _causal_lm(source)
        case Format.CLASSIFIER:
            return _classifier(source)
        case _:
            return _encoder(source)


def _causal_lm(source: Artifact) -> TextModule:
    from converters.causal_lm.config import read_config as read_causal_config

    config = read_causal_config(source.directory)
    module = CausalLm(open_model(source.directory, "AutoModelForCausalLM")).eval()
    names = ("input_ids", "attention_mask")
    return TextModule(module, names, config.vocab_size, config.context_length, "text_generation")


def _classifier(source: Artifact) -> TextModule:
    from converters.text_encoders.export import Classifier

    read_config(source.directory)
    model = open_model(source.directory, "AutoModelForSequenceClassification")
    is_exclusive = model.config.num_labels > 1 and model.config.problem_type != _MULTIPLE
    return _named(Classifier(model, is_exclusive=is_exclusive), model, "text_classification")


def _encoder(source: Artifact) -> TextModule:
    from converters.text_encoders.export import Embedder

    layout = read_layout(source.directory)
    read_config(layout.transformer)
    model = open_model(layout.transformer, "AutoModel")
    return _named(Embedder(model, layout), model, "embedding")


def _named(wrapper: nn.Module, model: nn.Module, task: str) -> TextModule:
    names = input_names(model)
    module = TwoInputs(wrapper) if len(names) == 2 else ThreeInputs(wrapper)
    return TextModule(module.eval(), names, int(model.config.vocab_size), positions(model.config), task)
