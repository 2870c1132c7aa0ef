"""Whether a model lives, told from how it answers a probe."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from control_plane.domain.errors import (
    DomainError,
    EngineCrashed,
    EngineFailed,
    ModelNotFound,
    ModelNotReady,
    TimedOut,
    Unavailable,
)
from control_plane.domain.models import HealthStatus, Revision, Signature, TensorSpec
from control_plane.domain.tensors import Inference, Prediction, text_tensor
from control_plane.services.probing import Prober, probe_request
from tests.doubles.clock import FixedClock
from tests.doubles.repository import diffusion_revision, hybrid_revision, tensor_revision
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


class FailingStreams(InMemoryTriton):
    def __init__(self, failure: DomainError) -> None:
        super().__init__()
        self.failure = failure

    async def stream(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        raise self.failure
        yield


@pytest.mark.parametrize(
    ("failure", "answers_others", "expected"),
    [
        (EngineCrashed("its process died"), True, HealthStatus.DEAD),
        (TimedOut("it sent nothing"), False, HealthStatus.DEAD),
        (ModelNotFound("Triton has no model 'mlp--r1'"), False, HealthStatus.DEAD),
        (ModelNotReady("'mlp--r1' is not loaded in Triton"), True, HealthStatus.DEAD),
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


async def test_a_failure_of_a_part_is_told_in_public_words() -> None:
    prober = Prober(FailingStreams(Unavailable("the model 'unet--r1' is not loaded")), FixedClock())
    health = await prober.probe(diffusion_revision("digits", parts=("unet--r1",)))
    assert (health.status, health.reason) == (HealthStatus.UNKNOWN, "the model 'unet:1' is not loaded")


@pytest.mark.parametrize("revision", [diffusion_revision("digits"), hybrid_revision("painter")])
def test_a_model_that_draws_is_asked_for_one_step(revision: Revision) -> None:
    inference = probe_request(revision)
    assert inference is not None
    assert {tensor.name for tensor in inference.inputs} == {spec.name for spec in revision.signature.inputs}
    assert dict(inference.parameters) == {"num_steps": 1, "stream": False}


def test_a_text_encoder_is_asked_for_one_empty_text() -> None:
    signature = Signature(
        (TensorSpec("text_input", "BYTES", (-1, 1)),), (TensorSpec("embedding", "FP32", (-1, 4)),), 64
    )
    inference = probe_request(tensor_revision("minilm", backend="text_encoder", signature=signature))
    assert inference is not None
    (given,) = inference.inputs
    assert (given.name, given.datatype, given.shape) == ("text_input", "BYTES", (1, 1))
    assert given.raw == text_tensor("text_input", "").raw


def test_zeros_of_a_type_that_only_travels_raw_are_sent_too() -> None:
    signature = Signature((TensorSpec("half", "BF16", (-1, 3)),), (TensorSpec("half", "BF16", (-1, 3)),))
    inference = probe_request(tensor_revision("mlp", signature=signature))
    assert inference is not None
    assert inference.inputs[0].raw == bytes(2 * 3)
