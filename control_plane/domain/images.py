"""Images drawn by diffusion: what may be asked, the steps on the way, and what comes back (contract 0.6)."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.bounds import within
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.generation import SEED_MAX

STEPS_MAX, IMAGES_MAX, GUIDANCE_MAX, LABEL_LENGTH_MAX = 100, 16, 20, 100


@dataclass(frozen=True, slots=True)
class Drawing:
    """Images wanted of one model; `model` is a reference as the client wrote it, `caller` the principal's id.

    `prompt`: what a hybrid model draws; a diffusion model takes none, but may take a `label`, one of its classes.
    `guidance`: how strongly the prompt or label is followed, 1 is plain; None is the model's own. None as `seed` draws
    one. Same model, request and seed: same bytes.
    Raises: InvalidRequest for a value out of its bounds.
    """

    model: str
    prompt: str | None = None
    num_steps: int = 20
    num_images: int = 1
    seed: int | None = None
    label: str | None = None
    guidance: float | None = None
    request_id: str = ""
    caller: str = ""

    def __post_init__(self) -> None:
        within("num_steps", self.num_steps, 1, STEPS_MAX)
        within("num_images", self.num_images, 1, IMAGES_MAX)
        within("seed", self.seed or 0, 0, SEED_MAX)
        within("guidance", self.guidance or 0, 0, GUIDANCE_MAX)
        if self.label is not None and not 1 <= len(self.label) <= LABEL_LENGTH_MAX:
            raise InvalidRequest(f"label must have 1 to {LABEL_LENGTH_MAX} characters", field="label")


@dataclass(frozen=True, slots=True)
class DrawingStep:
    """One denoising step is done; `step` counts from 1 to `num_steps`."""

    step: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class Stage:
    """What one part of the pipeline took. `model` is a revision in public words."""

    model: str
    time_ms: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """The images, as PNG files of `width` x `height` pixels. Units: `inference_time_s` is wall time around Triton."""

    model: str
    images: tuple[bytes, ...]
    width: int
    height: int
    num_steps: int
    seed: int
    stages: tuple[Stage, ...]
    inference_time_s: float

    @property
    def steps_per_second(self) -> float:
        """Denoising steps times images, the dialects' `tokens_per_second` for images (contract 0.6)."""
        return self.num_steps * len(self.images) / self.inference_time_s
