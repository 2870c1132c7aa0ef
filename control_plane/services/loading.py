"""The one way a revision gets into Triton and out of it, with its state told on the way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from weakref import WeakValueDictionary

from control_plane.domain.errors import DomainError, EngineFailed, TimedOut, Unavailable
from control_plane.domain.models import Health, HealthStatus, ModelState, Revision, RevisionStatus
from control_plane.ports import Clock, ModelStore, TritonControl
from control_plane.services.catalog import Catalog
from control_plane.services.pipelines import is_called, parts_of, pipelines_of
from control_plane.services.probing import Prober

log = logging.getLogger(__name__)
UNLOAD_TIMEOUT_S = 60.0
DEAD_UNLOAD_TIMEOUT_S = 20.0  # nothing in flight will ever finish


class Loader:
    """Callers hold the model's lock (`lock`) while they change it.

    A pipeline's parts are loaded before it and unloaded after it, unless somebody else wants them; their models' locks
    are taken while the pipeline's is held, and never the other way round.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: ModelStore,
        control: TritonControl,
        prober: Prober,
        clock: Clock,
        *,
        max_concurrent_loads: int,
    ) -> None:
        self._catalog, self._store, self._control = catalog, store, control
        self._prober, self._clock = prober, clock
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(max_concurrent_loads)

    def lock(self, name: str) -> asyncio.Lock:
        """Kept while somebody holds it or waits for it: names come from callers, and there is no end of them."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    async def load(self, revision: Revision, timeout_s: float) -> RevisionStatus:
        """Returns once the revision, its parts before it, answers a probe.

        Raises: TimedOut, Unavailable, EngineFailed with the reason.
        """
        started = monotonic()
        is_dead = self._catalog.status(revision.model, revision.number).state is ModelState.DEAD
        self.mark(revision, ModelState.LOADING)
        try:
            for part in parts_of(self._catalog, revision):
                await self._load_part(part, timeout_s)
            if is_dead:  # Triton never restarts a dead process, and a load alone is a no-op to it
                await self._control.unload(revision.directory, DEAD_UNLOAD_TIMEOUT_S)
            async with self._slots:
                await self._control.load(revision.directory, timeout_s)
            health = await self._probed(revision)
        except DomainError as error:
            error.message = revision.in_public_words(error.message)
            # A Triton that is gone says nothing of the model, which comes back with it where it is wanted.
            comes_back = isinstance(error, Unavailable) and self.is_desired(revision)
            self.mark(revision, ModelState.DEAD if comes_back else ModelState.FAILED, last_error=error.message)
            await self._release_parts(revision)
            raise
        took_s = round(monotonic() - started, 3)
        log.info("model loaded", extra={"model": revision.model, "revision": revision.number, "took_s": took_s})
        return self.mark(revision, ModelState.LOADED, health=health)

    async def unload(self, revision: Revision, timeout_s: float = UNLOAD_TIMEOUT_S) -> RevisionStatus:
        """Requests in flight finish first; new ones are refused from now on.

        After TimedOut it goes on inside Triton: the state stays UNLOADING until it is asked for again.
        """
        before = self._catalog.status(revision.model, revision.number)
        self.mark(revision, ModelState.UNLOADING)
        try:
            await self._control.unload(revision.directory, timeout_s)
        except TimedOut as error:
            self.mark(revision, ModelState.UNLOADING, last_error=error.message)
            raise
        except DomainError:
            self.mark(revision, before.state, health=before.health, last_error=before.last_error)
            raise
        log.info("model unloaded", extra={"model": revision.model, "revision": revision.number})
        status = self.mark(revision, ModelState.UNLOADED)
        await self._release_parts(revision)
        return status

    async def desire(self, revision: Revision, *, wanted: bool) -> None:
        """Whether the revision is to be loaded again whenever Triton starts."""
        record = self._catalog.get(revision.model).record
        desired = record.desired | {revision.number} if wanted else record.desired - {revision.number}
        if desired != record.desired:
            await self._store.set_desired(revision.model, desired, self._clock.now())
            self._catalog.put_record(replace(record, desired=desired))

    def is_desired(self, revision: Revision) -> bool:
        """Whether it is to be loaded, for itself or as a part of what is."""
        users = [status.revision for status in pipelines_of(self._catalog, revision)]
        return any(self._is_desired_itself(one) for one in (revision, *users))

    def mark(
        self, revision: Revision, state: ModelState, *, health: Health | None = None, last_error: str | None = None
    ) -> RevisionStatus:
        if state is ModelState.OPTIMIZING:  # as it was shown to whoever puts it back
            state = ModelState.LOADED
        memory = self._control.memory_bytes(revision.directory) if state is ModelState.LOADED else None
        return self._catalog.mark(
            revision, state, self._clock.now(), health=health, last_error=last_error, memory_bytes=memory
        )

    def _is_desired_itself(self, revision: Revision) -> bool:
        record = self._catalog.record(revision.model)
        return record is not None and revision.number in record.desired

    async def _load_part(self, part: Revision, timeout_s: float) -> None:
        async with self.lock(part.model):
            status = self._catalog.find(part)
            if status is None:
                raise EngineFailed(f"its part {part.model}:{part.number} was purged meanwhile")
            if status.state.serves:
                return
            try:
                await self.load(part, timeout_s)
            except DomainError as error:
                error.message = f"its part {part.model}:{part.number} could not be loaded: {error.message}"
                raise

    async def _release_parts(self, pipeline: Revision) -> None:
        """Unload the parts that were loaded for this pipeline only."""
        for directory in pipeline.parts:
            part = self._catalog.by_directory(directory)
            if part is None:
                continue
            async with self.lock(part.model):
                status = self._catalog.find(part)
                is_called_still = any(map(is_called, pipelines_of(self._catalog, part)))
                if status is None or not status.state.serves or is_called_still or self.is_desired(part):
                    continue
                try:
                    await self.unload(part)
                except DomainError as error:  # the pipeline is unloaded all the same
                    log.warning("a part stays loaded", extra={"model": part.model, "reason": error.message})

    async def _probed(self, revision: Revision) -> Health:
        health = await self._prober.probe(revision)
        if health.status is HealthStatus.DEAD:
            with suppress(DomainError):  # left in Triton, the next load would be a no-op
                await self._control.unload(revision.directory, DEAD_UNLOAD_TIMEOUT_S)
            raise EngineFailed(f"the model was loaded but does not answer: {health.reason}")
        return health
