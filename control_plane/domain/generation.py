"""Text generation: what may be asked, and the tokens that come back."""

from __future__ import annotations

from dataclasses import dataclass, field

from control_plane.domain.bounds import within
from control_plane.domain.errors import InvalidRequest

MAX_NEW_TOKENS = 4096
MAX_STOP_SEQUENCES = 8
MAX_TOP_LOGPROBS = 20
SEED_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Units: `max_tokens` counts new tokens. `temperature` 0 is greedy. Same `seed`, same text.
    Raises: InvalidRequest for a value out of its bounds; nothing is ever clamped.
    """

    max_tokens: int = 100
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    seed: int | None = None
    stop_sequences: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        within("max_length", self.max_tokens, 1, MAX_NEW_TOKENS)
        within("temperature", self.temperature, 0, 2)
        within("top_p", self.top_p, 0, 1)
        if self.top_p == 0:
            raise InvalidRequest("top_p must be above 0 and at most 1, got 0", field="top_p")
        within("top_k", self.top_k, 0, 2**31 - 1)
        within("seed", self.seed or 0, -SEED_MAX, SEED_MAX)
        within("frequency_penalty", self.frequency_penalty, -2, 2)
        within("presence_penalty", self.presence_penalty, -2, 2)
        within("logprobs", self.top_logprobs or 0, 0, MAX_TOP_LOGPROBS)
        if len(self.stop_sequences) > MAX_STOP_SEQUENCES or not all(self.stop_sequences):
            raise InvalidRequest(
                f"stop_sequences: at most {MAX_STOP_SEQUENCES} texts, none of them empty", field="stop_sequences"
            )


@dataclass(frozen=True, slots=True)
class Generation:
    """One prompt for one model; `model` is a reference as the client wrote it, `caller` the principal's id."""

    model: str
    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    request_id: str = ""
    caller: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of the answer. `index` counts from 0; `probability` is the model's own, at temperature 1."""

    text: str
    index: int
    probability: float
    finish_reason: str = ""

    @property
    def is_final(self) -> bool:
        return self.finish_reason != ""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. Units: `inference_time_s` is wall time around the Triton call."""

    model: str
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    finish_reason: str
    inference_time_s: float

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def tokens_per_second(self) -> float:
        return len(self.tokens) / self.inference_time_s
