"""The text encoder: a small transformer that reads a prompt and gives the UNet's condition for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from training.images.unet import LABELS, Conditions

# Digits, weights and slants, each with "nothing said".
READINGS = (LABELS + 1, 3, 2)


@dataclass(frozen=True)
class TextShape:
    """Sizes of the encoder; `length` is the most tokens of a prompt."""

    vocab_size: int = 600
    width: int = 96
    layers: int = 2
    heads: int = 4
    length: int = 64


class Layer(nn.Module):
    """Attention over the tokens that are there, then a feed-forward net."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.first_norm, self.second_norm = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.queries_keys_values = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.widen, self.narrow = nn.Linear(shape.width, 2 * shape.width), nn.Linear(2 * shape.width, shape.width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        parts = self.queries_keys_values(self.first_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        read = scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + self.out(read.transpose(1, 2).flatten(2))
        added: Tensor = self.narrow(gelu(self.widen(self.second_norm(x))))
        return x + added


class Reader(nn.Module):
    """Shapes: `input_ids`, `attention_mask` INT64 [n, tokens] -> logits of each of READINGS."""

    def __init__(self, shape: TextShape, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(shape.vocab_size, shape.width)
        self.places = nn.Embedding(shape.length, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.heads = nn.ModuleList(nn.Linear(shape.width, size) for size in READINGS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        there = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.words(input_ids) + self.places(there)
        seen = attention_mask.bool()[:, None, None, :]
        for layer in self.layers:
            x = layer(x, seen)
        begin = self.norm(x[:, 0])
        return tuple(head(begin) for head in self.heads)


class TextEncoder(nn.Module):
    """What ships: the reading, said in the UNet's own condition vectors, each as far as it is believed."""

    def __init__(self, reader: Reader, conditions: Conditions) -> None:
        super().__init__()
        self.reader = reader
        self.conditions = conditions

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tables = (self.conditions.digits, self.conditions.weights, self.conditions.slants)
        readings = self.reader(input_ids, attention_mask)
        total: Tensor = sum(
            (logits.softmax(-1) @ table.weight for logits, table in zip(readings, tables, strict=True)),
            torch.zeros(()),
        )
        return total
