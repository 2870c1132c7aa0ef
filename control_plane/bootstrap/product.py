"""The whole server without its wire, opened and closed in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.bootstrap.making import (
    has_gpu,
    make_access,
    make_repository,
    make_triton,
)
from control_plane.bootstrap.upkeep import SERVING, connect, end_watches, forget_daily, keep, open_jobs, take_stock
from control_plane.bootstrap.work import Place, Shop, make_work
from control_plane.domain.errors import TimedOut
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.gpu import NoGpu, NvidiaGpu
from control_plane.gateways.line_files import LineFile, open_buffered_lines
from control_plane.gateways.state.answers import SqlAnswerStore
from control_plane.gateways.state.database import open_database
from control_plane.gateways.state.directory import claim_state_directory
from control_plane.gateways.state.events import open_events
from control_plane.gateways.state.jobs import SqlJobStore
from control_plane.gateways.state.metrics import SqlMetricStore
from control_plane.gateways.state.models import SqlModelStore
from control_plane.gateways.triton.external import ExternalTriton
from control_plane.gateways.triton.supervisor import Supervisor
from control_plane.ports import LineLog
from control_plane.services.audit import Audit
from control_plane.services.audited import audited
from control_plane.services.catalog import Catalog
from control_plane.services.drawing import Drawings
from control_plane.services.health import HealthService
from control_plane.services.idempotency import Idempotency
from control_plane.services.inference import InferenceService
from control_plane.services.loading import Loader
from control_plane.services.metering import Meter
from control_plane.services.models import Machine, Models
from control_plane.services.monitoring import Monitoring
from control_plane.services.probing import Prober
from control_plane.services.publishing import Publisher
from control_plane.services.reconciliation import Reconciler
from control_plane.services.registry import Services
from control_plane.services.serving import Serving
from control_plane.settings import Settings

PROBE_INTERVAL_S = 10.0
AUDIT_FILE, ACCESS_FILE = "audit.log", "access.log"


@dataclass(frozen=True, slots=True)
class Product:
    """An open server without its wire. `admin_key` is set when it was made just now, `access_log` if one is wanted."""

    services: Services
    state_dir: Path
    triton: Supervisor | ExternalTriton
    admin_key: str | None
    access_log: LineLog | None = None

    @property
    def key_file(self) -> Path:
        return self.state_dir / "admin.key"

    def start(self) -> None:
        """Start Triton in the background; it loads what is to be loaded as soon as it runs."""
        self.triton.start()

    async def is_ready(self, timeout_s: float) -> bool:
        """Waits until models are served. False when that took longer; the reason is in `triton.status()`."""
        try:
            await self.triton.wait_until(lambda status: status.state in SERVING, timeout_s)
        except TimedOut:
            return False
        return True

    async def triton_metrics(self) -> str:
        """Triton's own Prometheus text; empty where it cannot be asked."""
        return await self.triton.metrics() or ""


@asynccontextmanager
async def open_product(settings: Settings) -> AsyncIterator[Product]:
    """Everything opened but Triton, which `Product.start` starts; all of it is closed in reverse.

    Raises: InvalidRequest, Conflict or Unsupported in one sentence an operator can act on.
    """
    async with AsyncExitStack() as opened:
        state = opened.enter_context(claim_state_directory(settings.state_dir))
        database = await opened.enter_async_context(open_database(settings.database_url or state.database_url))
        clock, catalog, gpu = SystemClock(), Catalog(), has_gpu()
        events = await opened.enter_async_context(open_events(database, clock))
        access = make_access(settings, state, database, clock)
        admin_key = await access.ensure_admin_key(settings.bootstrap_admin_key, state.write_admin_key)
        triton = make_triton(settings, state.path, clock)
        repository = make_repository(settings, state.path, clock, has_gpu=gpu)
        prober, store = Prober(triton.triton, clock), SqlModelStore(database)
        loads_max = settings.max_concurrent_loads
        loader = Loader(catalog, store, triton.control, prober, clock, max_concurrent_loads=loads_max)
        publisher = Publisher(catalog, store, repository, loader, triton, clock)
        machine = Machine(gpu, settings.device_fallback)
        models = Models(catalog, store, repository, loader, triton, publisher, clock, machine)
        reconciler, meter = Reconciler(catalog, loader, triton.control, triton, prober, clock), Meter(clock.seconds)
        serving = Serving(catalog, models, reconciler, meter, auto_load=settings.auto_load)
        inference, drawings = InferenceService(triton.triton, serving), Drawings(triton.triton, serving)
        health = HealthService(triton, database, catalog, clock, has_gpu=gpu)
        usage = NvidiaGpu() if gpu else NoGpu()
        monitoring = Monitoring(meter, catalog, triton.control, SqlMetricStore(database), clock, usage)
        shop = Shop(catalog, models, publisher, repository)
        work = make_work(Place(settings, state.path, clock, gpu), shop, SqlJobStore(database, events), events)
        jobs, exports, idempotency = work.jobs, work.exports, Idempotency(SqlAnswerStore(database), clock)
        audit, lines = Audit(LineFile(state.path / AUDIT_FILE), clock), await _access_log(opened, settings, state.path)

        await take_stock(models, jobs, exports, work.scratch)
        catalog.tell = events.publish
        connect(triton, models, loader, catalog, reconciler)
        # In reverse: what runs is interrupted, then Triton ends, and with it the last inference.
        for close in (monitoring.close, triton.close, work.durability.close):
            opened.push_async_callback(close)
        keep(opened, reconciler.watch(PROBE_INTERVAL_S), monitoring.watch())
        keep(opened, open_jobs(jobs, triton), end_watches(health, events))
        keep(opened, forget_daily(jobs, events, exports, idempotency))
        asked = access, models, catalog, inference, health, jobs, work.imports, exports, events, monitoring
        services = Services(*asked, work.optimizations, drawings, idempotency, audit)
        yield Product(audited(services), state.path, triton, admin_key, lines)


async def _access_log(opened: AsyncExitStack, settings: Settings, state_dir: Path) -> LineLog | None:
    if not settings.access_log:
        return None
    return await opened.enter_async_context(open_buffered_lines(state_dir / ACCESS_FILE))
