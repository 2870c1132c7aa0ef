"""Chooses the next token from one row of logits; what it chooses depends on that row and its own seed alone.

Every array here is one row: numpy's results for a row of a batch may differ in the last bit with the batch's size,
and then the same seed would not give the same text beside other requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from triton_backends.text_generation.options import GenerationOptions

Logits = NDArray[np.float32]

SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)


class Constraint(Protocol):
    """Says which tokens may come next, and is told which one did."""

    def allowed(self) -> NDArray[np.bool_]: ...
    def accept(self, token_id: int) -> None: ...
    def finished(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Sampled:
    """The chosen token, its probability under the model's unmodified softmax, and the most likely tokens."""

    token_id: int
    probability: float
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class Sampler:
    """The random state and history of one candidate."""

    options: GenerationOptions
    random: np.random.Generator
    constraint: Constraint | None = None
    _counts: dict[int, int] = field(default_factory=dict)

    def choose(self, logits: Logits) -> Sampled:
        """Shapes: FP32[vocabulary], left unchanged. Raises: FloatingPointError for logits that are not numbers."""
        peak = float(logits.max())
        if not np.isfinite(peak):
            raise FloatingPointError("the model's logits are not finite numbers")
        total = float(np.exp(logits - np.float32(peak)).sum(dtype=np.float64))
        log_total = peak + float(np.log(total))
        token_id = self._pick(self._shaped(logits), self.options)
        if self.constraint is not None:
            self.constraint.accept(token_id)
        if self._penalized():
            self._counts[token_id] = self._counts.get(token_id, 0) + 1
        probability = float(np.exp(float(logits[token_id]) - log_total))
        top = _top_logprobs(logits, log_total, self.options.logprobs)
        return Sampled(token_id, min(1.0, max(probability, SMALLEST_PROBABILITY)), top)

    def finished(self) -> bool:
        """Whether the grammar leaves nothing to add."""
        return self.constraint is not None and self.constraint.finished()

    def _penalized(self) -> bool:
        return bool(self.options.frequency_penalty or self.options.presence_penalty)

    def _shaped(self, logits: Logits) -> Logits:
        """The logits after penalties (on the tokens generated so far) and the grammar."""
        if not self._counts and self.constraint is None:
            return logits
        shaped = logits.copy()
        for token_id, count in self._counts.items():
            shaped[token_id] -= count * self.options.frequency_penalty + self.options.presence_penalty
        if self.constraint is not None:
            shaped[~self.constraint.allowed()] = -np.inf
        return shaped

    def _pick(self, logits: Logits, options: GenerationOptions) -> int:
        temperature = np.float32(options.temperature)
        if temperature == 0:  # also of a number too small for a float, which would divide 0 by 0
            return int(logits.argmax())
        with np.errstate(over="ignore"):  # a tiny temperature leaves the most likely token alone
            weights = np.exp((logits - logits.max()) / temperature)
        if options.top_k and options.top_k < weights.size:
            token_ids = _most_likely(weights, options.top_k)
            return int(token_ids[_draw(weights[token_ids], options.top_p, self.random)])
        return _draw(weights, options.top_p, self.random)


def new_samplers(options: GenerationOptions, constraints: list[Constraint | None]) -> list[Sampler]:
    """One sampler a candidate; the same seed gives candidate i the same random numbers whatever `n` is."""
    # SeedSequence takes no negative numbers.
    seed = None if options.seed is None else options.seed % 2**64
    root = np.random.SeedSequence(seed)
    return [
        Sampler(options, np.random.Generator(np.random.PCG64(child)), constraint)
        for child, constraint in zip(root.spawn(len(constraints)), constraints, strict=True)
    ]


def _most_likely(scores: Logits, count: int) -> NDArray[np.int64]:
    """Token ids from the most to the least likely; equal ones by id."""
    if count < scores.size:
        found = np.sort(np.argpartition(scores, scores.size - count)[scores.size - count :])
        return found[np.argsort(-scores[found], kind="stable")]
    return np.argsort(-scores, kind="stable")


def _draw(weights: Logits, top_p: float, random: np.random.Generator) -> int:
    """A place among the most likely whose weights together reach `top_p` of all; equal weights are in or out together.

    Drawn from all, and accepted if what is more likely does not reach `top_p` without it; if not, nothing as unlikely
    can be accepted, and is left out of the next draw. This needs no sorting, which would cost more than a step.
    """
    places = np.arange(weights.size)
    goal = top_p * float(weights.sum(dtype=np.float64))
    while True:
        place = _inverse_cdf(np.cumsum(weights, dtype=np.float64), random.random())
        likelier = weights > weights[place]
        if top_p >= 1 or float(weights[likelier].sum(dtype=np.float64)) < goal:
            return int(places[place])
        places, weights = places[likelier], weights[likelier]


def _inverse_cdf(running: NDArray[np.float64], draw: float) -> int:
    # `right` skips what has no weight; the last that has some ends the row.
    last = int(np.searchsorted(running, running[-1]))
    return min(int(np.searchsorted(running, draw * running[-1], side="right")), last)


def _top_logprobs(logits: Logits, log_total: float, count: int) -> tuple[tuple[int, float], ...]:
    if not count:
        return ()
    token_ids: Any = _most_likely(logits, count)
    return tuple((int(token_id), float(logits[token_id]) - log_total) for token_id in token_ids)
