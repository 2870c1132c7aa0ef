"""Whether a loaded revision really answers: Triton says READY of dead models, so we ask the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from control_plane.domain.errors import (
    DomainError,
    EngineCrashed,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    TimedOut,
    Unavailable,
)
from control_plane.domain.models import Health, HealthStatus, Revision, TensorSpec
from control_plane.domain.tensors import BYTES, WIDTHS, Inference, Tensor, element_count, pack, text_tensor
from control_plane.ports import Clock, Triton

# As long as a request of a caller may take: behind a slow one, the probe waits for its turn.
PROBE_TIMEOUT_S = 60.0


class Prober:
    """Sends a revision the smallest request it can answer."""

    def __init__(self, triton: Triton, clock: Clock) -> None:
        self._triton, self._clock = triton, clock

    async def probe(self, revision: Revision) -> Health:
        """HEALTHY if it answered, DEAD if it cannot, UNKNOWN where no harmless request is known. Never raises."""
        inference = probe_request(revision)
        if inference is None:
            return self._health(HealthStatus.UNKNOWN, "a decoupled model of its own kind: nothing harmless to ask it")
        answered_at_s = self._triton.answered_at_s(revision.directory)
        try:
            with _public(revision):
                await self._ask(revision, inference)
        except (EngineCrashed, ModelNotFound, ModelNotReady, TimedOut) as error:
            if isinstance(error, TimedOut) and self._triton.answered_at_s(revision.directory) != answered_at_s:
                return self._health(HealthStatus.UNKNOWN, "busy: it answers others, but the probe waited too long")
            return self._health(HealthStatus.DEAD, error.message)
        except (InvalidRequest, Unavailable) as error:
            return self._health(HealthStatus.UNKNOWN, error.message)
        except DomainError as error:  # it runs, but does not like zeros: its stub is alive all the same
            return self._health(HealthStatus.UNKNOWN, f"the model failed on a probe of zeros: {error.message}")
        return self._health(HealthStatus.HEALTHY, None)

    async def _ask(self, revision: Revision, inference: Inference) -> None:
        if not revision.signature.is_decoupled:
            await self._triton.infer(inference)
            return
        async for _ in self._triton.stream(inference):
            pass

    def _health(self, status: HealthStatus, reason: str | None) -> Health:
        return Health(status, self._clock.now(), reason)


@contextmanager
def _public(revision: Revision) -> Iterator[None]:
    """A failure tells of models as callers know them."""
    try:
        yield
    except DomainError as error:
        error.message = revision.in_public_words(error.message)
        raise


def probe_request(revision: Revision) -> Inference | None:
    """One greedy token of a text model, one step of an image; zeros or empty texts for tensors, free sizes set to 1."""
    if revision.generates_text:
        parameters = (("max_tokens", 1), ("temperature", 0.0), ("stream", False))
        return Inference(revision.directory, (text_tensor("text_input", "a"),), PROBE_TIMEOUT_S, parameters=parameters)
    if revision.draws_images:
        return _image_request(revision)
    if revision.signature.is_decoupled:
        return None
    inputs = tuple(_zeros(spec) for spec in revision.signature.inputs)
    return Inference(revision.directory, inputs, PROBE_TIMEOUT_S, request_id="probe")


def _image_request(revision: Revision) -> Inference:
    inputs = [pack("seed", "INT64", (1,), [0])]
    if revision.takes_prompt:
        inputs.append(text_tensor("text_input", "a"))
    parameters = (("num_steps", 1), ("stream", False))
    return Inference(revision.directory, tuple(inputs), PROBE_TIMEOUT_S, parameters=parameters, request_id="probe")


def _zeros(spec: TensorSpec) -> Tensor:
    shape = tuple(size if size > 0 else 1 for size in spec.shape)
    if spec.datatype == BYTES:
        return Tensor(spec.name, BYTES, shape, b"\0\0\0\0" * element_count(shape))
    width = WIDTHS.get(spec.datatype, 2)  # BF16, which only travels raw
    return Tensor(spec.name, spec.datatype, shape, bytes(element_count(shape) * width))
