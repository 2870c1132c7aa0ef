"""Grey images beside each other in one PNG file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.images.sample import Array
from triton_backends.diffusion.png import png

# Of the lines between the images: light grey.
_GREY = 0.6


def write_sheet(path: Path, images: Array, columns: int, *, gap: int = 2, zoom: int = 1) -> None:
    """Shapes: FP32 [n, size, size] in [-1, 1], in rows of `columns`; each pixel becomes `zoom` x `zoom`."""
    count, size = images.shape[:2]
    rows, step = -(-count // columns), size + gap
    page = np.full((rows * step + gap, columns * step + gap), _GREY, np.float32)
    for place, image in enumerate(images):
        top, left = (gap + step * at for at in divmod(place, columns))
        page[top : top + size, left : left + size] = image
    path.write_bytes(png(page.repeat(zoom, 0).repeat(zoom, 1)[None]))
