"""The one way a revision gets into the repository and the catalog, and out of them again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from control_plane.domain.errors import Conflict, InvalidRequest, Unsupported
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Description, LoadOptions, ModelRecord, Revision
from control_plane.domain.references import STABLE, check_new_name
from control_plane.ports import Clock, ModelRepository, ModelStore, Publication, TritonServer
from control_plane.services.catalog import Catalog
from control_plane.services.loading import Loader
from control_plane.services.pipelines import check_kind, find_part

log = logging.getLogger(__name__)
PRODUCT = "tritonplane"


@dataclass(frozen=True, slots=True)
class NewRevision:
    """A model directory to become a revision.

    `is_own`: the files are in a workspace of ours, checked, and may be linked; else they are copied and checked.
    `settings` change the configuration that it would have.
    """

    name: str
    source: Path
    source_label: str
    description: Description | None = None
    conversion: JsonObject | None = None
    is_own: bool = False
    is_builtin: bool = False
    settings: LoadOptions | None = None


class Publisher:
    """Callers of `publish` and `withdraw` see to it that they are run to their end: half published is no state."""

    def __init__(
        self,
        catalog: Catalog,
        store: ModelStore,
        repository: ModelRepository,
        loader: Loader,
        server: TritonServer,
        clock: Clock,
    ) -> None:
        self._catalog, self._store, self._repository = catalog, store, repository
        self._loader, self._server, self._clock = loader, server, clock

    def require_own_repository(self, verb: str) -> None:
        """Raises Unsupported where Triton reads another repository than ours."""
        if self._server.status().is_read_only:
            raise Unsupported(
                f"cannot {verb}: the external Triton does not read this server's repository; start it with "
                "--model-control-mode=explicit on the state directory's 'repository' folder to manage models here",
                requires=["shared_repository"],
            )

    async def reserve(self, name: str) -> int:
        """A revision number for a model, known or new; it is never given again. Raises InvalidRequest, Unsupported."""
        self.require_own_repository("import")
        return await self._store.next_revision(check_new_name(name))

    async def publish(self, wanted: NewRevision, number: int, created_by: str) -> Revision:
        """Revision `number`, reserved before; of a new model the alias `stable` points at it, no other alias moves.

        The state is `unloaded`. Published already, it is returned as it is.
        Raises: InvalidRequest naming what is wrong with the source; Unsupported; nothing is left behind.
        """
        async with self._loader.lock(wanted.name):
            known = self._catalog.revision(wanted.name, number)
            if known is not None:
                return known
            publication = Publication(
                wanted.name,
                number,
                wanted.source,
                wanted.source_label,
                created_by,
                wanted.description,
                wanted.conversion,
                is_own=wanted.is_own,
                settings=wanted.settings,
                find_part=partial(find_part, self._catalog, wanted.name),
                is_builtin=wanted.is_builtin,
            )
            revision = await self._repository.publish(publication)
            try:
                check_kind(self._catalog, revision)
            except InvalidRequest:
                await self._repository.delete(revision)
                raise
            await self._enter(revision, is_builtin=wanted.is_builtin)
        log.info("model imported", extra={"model": wanted.name, "revision": number})
        return revision

    async def derive(self, base: Revision, options: LoadOptions, created_by: str) -> Revision:
        """A new revision of the same files with another configuration; the caller holds the model's lock."""
        self.require_own_repository("reconfigure")
        number = await self._store.next_revision(base.model)
        revision = await self._repository.derive(base, number, options, created_by)
        self._catalog.add_revision(revision)
        return revision

    async def withdraw(self, name: str, number: int) -> None:
        """Take a revision back that nobody has seen yet. Withdrawing what is not there is fine.

        Raises: Conflict when it is loaded already.
        """
        async with self._loader.lock(name):
            revision = self._catalog.revision(name, number)
            if revision is None:
                return
            if self._loader.is_desired(revision):
                raise Conflict(f"revision {name}:{number} is in use")
            await self._repository.delete(revision)
            self._catalog.drop_revision(revision)
            if not self._catalog.numbers(name):
                await self._store.delete(name)
                self._catalog.drop(name)

    async def _enter(self, revision: Revision, *, is_builtin: bool) -> None:
        self._catalog.add_revision(revision)
        if self._catalog.record(revision.model) is None:
            record = new_record(revision, self._clock, is_builtin=is_builtin)
            await self._store.create(record)
            self._catalog.put_record(record)


def new_record(revision: Revision, clock: Clock, *, is_builtin: bool) -> ModelRecord:
    """The record of a model whose first revision this is."""
    now = clock.now()
    return ModelRecord(revision.model, now, now, is_builtin, {STABLE: revision.number})
