"""Whether a model lives, told from how it answers a probe."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import DomainError, EngineCrashed, EngineFailed, TimedOut, Unavailable
from control_plane.domain.models import HealthStatus, Signature, TensorSpec
from control_plane.domain.tensors import Inference, Prediction, text_tensor
from control_plane.services.probing import Prober, probe_request
from tests.doubles.clock import FixedClock
from tests.doubles.repository import tensor_revision
from tests.doubles.triton import InMemoryTriton


class FailingTriton(InMemoryTriton):
    """Fails every request; `answers_others`: whether somebody else is answered meanwhile."""

    def __init__(self, failure: DomainError, *, answers_others: bool = False) -> None:
        super().__init__()
        self.failure, self.answers_others, self.answered_s = failure, answers_others, 0.0

    async def infer(self, inference: Inference) -> Prediction:
        self.answered_s += self.answers_others
        raise self.failure

    def answered_at_s(self, directory: str) -> float:
        return self.answered_s


@pytest.mark.parametrize(
    ("failure", "answers_others", "expected"),
    [
        (EngineCrashed("its process died"), True, HealthStatus.DEAD),
        (TimedOut("it sent nothing"), False, HealthStatus.DEAD),
        (TimedOut("it sent nothing"), True, HealthStatus.UNKNOWN),  # the probe waited behind others
        (Unavailable("its queue is full"), False, HealthStatus.UNKNOWN),
        (EngineFailed("zeros are not to its taste"), False, HealthStatus.UNKNOWN),
    ],
)
async def test_only_a_model_that_answers_nobody_is_dead(
    failure: DomainError, answers_others: bool, expected: HealthStatus
) -> None:
    prober = Prober(FailingTriton(failure, answers_others=answers_others), FixedClock())
    assert (await prober.probe(tensor_revision("mlp"))).status is expected


def test_a_text_encoder_is_asked_for_one_empty_text() -> None:
    signature = Signature(
        (TensorSpec("text_input", "BYTES", (-1, 1)),), (TensorSpec("embedding", "FP32", (-1, 4)),), 64
    )
    inference = probe_request(tensor_revision("minilm", backend="text_encoder", signature=signature))
    assert inference is not None
    (given,) = inference.inputs
    assert (given.name, given.datatype, given.shape) == ("text_input", "BYTES", (1, 1))
    assert given.raw == text_tensor("text_input", "").raw
