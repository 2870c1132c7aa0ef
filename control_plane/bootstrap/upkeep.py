"""What runs beside the requests: what Triton tells, what is done at the start, daily, and at the end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from control_plane.domain.errors import DomainError, TimedOut
from control_plane.domain.triton import TritonState
from control_plane.gateways.repository.layout import MANIFEST
from control_plane.gateways.state.events import SqlEvents
from control_plane.gateways.triton.external import ExternalTriton
from control_plane.gateways.triton.scratch import LocalScratchTritons
from control_plane.gateways.triton.supervisor import Supervisor
from control_plane.services.catalog import Catalog
from control_plane.services.exports import Exports
from control_plane.services.health import HealthService
from control_plane.services.idempotency import Idempotency
from control_plane.services.jobs import JobService
from control_plane.services.loading import Loader
from control_plane.services.models import Models
from control_plane.services.publishing import NewRevision
from control_plane.services.reconciliation import Reconciler

log = logging.getLogger(__name__)
SHIPPED_MODELS = Path(__file__).parents[2] / "model_repository"
TRITON_FIRST_S = 30.0  # what jobs need takes a second of a core to import: models are served first
DAY_S = 86_400.0
REOPEN_S = 60.0
SERVING = (TritonState.READY, TritonState.DEGRADED)


def connect(
    triton: Supervisor | ExternalTriton, models: Models, loader: Loader, catalog: Catalog, reconciler: Reconciler
) -> None:
    """What the supervisor finds out reaches those whom it concerns."""
    triton.on_started = _on_started(triton, models, loader, catalog, reconciler)
    if isinstance(triton, Supervisor):
        triton.on_model_died = _on_model_died(catalog, reconciler)


def _on_started(
    triton: Supervisor | ExternalTriton, models: Models, loader: Loader, catalog: Catalog, reconciler: Reconciler
) -> Callable[[frozenset[str]], Awaitable[None]]:
    async def on_started(quarantined: frozenset[str]) -> None:
        if not triton.status().is_read_only:
            await _publish_shipped(models, loader, catalog)
        await reconciler.reconcile(quarantined)

    return on_started


def _on_model_died(catalog: Catalog, reconciler: Reconciler) -> Callable[[str], None]:
    def on_model_died(directory: str) -> None:
        revision = catalog.by_directory(directory)
        if revision is not None:
            reconciler.suspect(revision)

    return on_model_died


async def _publish_shipped(models: Models, loader: Loader, catalog: Catalog) -> None:
    """The models in the box become revision 1 on first start, and are to be loaded; parts with their pipelines."""
    sources = [source for source in SHIPPED_MODELS.iterdir() if not source.name.startswith("tritonplane-")]
    for source in sorted(sources, key=lambda source: (not _is_internal(source), source.name)):  # parts first
        if catalog.record(source.name) is not None:
            continue
        try:
            revision = await models.add(NewRevision(source.name, source, "shipped", is_builtin=True))
            if not revision.description.is_internal:
                await loader.desire(revision, wanted=True)
        except DomainError:
            log.exception("a model in the box could not be published", extra={"model": source.name})


def _is_internal(source: Path) -> bool:
    manifest = source / MANIFEST
    return manifest.is_file() and json.loads(manifest.read_bytes()).get("internal") is True


async def take_stock(models: Models, jobs: JobService, exports: Exports, scratch: LocalScratchTritons) -> None:
    """What is on disk and in the database; what is left over of either goes, and of a job that was killed."""
    await models.open()
    await asyncio.to_thread(scratch.sweep)
    await jobs.sweep()
    await exports.sweep()


async def open_jobs(jobs: JobService, triton: Supervisor | ExternalTriton) -> None:
    with suppress(TimedOut):
        await triton.wait_until(lambda status: status.state in SERVING, TRITON_FIRST_S)
    while not await jobs.open():  # noqa: ASYNC110 - what is in the way, a full disk say, does not tell when it goes
        await asyncio.sleep(REOPEN_S)


async def forget_daily(jobs: JobService, events: SqlEvents, exports: Exports, idempotency: Idempotency) -> None:
    while True:
        await asyncio.sleep(DAY_S)
        try:
            await jobs.forget_old()
            await events.forget_old()
            await exports.sweep()
            await idempotency.forget_old()
        except DomainError as error:
            log.error("what is old is not forgotten", extra={"reason": error.message})


async def end_watches(health: HealthService, events: SqlEvents) -> None:
    """Who follows events would keep the server from stopping."""
    await health.stopping.wait()
    events.end_watches()


def keep(opened: AsyncExitStack, *watches: Coroutine[None, None, None]) -> None:
    """Run until the product is closed."""
    for watch in watches:
        opened.push_async_callback(_cancelled, asyncio.create_task(watch))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
