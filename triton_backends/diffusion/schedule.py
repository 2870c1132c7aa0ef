"""DDIM without added noise: at which training steps the UNet is asked, and what each answer makes of the image.

Source: Song, Meng and Ermon, Denoising Diffusion Implicit Models (2020), arXiv:2010.02502, equation 12 with sigma 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triton_backends.runtime.triton import Array


@dataclass(frozen=True, slots=True)
class Step:
    """One denoising step. `signal` is the share of signal variance before it, `signal_after` after it."""

    timestep: int
    signal: float
    signal_after: float


def steps(alphas_cumprod: Sequence[float], count: int) -> tuple[Step, ...]:
    """`count` steps evenly over the training steps, from the noisiest; the last one ends at the image itself."""
    trained = len(alphas_cumprod)
    timesteps = [round(trained * place / count) - 1 for place in range(count, 0, -1)]
    signals = [*(alphas_cumprod[timestep] for timestep in timesteps), 1.0]
    return tuple(Step(timestep, signals[at], signals[at + 1]) for at, timestep in enumerate(timesteps))


def denoised(sample: Array, noise: Array, step: Step) -> Array:
    """The sample after a step, given the noise that the UNet sees in it. Shapes: all alike, FP32."""
    image: Array = (sample - _float(math.sqrt(1 - step.signal)) * noise) / _float(math.sqrt(step.signal))
    image = np.clip(image, -1, 1)
    if step.signal_after >= 1:
        return image
    # What was clipped is no longer signal, so the noise is what is left beside it.
    noise = (sample - _float(math.sqrt(step.signal)) * image) / _float(math.sqrt(1 - step.signal))
    after: Array = _float(math.sqrt(step.signal_after)) * image + _float(math.sqrt(1 - step.signal_after)) * noise
    return after


def _float(value: float) -> np.float32:
    return np.float32(value)
