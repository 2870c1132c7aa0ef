"""Train the model on the corpus, reproducibly by seed, with checkpoints that a later run can go on from.

Run: python -m training.train FOLDER --steps N
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from training.architecture import Shape, build_model
from training.corpus import read_corpus, standard_library, write_manifest
from training.optimizer import Rates, build_optimizers, rate_share, set_rates
from training.tokenizer import train_tokenizer
from training.windows import Reader, Stream, token_stream

LossOf = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Run:
    """All that decides the result, given the corpus."""

    steps: int
    seed: int = 0
    batch_tokens: int = 8192
    short_window: int = 512
    long_window: int = 1024
    # The last stretch reads whole contexts, so that every position the model is served with has been trained.
    long_share: float = 0.2
    shape: Shape = field(default_factory=Shape)
    rates: Rates = field(default_factory=Rates)

    def window(self, step: int) -> int:
        return self.long_window if step >= self.steps * (1 - self.long_share) else self.short_window


def prepare(folder: Path, seed: int) -> tuple[Tokenizer, Reader, Stream]:
    """Read the corpus; write the tokenizer and the manifest; return what training and its held-out check read."""
    folder.mkdir(parents=True, exist_ok=True)
    files = read_corpus(standard_library())
    write_manifest(files, folder / "manifest.json")
    tokenizer = train_tokenizer(file.text for file in files if not file.held_out)
    tokenizer.save(str(folder / "tokenizer.json"))
    parts = [
        token_stream([file for file in files if file.part == part], tokenizer)
        for part in ("train_lib", "train_test", "held_out_lib")
    ]
    return tokenizer, Reader((parts[0], parts[1]), seed), parts[2]


def loss_function(model: LlamaForCausalLM) -> LossOf:
    def loss(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids[:, :-1]).logits
        return cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())

    return loss


class Trainer:
    """A model, its optimizers, and the step they have reached."""

    def __init__(self, run: Run, reader: Reader, *, compiled: bool) -> None:
        self.run = run
        self.reader = reader
        self.step = 0
        self.model = build_model(run.shape, run.seed)
        self.optimizers = build_optimizers(self.model, run.rates)
        plain = loss_function(self.model)
        self.loss: LossOf = torch.compile(plain, dynamic=False) if compiled else plain

    def advance(self) -> float:
        """Take one step; return the training loss before it, in nats a token."""
        window = self.run.window(self.step)
        ids = self.reader.batch(self.step, self.run.batch_tokens // window, window)
        loss = self.loss(ids)
        loss.backward()  # type: ignore[no-untyped-call]
        set_rates(self.optimizers, self.run.rates, rate_share(self.step, self.run.steps, self.run.rates))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())

    def save(self, path: Path) -> None:
        state = {
            "run": asdict(self.run),
            "shape": asdict(self.run.shape),
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        # Written beside and renamed: a killed run leaves the last whole checkpoint.
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def held_out_loss(trainer: Trainer, stream: Stream, windows: int = 16) -> float:
    """A quick look during training; `training.evaluate` measures all of it."""
    reader = Reader((stream,), seed=0)
    with torch.no_grad():
        return float(loss_function(trainer.model)(reader.batch(0, windows, trainer.run.short_window)))


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    run = Run(steps=arguments.steps)
    _, reader, held_out = prepare(arguments.folder, run.seed)
    trainer = Trainer(run, reader, compiled=True)
    checkpoint = arguments.folder / "checkpoint.pt"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    began_at, first = time.monotonic(), trainer.step
    while trainer.step < run.steps and time.monotonic() - began_at < arguments.minutes * 60:
        loss = trainer.advance()
        if trainer.step % 10 == 0:
            rate = (trainer.step - first) * run.batch_tokens / (time.monotonic() - began_at)
            print(f"step {trainer.step} loss {loss:.3f} tokens_per_s {rate:.0f}", flush=True)
        if trainer.step % arguments.save_every == 0 or trainer.step == run.steps:
            trainer.save(checkpoint)
            print(f"step {trainer.step} held_out {held_out_loss(trainer, held_out):.3f}", flush=True)
    trainer.save(checkpoint)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the tokenizer, the manifest and checkpoint.pt go")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--minutes", type=float, default=120, help="stop there, with a checkpoint to go on from")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
