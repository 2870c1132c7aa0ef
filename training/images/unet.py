"""The UNet: it is given a noisy digit, how noisy it is and what is to be seen, and tells the noise.

Inside it predicts the velocity (Salimans and Ho 2022, arXiv:2202.00512), from which the noise follows: that stays well
conditioned where hardly any image is left, so that few sampling steps are enough. It works on 2x2 pixels at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention, silu

from training.images.schedule import alphas_cumprod

LABELS = 10
# Row of the condition table that says nothing.
NULL_ROW = LABELS


@dataclass(frozen=True)
class Shape:
    """Channels at 16x16, 8x8 and 4x4, and the width of a condition vector."""

    channels: tuple[int, int, int] = (32, 64, 128)
    condition: int = 64
    embedding: int = 192
    groups: int = 8


class Conditions(nn.Module):
    """Condition vectors: a row for each digit and one for none, and what a style adds to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.digits = nn.Embedding(LABELS + 1, width)
        # Nothing said adds nothing.
        self.weights = nn.Embedding(3, width, padding_idx=0)
        self.slants = nn.Embedding(2, width, padding_idx=0)

    def forward(self, digits: Tensor, weights: Tensor, slants: Tensor) -> Tensor:
        total: Tensor = self.digits(digits) + self.weights(weights) + self.slants(slants)
        return total


class Block(nn.Module):
    """Two convolutions, scaled and shifted by what is known of the image."""

    def __init__(self, channels: int, shape: Shape) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(shape.groups, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.known = nn.Linear(shape.embedding, 2 * channels)
        self.second_norm = nn.GroupNorm(shape.groups, channels)
        self.second = _zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale, shift = self.known(known)[:, :, None, None].chunk(2, 1)
        hidden = self.first(silu(self.first_norm(x)))
        hidden = self.second(silu(self.second_norm(hidden) * (1 + scale) + shift))
        return x + hidden


class Attention(nn.Module):
    """Lets every place see every other; one head, at the lowest resolution only."""

    def __init__(self, channels: int, shape: Shape) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(shape.groups, channels)
        self.queries_keys_values = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.queries_keys_values(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)
        seen = scaled_dot_product_attention(query, key, value)
        added: Tensor = self.out(seen.transpose(1, 2).reshape(x.shape))
        return x + added


class UNet(nn.Module):
    """Shapes: `sample` FP32 [n, 1, 32, 32], `timestep` INT64 [n], `condition` FP32 [n, d] -> noise FP32 as `sample`."""

    levels: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        wide, middle, deep = shape.channels
        self.shape = shape
        self.time = nn.Sequential(
            nn.Linear(64, shape.embedding), nn.SiLU(), nn.Linear(shape.embedding, shape.embedding)
        )
        self.condition = nn.Linear(shape.condition, shape.embedding)
        self.stem = nn.Conv2d(4, wide, 3, padding=1)
        self.down = nn.ModuleList([Block(wide, shape), Block(middle, shape)])
        self.shrink = nn.ModuleList([_strided(wide, middle), _strided(middle, deep)])
        self.bottom = nn.ModuleList([Block(deep, shape), Block(deep, shape)])
        self.attention = Attention(deep, shape)
        self.grow = nn.ModuleList([nn.Conv2d(middle, wide, 1), nn.Conv2d(deep, middle, 1)])
        self.merge = nn.ModuleList([nn.Conv2d(2 * wide, wide, 1), nn.Conv2d(2 * middle, middle, 1)])
        self.up = nn.ModuleList([Block(wide, shape), Block(middle, shape)])
        self.last_norm = nn.GroupNorm(shape.groups, wide)
        self.last = _zero(nn.Conv2d(wide, 4, 3, padding=1))
        self.register_buffer("levels", torch.from_numpy(alphas_cumprod()).float(), persistent=False)

    def forward(self, sample: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        level = self.levels[timestep].view(-1, 1, 1, 1)
        return (1 - level).sqrt() * sample + level.sqrt() * self.velocity(sample, timestep, condition)

    def velocity(self, sample: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        known = silu(self.time(waves(timestep, 64)) + self.condition(condition))
        x = self.stem(pixel_unshuffle(sample, 2))
        passed = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x, known)
            passed.append(x)
            x = shrink(x)
        x = self.bottom[1](self.attention(self.bottom[0](x, known)), known)
        for place in (1, 0):
            x = interpolate(self.grow[place](x), scale_factor=2.0, mode="nearest")
            x = self.up[place](self.merge[place](torch.cat([x, passed[place]], 1)), known)
        return pixel_shuffle(self.last(silu(self.last_norm(x))), 2)


def waves(timestep: Tensor, width: int) -> Tensor:
    """Sine and cosine of the step at falling frequencies, as in "Attention is all you need"."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(width // 2, dtype=torch.float32) / (width // 2))
    angles = timestep.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


class Painter(nn.Module):
    """What is trained: the UNet with its table of conditions."""

    def __init__(self, shape: Shape, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conditions = Conditions(shape.condition)
        self.unet = UNet(shape)


def _strided(given: int, wanted: int) -> nn.Conv2d:
    return nn.Conv2d(given, wanted, 3, stride=2, padding=1)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    # A block that adds nothing at first lets a deep net learn from its first step.
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
