"""The digits of all fonts as `training.images.fonts` drew them, and what is known of each font."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
GLYPHS, MANIFEST = HERE / "glyphs.npz", HERE / "glyphs.json"
# Drawn larger than they are trained on, so that turning and scaling lose nothing.
CANVAS, HEIGHT = 96, 64
# Levels of ink that are stored: few, so that the file is small.
INK_LEVELS = 16

Ink = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Face:
    """One font file; a held out family is for judging only, and the UNet never sees it."""

    package: str
    file: str
    family: str
    style: str
    license: str
    sha256: str
    held_out: bool


def read_faces() -> list[Face]:
    return [Face(**entry) for entry in json.loads(MANIFEST.read_text(encoding="utf-8"))]


def read_glyphs() -> Ink:
    """Ink of every digit of every face, uint8 [faces, 10, CANVAS, CANVAS], 255 is full ink."""
    with np.load(GLYPHS) as archive:
        levels: Ink = archive["levels"]
    return levels * np.uint8(255 // (INK_LEVELS - 1))
