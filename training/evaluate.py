"""Measure a shipped model directory on the files it was never trained on, and let it write.

Run: python -m training.evaluate MODEL_DIRECTORY
"""

from __future__ import annotations

import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from training.corpus import SourceFile, read_corpus, standard_library
from training.export import load_source
from training.sample import PROMPTS, Sampling, complete
from training.score import Score, score, torch_logits
from training.session import Graph
from training.windows import Stream, token_stream

# Edges of the position ranges whose loss is reported: a model that forgets, or never saw, late positions shows here.
POSITIONS = (0, 64, 256, 512, 768, 960, 1024)
SETTINGS = {"greedy": Sampling(temperature=0), "sampled": Sampling(temperature=0.7, top_p=0.9, seed=0)}


def evaluate(directory: Path) -> dict[str, Any]:
    """Return every figure of the model card; see the card for what each means."""
    tokenizer = Tokenizer.from_file(str(directory / "1" / "tokenizer.json"))
    graph = Graph(directory / "1")
    model = load_source(directory / "source")
    files = [file for file in read_corpus(standard_library()) if file.held_out]
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "context_length": graph.facts["context_length"],
        "bytes": {name: _size(directory / name) for name in ("1", "source")},
        "held_out": {
            part: _figures(directory, [file for file in files if file.part == part], tokenizer)
            for part in ("held_out_lib", "held_out_test")
        },
        "samples": samples(graph, tokenizer),
    }


def _figures(directory: Path, files: list[SourceFile], tokenizer: Tokenizer) -> dict[str, Any]:
    stream = token_stream(files, tokenizer)
    window = POSITIONS[-1]
    reference = score(torch_logits(load_source(directory / "source")), stream, window)
    served = score(Graph(directory / "1").logits, stream, window)
    size_bytes = sum(len(file.text.encode()) for file in files)
    return {
        "files": len(files),
        "bytes": size_bytes,
        "tokens": len(stream) - 1,
        "scored_tokens": reference.losses.size,
        "loss": reference.loss,
        "perplexity": reference.perplexity,
        "bits_per_byte": reference.loss / math.log(2) * (len(stream) - 1) / size_bytes,
        "top_1_accuracy": _accuracy(reference, stream),
        "loss_by_position": _by_position(reference),
        "served_loss": served.loss,
        "served_perplexity_ratio": math.exp(served.loss - reference.loss),
        "served_top_1_agreement": float((served.guesses == reference.guesses).mean()),
    }


def _accuracy(result: Score, stream: Stream) -> float:
    targets = stream[1 : result.guesses.size + 1].reshape(result.guesses.shape)
    return float((result.guesses == targets).mean())


def _by_position(result: Score) -> dict[str, float]:
    return {f"{first}-{last - 1}": result.loss_between(first, last) for first, last in pairwise(POSITIONS)}


def samples(graph: Graph, tokenizer: Tokenizer) -> list[dict[str, str]]:
    return [
        {"prompt": prompt, **{name: complete(graph, tokenizer, prompt, how) for name, how in SETTINGS.items()}}
        for prompt in PROMPTS
    ]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    directory = Path(sys.argv[1])
    figures = json.dumps(evaluate(directory), indent=2)
    (directory / "figures.json").write_text(figures + "\n", encoding="utf-8")
    print(figures)


if __name__ == "__main__":
    main()
