"""Keeping Triton at what was asked for: after its start, after a crash, and when a model dies behind its back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from control_plane.domain.errors import DomainError, TimedOut, Unavailable
from control_plane.domain.models import (
    Description,
    HealthStatus,
    LoadOptions,
    ModelRecord,
    ModelState,
    Revision,
    RevisionStatus,
    Signature,
)
from control_plane.domain.references import STABLE
from control_plane.ports import Clock, TritonControl, TritonServer
from control_plane.services import announcing
from control_plane.services.catalog import Catalog
from control_plane.services.loading import Loader
from control_plane.services.probing import Prober

log = logging.getLogger(__name__)
ASK_AGAIN_S = 1.0  # for an unload that is under way in Triton


@contextmanager
def _going_on() -> Iterator[None]:
    """A fault of ours must not leave dead models unhealed for ever."""
    try:
        yield
    except Exception:  # the end of the line: nobody awaits a watch
        log.exception("the watch over models failed; it goes on")


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
        """Bring a Triton that has just started to the desired state. Failures of models are recorded, not raised.

        Raises: TimedOut, Unavailable where a read-only one goes away while it is looked at.
        """
        if self._server.status().is_read_only:
            await self._adopt()
            return
        statuses = self._catalog.statuses()
        for status in statuses:  # what Triton had is gone, and says so before it is back
            if self._loader.is_desired(status.revision):
                self._loader.mark(status.revision, ModelState.LOADING)
            elif status.state is not ModelState.FAILED:
                self._loader.mark(status.revision, ModelState.UNLOADED)
        revisions = [status.revision for status in statuses]
        called = {part for revision in revisions for part in revision.parts}
        revisions.sort(key=lambda revision: revision.directory in called)  # what serves callers itself is first
        for are_pipelines in (False, True):  # parts first: what has failed is not tried once more for each pipeline
            settled = (one for one in revisions if bool(one.parts) is are_pipelines)
            await asyncio.gather(*(self._settle(one, quarantined) for one in settled))

    async def _settle(self, revision: Revision, quarantined: frozenset[str]) -> None:
        """Under the model's lock: what is asked for may have changed since Triton started."""
        async with self._loader.lock(revision.model):
            status = self._catalog.find(revision)
            if status is None:
                return
            if not self._loader.is_desired(revision):
                if status.state is not ModelState.FAILED:
                    self._loader.mark(revision, ModelState.UNLOADED)
            elif revision.directory in quarantined:
                reason = "quarantined: Triton crashed or hung when it was loaded"
                self._loader.mark(revision, ModelState.FAILED, last_error=reason)
            elif (fault := self._fault_of_parts(revision)) is not None:
                self._loader.mark(revision, ModelState.FAILED, last_error=fault)
            else:
                await self._reload(revision)

    def _fault_of_parts(self, pipeline: Revision) -> str | None:
        for status in self._catalog.statuses():
            part = status.revision
            if part.directory in pipeline.parts and status.state is ModelState.FAILED:
                return f"its part {part.model}:{part.number} could not be loaded: {status.last_error}"
        return None

    async def _reload(self, revision: Revision) -> None:
        try:
            await self._loader.load(revision, LoadOptions().timeout_s)
        except DomainError as error:
            log.error("a desired model failed to load", extra={"model": revision.model, "reason": error.message})

    def suspect(self, revision: Revision) -> None:
        """The revision's process is dead: it serves no more, until it is healed."""
        status = self._catalog.find(revision)
        if status is not None and status.state.serves:
            self._loader.mark(revision, ModelState.DEAD, last_error="its process in Triton died; being loaded again")
            self._suspects.put_nowait(revision)

    async def watch(self, interval_s: float) -> None:
        """Heal suspects at once, and examine every revision each interval. Runs until cancelled."""
        await asyncio.gather(self._heal_suspects(), self._examine_all(interval_s))

    async def _heal_suspects(self) -> None:
        while True:
            suspect = await self._suspects.get()
            with _going_on():
                await self._heal(suspect)

    async def _examine_all(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            for status in self._catalog.statuses():
                if self._server.status().state.serves:
                    with _going_on():
                        await self._examine(status.revision)

    async def _examine(self, revision: Revision) -> None:
        status = self._catalog.find(revision)
        if status is None:
            return
        if status.state is ModelState.UNLOADING:
            await self._finish_unload(revision)
        elif status.state is ModelState.DEAD and not self._server.status().is_read_only:
            if not self._loader.lock(revision.model).locked():  # else it is being healed
                await self._heal(revision)
        elif status.state in (ModelState.LOADED, ModelState.DEAD):
            await self._probe(status)

    async def _probe(self, status: RevisionStatus) -> None:
        health = await self._prober.probe(status.revision)
        if self._catalog.find(status.revision) is not status:
            return  # changed while we asked
        if health.status is HealthStatus.DEAD:
            if self._server.status().state.serves:
                self.suspect(status.revision)
        elif health.status is not status.health.status or status.state is ModelState.DEAD:
            self._loader.mark(status.revision, ModelState.LOADED, health=health)

    async def _heal(self, revision: Revision) -> None:
        """Load it again; a Triton that cannot do that is replaced."""
        async with self._loader.lock(revision.model):
            status = self._catalog.find(revision)
            if status is None or status.state is not ModelState.DEAD or self._server.status().is_read_only:
                return
            self._server.degrade(f"{revision.model} is dead")
            log.warning("healing a dead model", extra={"model": revision.model, "revision": revision.number})
            try:
                self._catalog.tell(announcing.healed(await self._loader.load(revision, LoadOptions().timeout_s)))
            except Unavailable:
                log.warning("Triton itself is gone; the model comes back with it", extra={"model": revision.model})
            except DomainError as error:
                await self._server.replace(f"{revision.model} cannot be healed: {error.message}")
            else:  # a server that ends must not be called ready once more
                self._server.degrade(None)

    async def _finish_unload(self, revision: Revision) -> None:
        lock = self._loader.lock(revision.model)
        if not lock.locked():  # else somebody waits for it anyhow
            async with lock:
                with suppress(DomainError):
                    await self._loader.unload(revision, ASK_AGAIN_S)

    async def _adopt(self) -> None:
        """An external Triton with a repository of its own: show what it has loaded, as revision 1 of each.

        Raises: TimedOut, Unavailable.
        """
        ready = {entry.directory for entry in await self._control.index() if entry.state == "READY"}
        for status in self._catalog.statuses():
            if status.revision.directory not in ready:
                self._loader.mark(status.revision, ModelState.UNLOADED)
        for directory in sorted(ready):
            try:
                revision = self._adopted(directory, await self._control.signature(directory))
            except (TimedOut, Unavailable):
                raise
            except DomainError as error:  # it may have been unloaded meanwhile; the others are there
                log.warning("a model of the external Triton is not shown", extra={"reason": error.message})
                continue
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
