"""What can be decided about the environment that conversions run in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# auto: for CUDA where there is a GPU, else what is offered, a CPU build before others.
TORCH_BUILDS = ("auto", "cpu", "cuda")


def _unheard(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Choice:
    """One of TORCH_BUILDS, and extras such as tensorrt-rtx."""

    torch: str = "auto"
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Making:
    """How to make an environment: `on_output` gets what the tools write, `force` makes it anew though it is there.

    `extra_index_urls` are for this once: they may hold a password, so they are not kept.
    """

    choice: Choice = Choice()
    extra_index_urls: tuple[str, ...] = ()
    on_output: Callable[[str], None] = _unheard
    force: bool = False
