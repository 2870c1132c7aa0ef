"""The shape of the model: a small Llama, because every tool downstream knows that family."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

CONTEXT_LENGTH = 1024


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama; `key_value_heads` < `heads` shrinks the KV cache."""

    vocab_size: int = 4096
    hidden: int = 256
    layers: int = 5
    heads: int = 4
    key_value_heads: int = 4
    feed_forward: int = 704
    context_length: int = CONTEXT_LENGTH


def build_model(shape: Shape, seed: int) -> LlamaForCausalLM:
    """Return a freshly initialized model; input and output embeddings are one matrix."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.context_length,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        use_cache=True,
    )
    return LlamaForCausalLM(config)
