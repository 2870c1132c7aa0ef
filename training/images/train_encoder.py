"""Train the tokenizer and the text encoder's reading of prompts, by seed; it needs no UNet.

Run: python -m training.images.train_encoder FOLDER
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.checkpoints import read_checkpoint, write_checkpoint
from training.images.encoder import Reader, TextShape
from training.images.prompts import Prompt, Writer
from training.images.tokenizer import train_tokenizer
from training.optimizer import rate_share, take_step


@dataclass(frozen=True)
class TextRun:
    """All that decides the result, given the vocabulary."""

    steps: int = 1600
    final_steps: int = 1500
    seed: int = 0
    batch: int = 128
    rate: float = 2e-3
    shape: TextShape = field(default_factory=TextShape)


def tensors(prompts: Sequence[Prompt], tokenizer: Tokenizer, length: int) -> tuple[Tensor, Tensor]:
    """Shapes: ids and mask INT64 [n, tokens], filled with zeros to the longest; longer prompts are cut at `length`."""
    rows = [tokenizer.encode(prompt.text).ids[:length] for prompt in prompts]
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def wanted(prompts: Sequence[Prompt]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(column) for column in zip(*((p.digit, p.weight, p.slant) for p in prompts), strict=True))


class TextTrainer:
    """A reader, its optimizer, and the prompts it reads next."""

    def __init__(self, run: TextRun, tokenizer: Tokenizer) -> None:
        self.run = run
        self.tokenizer = tokenizer
        self.writer = Writer(run.seed + 1)
        self.reader = Reader(run.shape, run.seed)
        self.optimizer = torch.optim.AdamW(self.reader.parameters(), lr=run.rate, weight_decay=0.01)
        self.step = 0

    def advance(self) -> float:
        """Take one step; return the training loss before it, in nats a prompt."""
        prompts = [self.writer.write() for _ in range(self.run.batch)]
        logits = self.reader(*tensors(prompts, self.tokenizer, self.run.shape.length))
        losses = [cross_entropy(one, target) for one, target in zip(logits, wanted(prompts), strict=True)]
        loss = torch.stack(losses).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.reader.parameters(), 1.0)
        take_step(self.optimizer, self.run.rate * rate_share(self.step, self.run.steps, self.run.final_steps))
        self.step += 1
        return float(loss.detach())


def right_share(reader: Reader, tokenizer: Tokenizer, prompts: Sequence[Prompt], length: int) -> list[float]:
    """How many of the prompts are read as they are meant: the digit, the weight, the slant."""
    with torch.no_grad():
        logits = reader(*tensors(prompts, tokenizer, length))
    pairs = zip(logits, wanted(prompts), strict=True)
    return [float((one.argmax(1) == target).float().mean()) for one, target in pairs]


def load_reader(path: Path) -> Reader:
    state = read_checkpoint(path)
    reader = Reader(TextShape(**state["shape"]), seed=0)
    reader.load_state_dict(state["reader"])
    return reader.requires_grad_(False).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where tokenizer.json and encoder.pt go")
    parser.add_argument("--steps", type=int, default=TextRun.steps)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    run = TextRun(steps=arguments.steps)
    tokenizer = train_tokenizer(run.seed, run.shape.vocab_size)
    tokenizer.save(str(arguments.folder / "tokenizer.json"))
    trainer, began_at = TextTrainer(run, tokenizer), time.monotonic()
    writer = Writer(run.seed, held_out=True)
    checked = [writer.write() for _ in range(1000)]
    while trainer.step < run.steps:
        loss = trainer.advance()
        if trainer.step % 250 == 0 or trainer.step == run.steps:
            right = right_share(trainer.reader, tokenizer, checked, run.shape.length)
            print(
                f"step {trainer.step} loss {loss:.4f} right {right} at_s {time.monotonic() - began_at:.0f}", flush=True
            )
    state = {"shape": asdict(run.shape), "reader": trainer.reader.state_dict()}
    write_checkpoint(state, arguments.folder / "encoder.pt")


if __name__ == "__main__":
    main()
