"""Small torch modules, saved as their owners would save them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

BATCH = torch.export.Dim("batch")


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


class Convolutional(nn.Module):
    """An image of any size to a label."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()
        )
        self.head = nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image).mean((2, 3)))


class Encoder(nn.Module):
    """A transformer block over token ids: two inputs, two outputs, the attention spelled out."""

    def __init__(self, hidden: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, hidden // heads
        self.embedding = nn.Embedding(50, hidden)
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden) for _ in range(4))
        self.first_norm, self.second_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.widen, self.narrow = nn.Linear(hidden, 64), nn.Linear(64, hidden)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.embedding(ids)
        rows, length = ids.shape
        query = self.query(x).view(rows, length, self.heads, self.size).transpose(1, 2)
        key = self.key(x).view(rows, length, self.heads, self.size).transpose(1, 2)
        value = self.value(x).view(rows, length, self.heads, self.size).transpose(1, 2)
        hidden_ones = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        scores = (query @ key.transpose(2, 3)) / self.size**0.5 + hidden_ones
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, length, -1)
        x = self.first_norm(x + self.out(mixed))
        x = self.second_norm(x + self.narrow(nn.functional.gelu(self.widen(x))))
        return x, x.mean(1)


def seeded(module: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return module().eval()


def save_script(module: nn.Module, file: Path) -> Path:
    torch.jit.script(module).save(str(file))
    return file


def save_traced(module: nn.Module, arguments: tuple[torch.Tensor, ...], file: Path) -> Path:
    torch.jit.trace(module, arguments).save(str(file))
    return file


def save_exported(module: nn.Module, arguments: tuple[torch.Tensor, ...], dynamic: object, file: Path) -> Path:
    torch.export.save(torch.export.export(module, arguments, dynamic_shapes=dynamic), file)
    return file


def save_exported_encoder(file: Path) -> Path:
    ids = torch.zeros(2, 8, dtype=torch.long)
    axes = {0: BATCH, 1: torch.export.Dim("length", min=2)}
    return save_exported(seeded(Encoder), (ids, torch.ones_like(ids)), (axes, axes), file)
