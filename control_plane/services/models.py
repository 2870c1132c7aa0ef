"""Loading, unloading and purging models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from control_plane.domain.access import Principal
from control_plane.domain.errors import Conflict, DomainError, InvalidRequest, TimedOut, Unsupported
from control_plane.domain.models import Artifact, LoadOptions, ModelRecord, Revision, RevisionStatus
from control_plane.domain.references import STABLE
from control_plane.ports import Clock, ModelRepository, ModelStore, TritonServer
from control_plane.services.catalog import Catalog
from control_plane.services.loading import Loader
from control_plane.services.pipelines import require_unused
from control_plane.services.publishing import PRODUCT, NewRevision, Publisher, new_record

log = logging.getLogger(__name__)
T = TypeVar("T")
# What a load may ask for, and the Triton backends that are meant.
BACKENDS = {
    "onnx": {"onnxruntime", "text_generation", "text_encoder", "diffusion"},
    "python": {"python", "text_generation", "text_encoder", "diffusion"},
    "tensorrt": {"tensorrt", "tensorrt_plan"},
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What loads on this machine may ask for."""

    has_gpu: bool
    device_fallback: bool


class Models:
    """Every change of a model goes through here; one at a time for each model."""

    def __init__(
        self,
        catalog: Catalog,
        store: ModelStore,
        repository: ModelRepository,
        loader: Loader,
        server: TritonServer,
        publisher: Publisher,
        clock: Clock,
        machine: Machine,
    ) -> None:
        self._catalog, self._store, self._repository = catalog, store, repository
        self._loader, self._server, self._publisher = loader, server, publisher
        self._clock, self._machine = clock, machine
        self._changes: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Read what is on disk and in the database; what one knows and the other does not is settled here."""
        revisions = await self._repository.revisions()
        records = {record.name: record for record in await self._store.list()}
        for revision in revisions:
            record = records.get(revision.model)
            if record is None:  # published, then killed before the record: whole all the same
                record = records[revision.model] = new_record(revision, self._clock, is_builtin=False)
                await self._store.create(record)
            self._catalog.add_revision(revision)
        on_disk = {revision.model for revision in revisions}
        for record in records.values():
            if record.name not in on_disk:
                log.error("model has no revision on disk; forgotten", extra={"model": record.name})
                await self._store.delete(record.name)
            else:
                self._catalog.put_record(await self._with_stable(record))

    async def _with_stable(self, record: ModelRecord) -> ModelRecord:
        """The record with a `stable` that is on disk: without one, the model could not even be listed."""
        lost, numbers = record.aliases.get(STABLE, 0), self._catalog.numbers(record.name)
        if lost in numbers:
            return record
        number = max((known for known in numbers if known < lost), default=min(numbers))
        log.error("stable revision is lost", extra={"model": record.name, "lost": lost, "stable": number})
        await self._store.set_alias(record.name, STABLE, number, self._clock.now())
        return replace(record, aliases={**record.aliases, STABLE: number})

    async def add(self, wanted: NewRevision, created_by: str = PRODUCT) -> Revision:
        """A new model with its first revision, or the next revision of a known one; see `Publisher.publish`."""
        return await self.publish(wanted, await self._publisher.reserve(wanted.name), created_by)

    async def publish(self, wanted: NewRevision, number: int, created_by: str) -> Revision:
        """`Publisher.publish`, to its end; interrupted before that, what it published is withdrawn again."""
        publishing = self._begun(self._publisher.publish(wanted, number, created_by))
        try:
            return await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await asyncio.wait([publishing])
            await self._to_its_end(self._publisher.withdraw(wanted.name, number))
            raise

    async def configure(self, reference: str, options: LoadOptions, created_by: str) -> Revision:
        """The revision of the same files with these options, a new one if there is none; nothing is loaded.

        Raises: ModelNotFound, InvalidRequest, Unsupported.
        """
        return await self._to_its_end(self._configure(reference, self._on_a_device_here(options), created_by))

    async def _configure(self, reference: str, options: LoadOptions, created_by: str) -> Revision:
        async with self._locked(reference) as base:
            return await self._with_options(base, options, created_by)

    async def load(
        self, reference: str, options: LoadOptions | None = None, caller: Principal | None = None
    ) -> RevisionStatus:
        """Returns once the revision answers a probe. Loading what is loaded is fine.

        Options that differ from the revision's own make a new revision, which is loaded; no alias moves.
        Raises: ModelNotFound, InvalidRequest, Unsupported, TimedOut, EngineFailed with Triton's reason.
        """
        options = self._on_a_device_here(options or LoadOptions())
        return await self._to_its_end(self._load(reference, options, caller))

    async def _load(self, reference: str, options: LoadOptions, caller: Principal | None) -> RevisionStatus:
        async with self._locked(reference) as base:
            revision = await self._with_options(base, options, caller.id if caller else PRODUCT)
            status = self._catalog.status(revision.model, revision.number)
            if not status.state.serves:
                self._publisher.require_own_repository("load")
                status = await self._loader.load(revision, options.timeout_s)
            if not self._server.status().is_read_only:
                await self._loader.desire(revision, wanted=True)
            return status

    async def unload(self, reference: str) -> RevisionStatus:
        """Requests in flight finish first. Unloading what is not loaded is fine.

        Raises: ModelNotFound, Conflict for a part of a pipeline that is loaded, Unavailable: then it stays as it was;
        TimedOut: then it goes on.
        """
        return await self._to_its_end(self._unload(reference))

    async def _unload(self, reference: str) -> RevisionStatus:
        async with self._locked(reference) as revision:
            self._publisher.require_own_repository("unload")
            require_unused(self._catalog, revision, "unload", only_called=True)
            was_wanted = revision.number in self._catalog.get(revision.model).record.desired
            await self._loader.desire(revision, wanted=False)
            try:
                return await self._loader.unload(revision)
            except TimedOut:
                raise
            except DomainError:
                await self._loader.desire(revision, wanted=was_wanted)
                raise

    async def promote(self, reference: str) -> None:
        """Make a revision what its model's bare name means; nothing is loaded or unloaded. Raises ModelNotFound."""
        await self._to_its_end(self._promote(reference))

    async def _promote(self, reference: str) -> None:
        async with self._locked(reference) as revision:
            record, now = self._catalog.get(revision.model).record, self._clock.now()
            await self._store.set_alias(revision.model, STABLE, revision.number, now)
            aliases = {**record.aliases, STABLE: revision.number}
            self._catalog.put_record(replace(record, aliases=aliases, updated_at=now))
        log.info("revision promoted", extra={"model": revision.model, "revision": revision.number})

    async def purge(self, name: str) -> None:
        """Unload every revision and delete the model.

        Raises: ModelNotFound, Conflict for a built-in one, or a part of a pipeline, loaded or not.
        """
        await self._to_its_end(self._purge(self._catalog.get(name).name))
        log.info("model purged", extra={"model": name})

    async def _purge(self, name: str) -> None:
        async with self._loader.lock(name):
            model = self._catalog.get(name)
            self._publisher.require_own_repository("purge")
            if model.record.is_builtin:
                raise Conflict(f"{name!r} ships with the product and cannot be purged; unload it instead")
            for status in model.revisions:
                require_unused(self._catalog, status.revision, "purge", only_called=False)
            for status in model.revisions:
                await self._loader.desire(status.revision, wanted=False)
                await self._loader.unload(status.revision)
            for status in model.revisions:  # none before all are out of Triton: an unload may take too long
                await self._repository.delete(status.revision)
            await self._store.delete(name)
            self._catalog.drop(name)

    @asynccontextmanager
    async def _locked(self, reference: str) -> AsyncIterator[Revision]:
        """What the reference means once nobody else changes the model: it may be gone by then, or its alias moved."""
        async with self._loader.lock(self._catalog.resolve(reference).revision.model):
            yield self._catalog.resolve(reference).revision

    async def _to_its_end(self, change: Coroutine[Any, Any, T]) -> T:
        """What has begun is finished even when its caller leaves (a gRPC deadline, say): half loaded is no state."""
        return await asyncio.shield(self._begun(change))

    def _begun(self, change: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(change)
        self._changes.add(task)  # the event loop itself would not keep it
        task.add_done_callback(self._changes.discard)
        return task

    async def _with_options(self, base: Revision, options: LoadOptions, created_by: str) -> Revision:
        base = self._variant(base, options)
        if not options.changes_config or _is_configured(base, options):
            return base
        for status in self._catalog.get(base.model).revisions:
            if _weights(status.revision) == _weights(base) and _is_configured(status.revision, options):
                return status.revision
        return await self._publisher.derive(base, options, created_by)

    def _variant(self, base: Revision, options: LoadOptions) -> Revision:
        """The revision itself if it is of the wanted dtype and backend, else the newest one that is."""
        revisions = [status.revision for status in self._catalog.get(base.model).revisions]
        for revision in (base, *reversed(revisions)):
            if _is_variant(revision, options):
                return revision
        wanted = " ".join(filter(None, (options.dtype, options.backend)))
        raise InvalidRequest(
            f"model {base.model!r} has no {wanted} revision",
            available_dtypes=sorted({revision.description.dtype for revision in revisions} - {None}, key=str),
            available_backends=sorted({revision.backend for revision in revisions}),
        )

    def _on_a_device_here(self, options: LoadOptions) -> LoadOptions:
        if options.device != "cuda" or self._machine.has_gpu:
            return options
        if not self._machine.device_fallback:
            raise Unsupported("this machine has no NVIDIA GPU", requires=["nvidia_gpu"])
        return replace(options, device="cpu")


def _is_variant(revision: Revision, options: LoadOptions) -> bool:
    backends = BACKENDS.get(options.backend or "", {options.backend})
    return (options.dtype is None or revision.description.dtype == options.dtype) and (
        options.backend is None or revision.backend in backends
    )


def _is_configured(revision: Revision, options: LoadOptions) -> bool:
    wanted = (options.instance_count, options.max_batch_size, options.queue_delay_us)
    present = (revision.instance_count, revision.signature.max_batch_size, revision.queue_delay_us)
    untold = (options.threads, options.spinning, options.memory_arena, options.max_batch_tokens)
    if any(value is not None for value in untold):  # a revision does not say what it has of these
        return False
    return all(want is None or want == have for want, have in zip(wanted, present, strict=True))


def _weights(revision: Revision) -> set[Artifact]:
    return {artifact for artifact in revision.artifacts if artifact.path != "config.pbtxt"}
