"""Draw the sample images of the cards; their labels, prompts and seeds were fixed before any was seen.

Run: python -m training.images.draw_samples REPOSITORY
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from training.images.sample import DIFFUSION, TEXT_TO_IMAGE, Array, Pipeline, Sketch
from training.images.sheet import write_sheet

PROMPTS = (
    *("a seven", "the digit zero", "draw me a bold number three", "a thin 4", "an italic five"),
    *("EIGHT!", "a slanted bold 2", "please write a nine", "a skinny slanted six", "the numbr one"),
)
SEEDS = range(8)
STEPS = (1, 2, 5, 10, 20, 50)


def main() -> None:
    repository = Path(sys.argv[1])
    diffusion, hybrid = (Pipeline(repository, name) for name in (DIFFUSION, TEXT_TO_IMAGE))
    labels = [diffusion.labelled(label) for label in diffusion.facts.labels]
    write_sheet(repository / DIFFUSION / "samples.png", rows(diffusion, labels), len(SEEDS), zoom=2)
    write_sheet(repository / DIFFUSION / "steps.png", by_steps(diffusion, labels), len(STEPS), zoom=2)
    prompts = [hybrid.read(prompt) for prompt in PROMPTS]
    write_sheet(repository / TEXT_TO_IMAGE / "samples.png", rows(hybrid, prompts), len(SEEDS), zoom=2)


def rows(pipeline: Pipeline, conditions: list[Array]) -> Array:
    """A row for each condition, a column for each seed."""
    return pipeline.draw([one for one in conditions for _ in SEEDS], [*SEEDS] * len(conditions))


def by_steps(pipeline: Pipeline, conditions: list[Array]) -> Array:
    """A row for each condition, always from seed 0; a column for each number of steps."""
    pages = [pipeline.draw(conditions, [0] * len(conditions), Sketch(steps=steps)) for steps in STEPS]
    drawn: Array = np.stack(pages, 1).reshape(-1, *pages[0].shape[1:])
    return drawn


if __name__ == "__main__":
    main()
