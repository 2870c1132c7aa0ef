"""From noise to images, one denoising step after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from triton_backends.diffusion.schedule import denoised, steps
from triton_backends.runtime.triton import Array

# The noise that a UNet sees in a sample FP32 [channels, size, size] at a training step, under each of its conditions.
Unet = Callable[[Array, int, Array], Array]


@dataclass(frozen=True, slots=True)
class Guide:
    """Where a drawing is led. `condition`, `null_condition`: FP32 [d]; `guidance` 1 follows the condition plainly."""

    condition: Array
    null_condition: Array
    guidance: float

    @property
    def conditions(self) -> Array:
        """The rows to ask the UNet for: the null condition is asked for only where it counts."""
        if self.guidance == 0:
            return self.null_condition[np.newaxis]
        if self.guidance == 1 or np.array_equal(self.condition, self.null_condition):
            return self.condition[np.newaxis]
        return np.stack([self.null_condition, self.condition])

    def blended(self, noise: Array) -> Array:
        """Classifier-free guidance, over the rows of `conditions`. Shapes: [1 or 2, ...] -> [...].

        Source: Ho and Salimans, Classifier-Free Diffusion Guidance (2022), arXiv:2207.12598, equation 6 with w + 1.
        """
        if len(noise) == 1:
            plain: Array = noise[0]
            return plain
        null, conditioned = noise
        guided: Array = null + np.float32(self.guidance) * (conditioned - null)
        return guided


def first_samples(seed: int, count: int, shape: tuple[int, ...]) -> list[Array]:
    """Pure noise, one image after another: an image does not depend on how many are drawn."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return [generator.standard_normal(shape, np.float32) for _ in range(count)]


def sample(
    samples: list[Array], alphas_cumprod: tuple[float, ...], num_steps: int, guide: Guide, unet: Unet
) -> Iterator[list[Array]]:
    """The samples after each step; the last are the images.

    Each image has UNet runs of its own: in a larger batch the same image comes out different in the last bits, and its
    bytes would depend on what it was drawn beside.
    """
    conditions = guide.conditions
    for step in steps(alphas_cumprod, num_steps):
        samples = [denoised(one, guide.blended(unet(one, step.timestep, conditions)), step) for one in samples]
        yield samples
