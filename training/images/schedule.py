"""How much of an image is left at each training step.

Source: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021), section 3.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

TRAIN_STEPS = 1000
# As in the paper: the offset keeps the first steps from being too small, the limit the last one from having no signal.
_OFFSET, _BETA_MAX = 0.008, 0.999


def alphas_cumprod(steps: int = TRAIN_STEPS) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The signal's share of the variance after each step, falling."""
    level = [math.cos((step / steps + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2 for step in range(steps + 1)]
    betas = 1 - np.array(level[1:]) / np.array(level[:-1])
    return np.cumprod(1 - betas.clip(max=_BETA_MAX))
