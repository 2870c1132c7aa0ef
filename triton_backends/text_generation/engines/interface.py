"""What the scheduler needs of an engine: sequences go in, one token each comes out of every step."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from triton_backends.text_generation.sampling import Sampled, Sampler

TokenIds = NDArray[np.int64]


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt that is being continued. Candidates of one request share the same `prompt` array."""

    prompt: TokenIds
    sampler: Sampler


@dataclass(frozen=True, slots=True)
class Produced:
    """The next token of a sequence."""

    sequence: Sequence
    sampled: Sampled


@dataclass(frozen=True, slots=True)
class Failed:
    """A sequence that cannot go on, and why."""

    sequence: Sequence
    reason: str


class Engine(Protocol):
    """Continues up to `slots` sequences at once. Called from one thread only.

    It knows nothing of when a text ends: a sequence goes on until `cancel`.
    """

    slots: int
    context_length: int

    def submit(self, sequence: Sequence) -> None: ...

    def step(self) -> SequenceOf[Produced | Failed]:
        """Do one bounded piece of work; may produce nothing, as in the middle of a long prompt."""

    def cancel(self, sequence: Sequence) -> None:
        """Free the sequence's slot; also after it failed or ended. Unknown sequences are ignored."""
