"""Train the UNet, reproducibly by seed, with checkpoints that a later run can go on from.

Run: python -m training.images.train FOLDER --steps N --final-steps M
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from training.checkpoints import read_checkpoint, write_checkpoint
from training.images.digits import Batch, Digits
from training.images.schedule import TRAIN_STEPS
from training.images.unet import NULL_ROW, Painter, Shape
from training.optimizer import rate_share, take_step

LossOf = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Run:
    """All that decides the result, given the fonts."""

    steps: int
    # On the last stretch the rate falls to zero.
    final_steps: int
    seed: int = 0
    batch: int = 64
    rate: float = 1.2e-3
    weight_decay: float = 0.01
    ema: float = 0.998
    # Shares of the samples whose digit and style, or whose style alone, is not told to the UNet.
    untold: float = 0.12
    untold_style: float = 0.4
    shape: Shape = field(default_factory=Shape)


class Trainer:
    """A model, the average of its weights, its optimizer, and the step they have reached."""

    def __init__(self, run: Run, *, compiled: bool) -> None:
        self.run = run
        self.step = 0
        self.digits = Digits(run.seed)
        self.painter = Painter(run.shape, run.seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged: Painter = copy.deepcopy(self.painter).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.painter.parameters(), lr=run.rate, weight_decay=run.weight_decay, betas=(0.9, 0.99)
        )
        plain = loss_function(self.painter)
        self.loss: LossOf = torch.compile(plain, dynamic=False) if compiled else plain

    def advance(self) -> float:
        """Take one step; return the training loss before it: the mean squared error of the velocity."""
        draw = torch.Generator().manual_seed(self.run.seed * 1_000_003 + self.step)
        batch = self.digits.batch(self.step, self.run.batch)
        loss = self.loss(batch.images, *told(batch, self.run, draw), *noised(batch, draw))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.painter.parameters(), 1.0)
        take_step(self.optimizer, self.run.rate * rate_share(self.step, self.run.steps, self.run.final_steps))
        self.step += 1
        self._average()
        return float(loss.detach())

    def _average(self) -> None:
        # Early weights are soon forgotten: the average starts short.
        share = min(self.run.ema, (1 + self.step) / (10 + self.step))
        averaged, current = list(self.averaged.parameters()), [one.detach() for one in self.painter.parameters()]
        torch._foreach_lerp_(averaged, current, 1 - share)

    def save(self, path: Path) -> None:
        state = {
            "run": asdict(self.run),
            "step": self.step,
            "painter": self.painter.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_checkpoint(state, path)

    def resume(self, path: Path) -> None:
        state = read_checkpoint(path)
        self.step = state["step"]
        self.painter.load_state_dict(state["painter"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def told(batch: Batch, run: Run, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Digits, weights and slants as the UNet learns of them; what it must do without, guidance can leave out."""
    count = len(batch.digits)
    untold = torch.rand(count, generator=draw) < run.untold
    styles = [untold | (torch.rand(count, generator=draw) < run.untold_style) for _ in range(2)]
    digits = torch.where(untold, NULL_ROW, batch.digits)
    return digits, batch.weights.masked_fill(styles[0], 0), batch.slants.masked_fill(styles[1], 0)


def noised(batch: Batch, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise, and timesteps spread evenly over the batch, so that every batch sees all of them."""
    count = len(batch.digits)
    places = (torch.arange(count) + torch.rand(count, generator=draw)) / count
    return torch.randn(batch.images.shape, generator=draw), (places * TRAIN_STEPS).long().clamp(max=TRAIN_STEPS - 1)


def loss_function(painter: Painter) -> LossOf:
    def loss(images: Tensor, digits: Tensor, weights: Tensor, slants: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        level = painter.unet.levels[steps].view(-1, 1, 1, 1)
        noisy = level.sqrt() * images + (1 - level).sqrt() * noise
        with torch.autocast("cpu", torch.bfloat16):
            velocity = painter.unet.velocity(noisy, steps, painter.conditions(digits, weights, slants))
        return (velocity.float() - (level.sqrt() * noise - (1 - level).sqrt() * images)).square().mean()

    return loss


def held_out_loss(painter: Painter, seed: int = 0, count: int = 512, *, held_out: bool = True) -> float:
    """On new drawings of fonts that are not trained on, or of those that are."""
    batch = Digits(seed + 1, held_out=held_out).batch(0, count)
    with torch.no_grad():
        given = (batch.images, batch.digits, batch.weights, batch.slants)
        return float(loss_function(painter)(*given, *noised(batch, torch.Generator().manual_seed(0))))


def losses(path: Path) -> dict[str, float | int]:
    """Of a checkpoint's averaged weights: mean squared error of the velocity, and the steps it took."""
    painter, state = load_painter(path), read_checkpoint(path)
    same, other = (held_out_loss(painter, count=2048, held_out=held_out) for held_out in (False, True))
    return {"fonts_trained_on": round(same, 5), "fonts_held_out": round(other, 5), "steps": state["step"]}


def load_painter(path: Path) -> Painter:
    """Read the averaged weights of a checkpoint, in fp32."""
    state = read_checkpoint(path)
    painter = Painter(Shape(**state["run"]["shape"]), seed=0)
    painter.load_state_dict(state["averaged"])
    return painter.requires_grad_(False).eval()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    run = Run(steps=arguments.steps, final_steps=arguments.final_steps)
    trainer = Trainer(run, compiled=arguments.compiled)
    checkpoint = arguments.folder / "unet.pt"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    began_at, total = time.monotonic(), 0.0
    while trainer.step < run.steps and time.monotonic() - began_at < arguments.minutes * 60:
        total += trainer.advance()
        if trainer.step % 50 == 0:
            print(f"step {trainer.step} loss {total / 50:.4f} at_s {time.monotonic() - began_at:.0f}", flush=True)
            total = 0.0
        if trainer.step % arguments.save_every == 0:
            trainer.save(checkpoint)
            print(f"step {trainer.step} held_out {held_out_loss(trainer.averaged):.4f}", flush=True)
    trainer.save(checkpoint)
    print(f"step {trainer.step} held_out {held_out_loss(trainer.averaged):.4f}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where unet.pt goes")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--final-steps", type=int, required=True, help="how many of them the rate falls for")
    parser.add_argument("--minutes", type=float, default=120, help="stop there, with a checkpoint to go on from")
    parser.add_argument("--threads", type=int, default=1, help="more wait for each other where others compute too")
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--compiled", action="store_true", help="with torch.compile, which needs a C++ compiler")
    return parser.parse_args()


if __name__ == "__main__":
    main()
