"""What is trained on: digits of many faces, turned, sheared, scaled, shifted, thickened; and what their style is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, max_pool2d

from training.images.glyphs import CANVAS, HEIGHT, read_faces, read_glyphs

SIZE = 32


class Weight(IntEnum):
    """How thick the strokes are; 0 where nothing is said."""

    ANY = 0
    THIN = 1
    BOLD = 2


class Slant(IntEnum):
    """Whether the digit leans to the right; 0 where nothing is said."""

    ANY = 0
    SLANTED = 1


@dataclass(frozen=True)
class Batch:
    """`images` FP32 [n, 1, SIZE, SIZE], 1 is paper and -1 is ink; the rest INT64 [n]."""

    images: Tensor
    digits: Tensor
    weights: Tensor
    slants: Tensor


@dataclass(frozen=True)
class Variety:
    """How much the drawings differ. Units: turn in radians, height and shift in pixels of the image."""

    turn: float = 0.12
    upright: float = 0.05
    lean: tuple[float, float] = (0.22, 0.38)
    slanted_share: float = 0.3
    height: tuple[float, float] = (20.0, 26.0)
    width: tuple[float, float] = (0.88, 1.12)
    shift: float = 1.5


class Digits:
    """An endless supply of batches; the same seed and step give the same batch."""

    def __init__(self, seed: int, *, held_out: bool = False, variety: Variety | None = None) -> None:
        faces = [place for place, face in enumerate(read_faces()) if face.held_out is held_out]
        self._inks = strengths(torch.from_numpy(read_glyphs()[faces]))
        self._variety = variety or Variety()
        self._seed = seed

    def batch(self, step: int, count: int) -> Batch:
        draw = torch.Generator().manual_seed(int(np.random.SeedSequence((self._seed, step)).generate_state(1)[0]))
        digits = torch.randint(10, (count,), generator=draw)
        faces = torch.randint(self._inks.shape[1], (count,), generator=draw)
        inks = self._inks[:, faces, digits].float().div(255).unsqueeze(2)
        ink, slanted = self._placed(thickened(inks, _uniform(draw, count, 0, 1)), draw)
        return Batch(1 - 2 * ink, digits, weight_of(ink), slanted)

    def _placed(self, ink: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        count, variety = len(ink), self._variety
        slanted = torch.rand(count, generator=draw) < variety.slanted_share
        upright = _uniform(draw, count, -variety.upright, variety.upright)
        shear = torch.where(slanted, _uniform(draw, count, *variety.lean), upright)
        turn = _uniform(draw, count, -variety.turn, variety.turn)
        height = _uniform(draw, count, *variety.height)
        # From the image's coordinates to the glyph's: the inverse of what is seen.
        scale = (HEIGHT / CANVAS) * (SIZE / height)
        width = scale / _uniform(draw, count, *variety.width)
        across, down = (_uniform(draw, count, -1, 1) * variety.shift * 2 / SIZE for _ in range(2))
        cos, sin = turn.cos(), turn.sin()
        rows = [width * (cos + shear * sin), width * (shear * cos - sin), across, scale * sin, scale * cos, down]
        grid = affine_grid(torch.stack(rows, 1).view(count, 2, 3), [count, 1, SIZE, SIZE], align_corners=False)
        return grid_sample(ink, grid, mode="bilinear", align_corners=False), slanted.long()


def strengths(ink: Tensor) -> Tensor:
    """The same ink with strokes as they are, and grown by one and by three pixels of the canvas on each side.

    Averaged to half the canvas, about a pixel of which becomes one of the image: edges stay smooth.
    """
    grown = [max_pool2d(ink.float(), 2 * by + 1, stride=1, padding=by) for by in (0, 1, 3)]
    return torch.stack([avg_pool2d(one, 2).round().to(torch.uint8) for one in grown])


def thickened(inks: Tensor, share: Tensor) -> Tensor:
    """Between the strengths, shapes [3, n, 1, height, width]; a third of the digits stays as it is."""
    amount = (3 * share - 1).clamp(0, 2).view(-1, 1, 1, 1)
    plain, near, grown = inks
    return torch.where(amount < 1, plain.lerp(near, amount), near.lerp(grown, amount - 1))


# Stroke widths at the lower and the upper quarter of what this module draws.
THIN_PIXELS, BOLD_PIXELS = 2.5, 4.3


def stroke_width(ink: Tensor) -> Tensor:
    """About how thick the strokes are: twice the inked area over the length of its edge. Units: pixels."""
    across, down = ink.diff(dim=-1)[..., 1:, :], ink.diff(dim=-2)[..., 1:]
    edge = (across.square() + down.square()).sqrt().flatten(1).sum(1)
    return 2 * ink.flatten(1).sum(1) / edge.clamp_min(1e-6)


def weight_of(ink: Tensor) -> Tensor:
    width = stroke_width(ink)
    return torch.where(width < THIN_PIXELS, Weight.THIN, torch.where(width > BOLD_PIXELS, Weight.BOLD, Weight.ANY))


def _uniform(draw: torch.Generator, count: int, low: float, high: float) -> Any:
    return low + (high - low) * torch.rand(count, generator=draw)
