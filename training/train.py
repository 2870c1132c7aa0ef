"""Train the model on the corpus, reproducibly by seed, with checkpoints that a later run can go on from.

Run: python -m training.train FOLDER --steps N --final-steps M
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from training.architecture import Shape, build_model
from training.checkpoints import read_checkpoint, write_checkpoint
from training.corpus import SourceFile, read_corpus, standard_library, write_manifest
from training.optimizer import Rates, build_optimizers, rate_share, set_rates
from training.tokenizer import train_tokenizer
from training.windows import Reader, Stream, loosen_spaces, token_stream

LossOf = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Run:
    """All that decides the result, given the corpus."""

    steps: int
    # On the last stretch the rates fall to zero, windows are whole contexts, so that every position the model is
    # served with has been trained, and a few spaces stand alone, as at the end of a prompt.
    final_steps: int
    seed: int = 0
    batch_tokens: int = 8192
    short_window: int = 512
    long_window: int = 1024
    loose_spaces: float = 0.03
    shape: Shape = field(default_factory=Shape)
    rates: Rates = field(default_factory=Rates)

    def is_final(self, step: int) -> bool:
        return step >= self.steps - self.final_steps

    def window(self, step: int) -> int:
        return self.long_window if self.is_final(step) else self.short_window


@dataclass(frozen=True)
class Corpus:
    """The same texts for the first and for the last stretch of a run, and the library files kept from both."""

    tight: Reader
    loose: Reader
    held_out: Stream


def prepare(folder: Path, run: Run) -> Corpus:
    """Read the standard library; write the tokenizer and the manifest beside the checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    files = read_corpus(standard_library())
    write_manifest(files, folder / "manifest.json")
    tokenizer = train_tokenizer(file.text for file in files if not file.held_out)
    tokenizer.save(str(folder / "tokenizer.json"))
    return encode_corpus(files, tokenizer, run)


def encode_corpus(files: list[SourceFile], tokenizer: Tokenizer, run: Run) -> Corpus:
    library, tests, held_out = (
        token_stream([file for file in files if file.part == part], tokenizer)
        for part in ("train_lib", "train_test", "held_out_lib")
    )
    loose = tuple(loosen_spaces(stream, tokenizer, run.loose_spaces, run.seed) for stream in (library, tests))
    return Corpus(Reader((library, tests), run.seed), Reader(loose, run.seed), held_out)


def loss_function(model: LlamaForCausalLM) -> LossOf:
    def loss(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids[:, :-1]).logits
        return cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())

    return loss


class Trainer:
    """A model, its optimizers, and the step they have reached."""

    def __init__(self, run: Run, corpus: Corpus, *, compiled: bool) -> None:
        self.run = run
        self.corpus = corpus
        self.step = 0
        self.model = build_model(run.shape, run.seed)
        self.optimizers = build_optimizers(self.model, run.rates)
        plain = loss_function(self.model)
        self.loss: LossOf = torch.compile(plain, dynamic=False) if compiled else plain

    def advance(self) -> float:
        """Take one step; return the training loss before it, in nats a token."""
        window = self.run.window(self.step)
        reader = self.corpus.loose if self.run.is_final(self.step) else self.corpus.tight
        ids = reader.batch(self.step, self.run.batch_tokens // window, window)
        loss = self.loss(ids)
        loss.backward()  # type: ignore[no-untyped-call]
        set_rates(self.optimizers, self.run.rates, rate_share(self.step, self.run.steps, self.run.final_steps))
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
        write_checkpoint(state, path)

    def resume(self, path: Path) -> None:
        state = read_checkpoint(path)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def held_out_loss(trainer: Trainer, windows: int = 16) -> float:
    """A quick look during training; `training.evaluate` measures all of it."""
    reader = Reader((trainer.corpus.held_out,), seed=0)
    with torch.no_grad():
        return float(loss_function(trainer.model)(reader.batch(0, windows, trainer.run.short_window)))


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    run = Run(steps=arguments.steps, final_steps=arguments.final_steps)
    trainer = Trainer(run, prepare(arguments.folder, run), compiled=True)
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
            print(f"step {trainer.step} held_out {held_out_loss(trainer):.3f}", flush=True)
    trainer.save(checkpoint)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the tokenizer, the manifest and checkpoint.pt go")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--final-steps", type=int, required=True, help="how many of them are the last stretch")
    parser.add_argument("--minutes", type=float, default=120, help="stop there, with a checkpoint to go on from")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
