"""Keeping Triton at what was asked for: after its start, after a crash, and when a model dies behind its back."""

from __future__ import annotations

import asyncio
import logging

from control_plane.domain.errors import DomainError
from control_plane.domain.models import (
    Description,
    HealthStatus,
    LoadOptions,
    ModelRecord,
    ModelState,
    Revision,
    Signature,
)
from control_plane.domain.references import STABLE
from control_plane.ports import Clock, TritonControl, TritonServer
from control_plane.services.catalog import Catalog
from control_plane.services.loading import Loader
from control_plane.services.probing import Prober

log = logging.getLogger(__name__)
PARALLEL_LOADS = 4  # Triton's own --model-load-thread-count
HEAL_UNLOAD_S = 20.0


class Reconciler:
    """`reconcile` is run by the supervisor each time Triton has started; `watch` for as long as the server lives."""

    def __init__(
        self,
        catalog: Catalog,
        loader: Loader,
        control: TritonControl,
        server: TritonServer,
        prober: Prober,
        clock: Clock,
    ) -> None:
        self._catalog, self._loader, self._control = catalog, loader, control
        self._server, self._prober, self._clock = server, prober, clock
        self._suspects: asyncio.Queue[Revision] = asyncio.Queue()

    async def reconcile(self, quarantined: frozenset[str] = frozenset()) -> None:
        """Bring a Triton that has just started to the desired state. Failures are recorded, not raised."""
        if self._server.status().repository == "read-only":
            await self._adopt()
            return
        wanted = [status.revision for status in self._catalog.statuses() if self._loader.is_desired(status.revision)]
        for status in self._catalog.statuses():
            if status.state is not ModelState.FAILED or status.revision in wanted:
                self._loader.mark(
                    status.revision, ModelState.LOADING if status.revision in wanted else ModelState.UNLOADED
                )
        slots = asyncio.Semaphore(PARALLEL_LOADS)
        await asyncio.gather(*(self._reload(revision, quarantined, slots) for revision in wanted))

    def suspect(self, revision: Revision) -> None:
        """A request found the revision's process dead: have it probed and healed."""
        if self._catalog.status(revision.model, revision.number).state is not ModelState.DEAD:
            self._loader.mark(revision, ModelState.DEAD, last_error="its process in Triton died")
            self._suspects.put_nowait(revision)

    async def watch(self, interval_s: float) -> None:
        """Probe every loaded revision each interval, and suspects at once; heal what is dead. Runs until cancelled."""
        while True:
            try:
                suspect = await asyncio.wait_for(self._suspects.get(), interval_s)
                await self._heal(suspect)
            except TimeoutError:
                if self._server.status().state.serves:
                    await self._probe_all()

    async def _probe_all(self) -> None:
        for status in self._catalog.statuses():
            if status.state is not ModelState.LOADED:
                continue
            health = await self._prober.probe(status.revision)
            now = self._catalog.status(status.revision.model, status.revision.number)
            if now is not status:
                continue  # changed while we asked
            if health.status is HealthStatus.DEAD and self._server.status().state.serves:
                await self._heal(status.revision)
            elif health.status is not status.health.status:
                self._loader.mark(status.revision, ModelState.LOADED, health=health)

    async def _heal(self, revision: Revision) -> None:
        """Unload and load again: Triton never restarts a dead stub, and a plain load is a no-op to it.

        A Triton that cannot even do that is replaced.
        """
        async with self._loader.lock(revision.model):
            if not self._loader.is_desired(revision):
                return
            self._loader.mark(revision, ModelState.DEAD, last_error="its process in Triton died; being loaded again")
            self._server.degrade(f"{revision.model} is dead")
            log.warning("healing a dead model", extra={"model": revision.model, "revision": revision.number})
            try:
                await self._control.unload(revision.directory, HEAL_UNLOAD_S)
                await self._loader.load(revision, LoadOptions().timeout_s)
            except DomainError as error:
                await self._server.replace(f"{revision.model} cannot be healed: {error.message}")
            finally:
                self._server.degrade(None)

    async def _reload(self, revision: Revision, quarantined: frozenset[str], slots: asyncio.Semaphore) -> None:
        if revision.directory in quarantined:
            self._loader.mark(
                revision, ModelState.FAILED, last_error="quarantined: Triton crashed each time it was loaded"
            )
            return
        async with slots:
            try:
                await self._loader.load(revision, LoadOptions().timeout_s)
            except DomainError as error:
                log.error("a desired model failed to load", extra={"model": revision.model, "reason": error.message})

    async def _adopt(self) -> None:
        """An external Triton with a repository of its own: show what it has loaded, as revision 1 of each."""
        ready = {entry.directory for entry in await self._control.index() if entry.state == "READY"}
        for status in self._catalog.statuses():
            if status.revision.directory not in ready:
                self._loader.mark(status.revision, ModelState.UNLOADED)
        for directory in sorted(ready):
            revision = self._adopted(directory, await self._control.signature(directory))
            self._catalog.add_revision(revision)
            if self._catalog.record(directory) is None:
                now = self._clock.now()
                self._catalog.put_record(ModelRecord(directory, now, now, is_builtin=True, aliases={STABLE: 1}))
            self._loader.mark(revision, ModelState.LOADED, health=await self._prober.probe(revision))

    def _adopted(self, directory: str, signature: Signature) -> Revision:
        return Revision(
            model=directory,
            number=1,
            directory=directory,
            backend="external",
            device="unknown",
            signature=signature,
            description=Description(),
            artifacts=(),
            digest="",
            source="external Triton",
            created_at=self._clock.now(),
            created_by="external Triton",
        )
