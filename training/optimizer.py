"""Which optimizer moves which weights, and how fast at each step.

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), as in torch.optim.Muon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

# Adam's averages mean little before that.
WARMUP_STEPS = 40


@dataclass(frozen=True)
class Rates:
    """Learning rates at their highest."""

    matrices: float = 0.03
    rest: float = 0.006
    weight_decay: float = 0.05


def build_optimizers(model: nn.Module, rates: Rates) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices; AdamW for the embedding and the norms, where orthogonal updates mean nothing."""
    named = list(model.named_parameters())
    matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
    rest = [weight for name, weight in named if weight.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=rates.matrices, weight_decay=rates.weight_decay, momentum=0.95),
        torch.optim.AdamW(rest, lr=rates.rest, weight_decay=0.0, betas=(0.9, 0.95), eps=1e-10),
    ]


def rate_share(step: int, steps: int, final_steps: int) -> float:
    """The part of the highest rate used at `step` (from 0) of `steps`: up, level, then straight down to zero."""
    up = (step + 1) / WARMUP_STEPS
    down = (steps - step) / final_steps
    return min(1.0, up, down)


def take_step(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """At this rate for all its weights; the gradients are spent then."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def set_rates(optimizers: Sequence[torch.optim.Optimizer], rates: Rates, share: float) -> None:
    for optimizer, highest in zip(optimizers, (rates.matrices, rates.rest), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = highest * share
