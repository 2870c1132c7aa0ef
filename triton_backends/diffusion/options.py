"""What a caller may ask of a drawing: names, bounds and defaults of the request parameters, and the seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from triton_backends.diffusion.model_files import GUIDANCE_MAX
from triton_backends.runtime.parameters import InvalidParameter, boolean, integer, number, refuse_unknown
from triton_backends.runtime.triton import Array

STEPS_MAX = 100
IMAGES_MAX = 16


@dataclass(frozen=True, slots=True)
class DrawingOptions:
    """The request parameters of one drawing, checked. `guidance` None is the model's own."""

    num_steps: int = 20
    num_images: int = 1
    label: str | None = None
    guidance: float | None = None
    stream: bool = True


def read_options(parameters: Mapping[str, Any]) -> DrawingOptions:
    """Raises: InvalidParameter for an unknown name or a value out of bounds; never clamps."""
    refuse_unknown(parameters, _READERS)
    return DrawingOptions(**{name: _READERS[name](name, value) for name, value in parameters.items()})


def read_seed(seed: Array | None) -> int:
    """Shapes: INT64[1]. Raises: InvalidParameter."""
    if seed is None or seed.size != 1:
        raise InvalidParameter("seed must hold exactly one number, INT64[1]")
    value = int(seed.reshape(-1)[0])
    if value < 0:
        raise InvalidParameter(f"seed must be 0 or more, got {value}")
    return value


def _label(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidParameter(f"{name} must be one of the model's labels, got {value!r}")
    return value


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "num_steps": integer(1, STEPS_MAX),
    "num_images": integer(1, IMAGES_MAX),
    "label": _label,
    "guidance": number(0, GUIDANCE_MAX),
    "stream": boolean,
}
