"""A small classifier of digits, which judges whether what was drawn can be read.

Run: python -m training.images.judge FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.checkpoints import read_checkpoint, write_checkpoint
from training.images.digits import Digits
from training.images.unet import LABELS
from training.optimizer import rate_share, take_step

# Not the UNet's: it has seen other drawings of the same fonts.
SEED = 1


class Judge(nn.Module):
    """Shapes: images FP32 [n, 1, 32, 32] in [-1, 1] -> logits FP32 [n, LABELS]."""

    def __init__(self, seed: int = SEED) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(48, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 16, LABELS)),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def train(steps: int, batch: int = 128, rate: float = 2e-3) -> Judge:
    judge, digits = Judge(), Digits(SEED)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=0.01)
    for step in range(steps):
        drawn = digits.batch(step, batch)
        loss = cross_entropy(judge(drawn.images), drawn.digits)
        loss.backward()  # type: ignore[no-untyped-call]
        take_step(optimizer, rate * rate_share(step, steps, steps // 2))
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {float(loss.detach()):.4f}", flush=True)
    return judge.requires_grad_(False).eval()


def load_judge(path: Path) -> Judge:
    judge = Judge()
    judge.load_state_dict(read_checkpoint(path))
    return judge.requires_grad_(False).eval()


def accuracy(judge: Judge, *, held_out: bool, count: int = 4000) -> float:
    """On new drawings of the fonts it was trained on, or of those that were held out."""
    drawn = Digits(SEED + 1, held_out=held_out).batch(0, count)
    return float((judge(drawn.images).argmax(1) == drawn.digits).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where judge.pt goes")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    judge = train(arguments.steps)
    write_checkpoint(judge.state_dict(), arguments.folder / "judge.pt")
    for held_out in (False, True):
        print(f"held_out {held_out} accuracy {accuracy(judge, held_out=held_out):.4f}", flush=True)


if __name__ == "__main__":
    main()
