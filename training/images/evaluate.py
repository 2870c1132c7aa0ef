"""Measure the shipped image packages: what a classifier recognises, how prompts are read, how long a call takes.

Run: python -m training.images.evaluate RUN REPOSITORY
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.graph import read_graph
from training.images.digits import stroke_width
from training.images.judge import Judge, accuracy, load_judge
from training.images.prompts import Prompt, Writer
from training.images.sample import DIFFUSION, ENCODER, TEXT_TO_IMAGE, UNET, Array, Pipeline, Sketch, open_graph
from training.images.train import load_painter, losses
from training.images.unet import LABELS, NULL_ROW

# Images of each digit that are judged: with the settings of the model, and with others; and prompts.
PER_DIGIT, PER_DIGIT_OTHERS, PROMPTS = 50, 20, 2000
# The samples of the cards have seeds below.
_FIRST_SEED = 1_000_000
_ROWS = 50
STYLES = ("", "thin ", "bold ", "slanted ")


def evaluate(run: Path, repository: Path) -> dict[str, dict[str, Any]]:
    """Every figure of the cards, by package."""
    judge = load_judge(run / "judge.pt")
    diffusion, hybrid = (Pipeline(repository, name) for name in (DIFFUSION, TEXT_TO_IMAGE))
    by_label, others = (
        [diffusion.labelled(str(digit)) for digit in range(LABELS) for _ in range(count)]
        for count in (PER_DIGIT, PER_DIGIT_OTHERS)
    )
    writer = Writer(seed=2, held_out=True)
    by_prompt = [hybrid.read(writer.write(digit).text) for digit in range(LABELS) for _ in range(PER_DIGIT)]
    same, other = (round(accuracy(judge, held_out=held_out), 4) for held_out in (False, True))
    judged = {"judge_accuracy": {"fonts_trained_on": same, "fonts_held_out": other}}
    return {
        UNET: graph_figures(repository / UNET) | {"call_ms": call_ms(repository), "loss": losses(run / "unet.pt")},
        ENCODER: graph_figures(repository / ENCODER) | reading(run, hybrid),
        DIFFUSION: judged
        | {"recognised": recognised(diffusion, judge, by_label, Sketch())}
        | {"by_steps": by_sketch(diffusion, judge, others, [Sketch(steps=steps) for steps in (5, 10, 50)])}
        | {"by_guidance": by_sketch(diffusion, judge, others, [Sketch(guidance=value) for value in (1.0, 4.0)])},
        TEXT_TO_IMAGE: judged
        | {"recognised": recognised(hybrid, judge, by_prompt, Sketch()), "styles": styles(hybrid, judge)},
    }


def graph_figures(package: Path) -> dict[str, Any]:
    graph = package / "1" / "model.onnx"
    return {
        "parameters": read_graph(graph.read_bytes()).parameters,
        "bytes": graph.stat().st_size,
        "sha256": hashlib.sha256(graph.read_bytes()).hexdigest(),
    }


def drawn(pipeline: Pipeline, conditions: Sequence[Array], sketch: Sketch) -> torch.Tensor:
    """Shapes: FP32 [n, 1, size, size]. A seed for each condition, the same ones in every measurement."""
    pages = []
    for first in range(0, len(conditions), _ROWS):
        part = conditions[first : first + _ROWS]
        seeds = [_FIRST_SEED + first + place for place in range(len(part))]
        pages.append(pipeline.draw(part, seeds, sketch))
    return torch.from_numpy(np.concatenate(pages)).unsqueeze(1)


def recognised(pipeline: Pipeline, judge: Judge, conditions: Sequence[Array], sketch: Sketch) -> dict[str, Any]:
    """The share of the images of each digit, as many of each and in their order, that the judge takes for it."""
    guesses = judge(drawn(pipeline, conditions, sketch)).argmax(1).view(LABELS, -1)
    right = (guesses == torch.arange(LABELS)[:, None]).float()
    shares = {str(digit): round(float(right[digit].mean()), 4) for digit in range(LABELS)}
    return {"all": round(float(right.mean()), 4), "by_digit": shares, "images": right.numel()}


def by_sketch(
    pipeline: Pipeline, judge: Judge, conditions: Sequence[Array], sketches: Sequence[Sketch]
) -> dict[str, float]:
    """The share recognised with one setting changed."""
    return {
        str(sketch.steps if sketch.guidance is None else sketch.guidance): recognised(
            pipeline, judge, conditions, sketch
        )["all"]
        for sketch in sketches
    }


def styles(pipeline: Pipeline, judge: Judge) -> dict[str, dict[str, float]]:
    """What words of style do: stroke width in pixels, and lean in pixels to the right a pixel upwards."""
    found = {}
    for style in STYLES:
        conditions = [pipeline.read(f"a {style}{digit}") for digit in range(LABELS) for _ in range(PER_DIGIT_OTHERS)]
        images = drawn(pipeline, conditions, Sketch())
        ink = ((1 - images) / 2).clamp(0, 1)
        share = judge(images).argmax(1).view(LABELS, -1) == torch.arange(LABELS)[:, None]
        found[style.strip() or "none"] = {
            "stroke_pixels": round(float(stroke_width(ink).mean()), 3),
            "lean": round(float(lean(ink).mean()), 3),
            "recognised": round(float(share.float().mean()), 4),
        }
    return found


def lean(ink: torch.Tensor) -> torch.Tensor:
    """How the ink moves to the right as one goes up: the slope of a line through it."""
    up, across = torch.meshgrid(-torch.arange(ink.shape[-2]), torch.arange(ink.shape[-1]), indexing="ij")
    mass = ink / ink.sum((1, 2, 3), keepdim=True)
    middle = [(mass * axis).sum((1, 2, 3), keepdim=True) for axis in (up, across)]
    both = (mass * (up - middle[0]) * (across - middle[1])).sum((1, 2, 3))
    return both / (mass * (up - middle[0]).square()).sum((1, 2, 3))


def reading(run: Path, hybrid: Pipeline) -> dict[str, Any]:
    """How prompts of forms that were not trained on are read: the condition nearest to what the encoder gives."""
    conditions = load_painter(run / "unet.pt").conditions
    meanings = list(product(range(LABELS + 1), range(3), range(2)))
    table = conditions(*(torch.tensor(column) for column in zip(*meanings, strict=True))).numpy()
    writer = Writer(seed=1, held_out=True)
    prompts = [writer.write() for _ in range(PROMPTS)]
    given = np.stack([hybrid.read(prompt.text) for prompt in prompts])
    nearest = np.square(given[:, None] - table).sum(2).argmin(1)
    read = [meanings[place] for place in nearest]
    return {"prompts": len(prompts), "read_right": read_right(prompts, read)}


def read_right(prompts: Sequence[Prompt], read: Sequence[tuple[int, ...]]) -> dict[str, float]:
    pairs = list(zip(prompts, read, strict=True))
    shares = {
        "digit": [prompt.digit == digit for prompt, (digit, _, _) in pairs if prompt.digit != NULL_ROW],
        "no_digit": [prompt.digit == digit for prompt, (digit, _, _) in pairs if prompt.digit == NULL_ROW],
        "style": [(prompt.weight, prompt.slant) == (weight, slant) for prompt, (_, weight, slant) in pairs],
    }
    return {name: round(float(np.mean(right)), 4) for name, right in shares.items()}


def call_ms(repository: Path, calls: int = 40) -> dict[str, float]:
    """Median of a UNet call on one core, by number of rows."""
    graph = open_graph(repository / UNET / "1" / "model.onnx", threads=1)
    width = graph.get_inputs()[2].shape[1]
    found = {}
    for rows in (1, 2, 16, 32):
        noise = np.random.default_rng(0).standard_normal((rows, 1, 32, 32), np.float32)
        given = {"sample": noise, "timestep": np.full(rows, 500), "condition": np.zeros((rows, width), np.float32)}
        taken = []
        for _ in range(calls):
            began_at = time.perf_counter()
            graph.run(None, given)
            taken.append(time.perf_counter() - began_at)
        found[str(rows)] = round(float(np.median(taken)) * 1000, 2)
    return found


def main() -> None:
    run, repository = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    for name, figures in evaluate(run, repository).items():
        text = json.dumps(figures, indent=2)
        (repository / name / "figures.json").write_text(text + "\n", encoding="utf-8")
        print(name, text)


if __name__ == "__main__":
    main()
