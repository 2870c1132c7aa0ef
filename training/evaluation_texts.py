"""Texts to judge converted forms of the shipped model by: a stretch of every file that training held out.

Run: python -m training.evaluation_texts MODEL_DIRECTORY
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from training.corpus import SourceFile, read_corpus, standard_library

FILE = "evaluation.jsonl"
# About 670 tokens, between two and three windows; of 48 files four times what an evaluation reads.
STRETCH_CHARACTERS = 2_500
# Files begin alike, with licences and imports.
BEGINS_AT = 1 / 3


def evaluation_texts(files: Iterable[SourceFile]) -> str:
    """JSON lines, in path order; each stretch begins and ends with a line."""
    return "".join(json.dumps({"text": _stretch(file.text)}) + "\n" for file in files if file.held_out)


def _stretch(text: str) -> str:
    if len(text) <= STRETCH_CHARACTERS:
        return text
    begin = text.find("\n", int(len(text) * BEGINS_AT)) + 1
    stretch = text[begin : begin + STRETCH_CHARACTERS]
    return stretch[: stretch.rfind("\n") + 1] or stretch


def main() -> None:
    (Path(sys.argv[1]) / FILE).write_text(evaluation_texts(read_corpus(standard_library())), encoding="utf-8")


if __name__ == "__main__":
    main()
