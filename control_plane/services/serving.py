"""What running a model needs whatever it answers: the revision that serves, a count of it, and why it failed."""

from __future__ import annotations

from asyncio import CancelledError
from time import perf_counter

from control_plane.domain.errors import (
    DomainError,
    EngineCrashed,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    Unavailable,
)
from control_plane.domain.histogram import Histogram
from control_plane.domain.models import ModelState, Revision, RevisionStatus
from control_plane.services.catalog import Catalog
from control_plane.services.metering import Meter
from control_plane.services.models import Models
from control_plane.services.reconciliation import Reconciler


class InferenceTally:
    """What one model has done since start; `refusals` are requests in which it found a mistake, and no `failures`.

    Units: seconds in `seconds`; `tokens` of images are steps times images.
    """

    __slots__ = ("failures", "in_flight", "refusals", "seconds", "successes", "tokens")

    def __init__(self) -> None:
        self.seconds = Histogram()
        self.successes = self.failures = self.refusals = self.tokens = self.in_flight = 0


class Serving:
    """Shared by the services that run models, so that all they do is counted in one place."""

    def __init__(
        self, catalog: Catalog, models: Models, reconciler: Reconciler, meter: Meter, *, auto_load: bool
    ) -> None:
        self._catalog, self._models, self._auto_load = catalog, models, auto_load
        self.reconciler, self.meter = reconciler, meter
        self.tallies: dict[str, InferenceTally] = {}

    async def revision(self, reference: str, found: RevisionStatus | None = None) -> Revision:
        """The revision that a reference means, once it serves; `found`: what it meant to who has looked already.

        Raises: InvalidRequest, ModelNotFound, ModelNotReady, Unavailable.
        """
        status = found or self._catalog.resolve(reference)
        if status.state.serves:
            return status.revision
        if self._auto_load and status.state is ModelState.UNLOADED:
            # By its number: an alias may move while the load waits for its turn.
            return (await self._models.load(f"{status.revision.model}:{status.revision.number}")).revision
        raise _not_serving(reference, status)

    def measured(self, revision: Revision) -> Measured:
        return Measured(self, revision)


class Measured:
    """Counts one inference and translates what only we can know about its failure."""

    __slots__ = ("_revision", "_serving", "_started", "_tally", "tokens")

    def __init__(self, serving: Serving, revision: Revision) -> None:
        self._serving, self._revision = serving, revision
        tally = serving.tallies.get(revision.model)
        if tally is None:
            tally = serving.tallies[revision.model] = InferenceTally()
        self._tally = tally
        self.tokens = 0

    def __enter__(self) -> Measured:
        self._started = perf_counter()
        self._tally.in_flight += 1
        return self

    def elapsed_s(self) -> float:
        return perf_counter() - self._started

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        tally, work, took_s = self._tally, self._serving.meter.of(self._revision), self.elapsed_s()
        tally.in_flight -= 1
        tally.tokens += self.tokens
        if error is None or isinstance(error, GeneratorExit | CancelledError):  # a caller who leaves is no failure
            tally.successes += 1
            tally.seconds.observe(took_s)
            work.succeeded(took_s, self.tokens)
            return
        if isinstance(error, InvalidRequest):
            tally.refusals += 1
        else:
            tally.failures += 1
        work.failed(took_s, self.tokens)
        if isinstance(error, EngineCrashed):
            self._serving.reconciler.suspect(self._revision)
        if isinstance(error, DomainError):
            error.message = self._revision.in_public_words(error.message)
        context_length = self._revision.description.context_length
        if isinstance(error, InvalidRequest) and context_length and "context" in error.message:
            error.details["max_context"] = context_length
        if isinstance(error, ModelNotFound | ModelNotReady):  # we know it and had it loaded: Triton is coming back
            raise Unavailable("the model is being loaded again; try again shortly", retry_after_seconds=2) from error


def _not_serving(reference: str, status: RevisionStatus) -> DomainError:
    if status.state is ModelState.LOADING:
        return Unavailable(f"model {reference!r} is being loaded; try again shortly", retry_after_seconds=2)
    if status.state is ModelState.DEAD:
        return Unavailable(f"model {reference!r} has died and is being healed", retry_after_seconds=5)
    message = f"model {reference!r} is {status.state.value}; load it first"
    return ModelNotReady(message, state=status.state.value, last_error=status.last_error)
