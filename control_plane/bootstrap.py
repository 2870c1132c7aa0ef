"""The composition root: settings become gateways, gateways become services. Nothing else names a gateway."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.diagnosis import Finding
from control_plane.domain.environments import Making
from control_plane.domain.errors import DomainError, TimedOut
from control_plane.domain.triton import TritonState
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.credentials import JwtConfig, LocalCredentials
from control_plane.gateways.gpu import NoGpu, NvidiaGpu
from control_plane.gateways.jobs.durability import DbosDurability
from control_plane.gateways.processes.conversions import ConverterRunner
from control_plane.gateways.processes.converter import ConverterInspector
from control_plane.gateways.processes.diagnosis import converter_environment
from control_plane.gateways.processes.environment import Environment, GivenEnvironment, MadeEnvironment
from control_plane.gateways.processes.packages import Requirements
from control_plane.gateways.processes.workspaces import LocalWorkspaces
from control_plane.gateways.repository.configuration import Abilities
from control_plane.gateways.repository.exports import LocalExports
from control_plane.gateways.repository.repository import LocalRepository
from control_plane.gateways.repository.safety import ImportLimits
from control_plane.gateways.state.database import SqlDatabase, open_database
from control_plane.gateways.state.directory import StateDirectory, claim_state_directory
from control_plane.gateways.state.events import SqlEvents, open_events
from control_plane.gateways.state.jobs import SqlJobStore
from control_plane.gateways.state.keys import SqlKeyStore
from control_plane.gateways.state.metrics import SqlMetricStore
from control_plane.gateways.state.models import SqlModelStore
from control_plane.gateways.triton import diagnosis
from control_plane.gateways.triton.backend_directory import PYTHON_BACKEND, our_backends
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.external import ExternalTriton
from control_plane.gateways.triton.supervisor import Supervisor
from control_plane.ports import Report
from control_plane.services.access import Access
from control_plane.services.catalog import Catalog
from control_plane.services.exports import Exports
from control_plane.services.health import HealthService
from control_plane.services.imports import Imports
from control_plane.services.inference import InferenceService
from control_plane.services.jobs import JobService
from control_plane.services.loading import Loader
from control_plane.services.metering import Meter
from control_plane.services.models import Machine, Models
from control_plane.services.monitoring import Monitoring
from control_plane.services.probing import Prober
from control_plane.services.publishing import NewRevision, Publisher
from control_plane.services.reconciliation import Reconciler
from control_plane.services.registry import Services
from control_plane.settings import Settings

log = logging.getLogger(__name__)
CONVERTERS = Path(__file__).parent.parent / "converters"
EXCHANGE = "exchange"  # the import root below the state directory, where none is set
SHIPPED_MODELS = Path(__file__).parent.parent / "model_repository"
PROBE_INTERVAL_S = 10.0
TRITON_FIRST_S = 30.0  # what jobs need takes a second of a core to import: models are served first
DAY_S = 86_400.0
SERVING = (TritonState.READY, TritonState.DEGRADED)


@dataclass(frozen=True, slots=True)
class Product:
    """An open server without its wire. `admin_key` is set when it was made just now."""

    services: Services
    state_dir: Path
    triton: Supervisor | ExternalTriton
    admin_key: str | None

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
        access = _access(settings, state, database, clock)
        admin_key = await access.ensure_admin_key(settings.bootstrap_admin_key, state.write_admin_key)
        triton = _triton(settings, state.path, clock)
        repository = _repository(settings, state.path, clock, has_gpu=gpu)
        prober, store = Prober(triton.triton, clock), SqlModelStore(database)
        loads_max = settings.max_concurrent_loads
        loader = Loader(catalog, store, triton.control, prober, clock, max_concurrent_loads=loads_max)
        publisher = Publisher(catalog, store, repository, loader, triton, clock)
        machine = Machine(gpu, settings.device_fallback)
        models = Models(catalog, store, repository, loader, triton, publisher, clock, machine)
        reconciler, meter = Reconciler(catalog, loader, triton.control, triton, prober, clock), Meter(clock.seconds)
        inference = InferenceService(triton.triton, catalog, models, reconciler, meter, auto_load=settings.auto_load)
        health = HealthService(triton, database, catalog, clock, has_gpu=gpu)
        usage = NvidiaGpu() if gpu else NoGpu()
        monitoring = Monitoring(meter, catalog, triton.control, SqlMetricStore(database), clock, usage)
        workspaces = LocalWorkspaces(state.path)
        durability = DbosDurability(state.path / "jobs.db", settings.max_concurrent_jobs)
        jobs = JobService(SqlJobStore(database, events), events, durability, workspaces, clock)
        converter = _converter(settings, state.path, has_gpu=gpu)
        root = settings.import_root or state.path / EXCHANGE
        imports = Imports(jobs, models, publisher, repository, converter, workspaces, catalog, root)
        exports = Exports(jobs, catalog, repository, converter, workspaces, LocalExports(root), clock, has_gpu=gpu)

        await _take_stock(models, jobs, exports)
        catalog.tell = events.publish
        _connect(triton, models, loader, catalog, reconciler)
        # In reverse: what runs is interrupted, then Triton ends, and with it the last inference.
        for close in (monitoring.close, triton.close, durability.close):
            opened.push_async_callback(close)
        _keep(opened, reconciler.watch(PROBE_INTERVAL_S), monitoring.watch())
        _keep(opened, _open_jobs(jobs, triton), _forget_daily(jobs, events, exports), _end_watches(health, events))
        services = Services(access, models, catalog, inference, health, jobs, imports, exports, events, monitoring)
        yield Product(services, state.path, triton, admin_key)


async def diagnose(settings: Settings) -> AsyncIterator[Finding]:
    """What `tritonplane doctor` finds, one by one; the last comes from a Triton of its own, in a temporary folder."""
    config = TritonConfig(settings.state_dir.expanduser().absolute(), settings.triton_bin)
    for check in diagnosis.CHECKS:
        yield await check(config)
    yield await converter_environment(_environment(settings, has_gpu=has_gpu()), Requirements(CONVERTERS))
    wanted = {"HTTP": settings.port, "gRPC": settings.grpc_port}
    for finding in diagnosis.ports(wanted):
        yield finding
    for port in settings.extra_ports:
        yield diagnosis.ports({f"HTTP {port}": port})[0]
    yield await diagnosis.round_trip(config, SystemClock())


async def set_up_converter(settings: Settings, making: Making, report: Report) -> dict[str, object]:
    """What `tritonplane setup convert` does: make the converter environment in this process; its facts."""
    made = await _environment(settings, has_gpu=has_gpu()).make(making, report)
    return {"python": made.python, "versions": made.versions}


def has_gpu() -> bool:
    """Whether an NVIDIA driver is at work on this machine."""
    return shutil.which("nvidia-smi") is not None and Path("/dev/nvidiactl").exists()


def _access(settings: Settings, state: StateDirectory, database: SqlDatabase, clock: SystemClock) -> Access:
    return Access(
        LocalCredentials(_jwt_config(settings, state)),
        SqlKeyStore(database),
        clock,
        settings.auth_anonymous_role,
        user_can_manage=settings.auth_user_can_manage,
    )


def _jwt_config(settings: Settings, state: StateDirectory) -> JwtConfig:
    secret = settings.jwt_secret
    if secret is None and settings.jwt_public_key is None:
        secret = state.jwt_secret()
    return JwtConfig(secret, settings.jwt_public_key, settings.jwt_alg, settings.jwt_issuer, settings.jwt_audience)


def _triton(settings: Settings, state_dir: Path, clock: SystemClock) -> Supervisor | ExternalTriton:
    config = TritonConfig(state_dir, settings.triton_bin, drain_timeout_s=settings.drain_seconds)
    if settings.triton_endpoints:
        return ExternalTriton(config, settings.triton_endpoints, clock)
    return Supervisor(config, clock)


def _converter(settings: Settings, state_dir: Path, *, has_gpu: bool) -> ConverterRunner:
    return ConverterRunner(_environment(settings, has_gpu=has_gpu), state_dir / "converter" / "code", CONVERTERS)


def _environment(settings: Settings, *, has_gpu: bool) -> Environment:
    if settings.converter_python is not None:
        return GivenEnvironment(settings.converter_python)
    folder = settings.state_dir.expanduser().absolute() / "converter"
    return MadeEnvironment(folder, Requirements(CONVERTERS), has_gpu=has_gpu)


def _repository(settings: Settings, state_dir: Path, clock: SystemClock, *, has_gpu: bool) -> LocalRepository:
    abilities = Abilities(frozenset(folder.name for folder in our_backends()) | {PYTHON_BACKEND}, has_gpu)
    limits = ImportLimits(allow_code=settings.import_allow_code)
    return LocalRepository(state_dir, ConverterInspector(), clock, abilities, limits)


def _connect(
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
        for status in catalog.statuses():
            if status.revision.directory == directory:
                reconciler.suspect(status.revision)

    return on_model_died


async def _publish_shipped(models: Models, loader: Loader, catalog: Catalog) -> None:
    """The models in the box become revision 1 on first start, and are to be loaded."""
    for source in sorted(SHIPPED_MODELS.iterdir()):
        if source.name.startswith("tritonplane-") or catalog.record(source.name) is not None:
            continue
        try:
            revision = await models.add(NewRevision(source.name, source, "shipped", is_builtin=True))
            await loader.desire(revision, wanted=True)
        except DomainError:
            log.exception("a model in the box could not be published", extra={"model": source.name})


async def _take_stock(models: Models, jobs: JobService, exports: Exports) -> None:
    """What is on disk and in the database; what is left over of either goes."""
    await models.open()
    await jobs.sweep()
    await exports.sweep()


async def _open_jobs(jobs: JobService, triton: Supervisor | ExternalTriton) -> None:
    with suppress(TimedOut):
        await triton.wait_until(lambda status: status.state in SERVING, TRITON_FIRST_S)
    await jobs.open()


async def _forget_daily(jobs: JobService, events: SqlEvents, exports: Exports) -> None:
    while True:
        await asyncio.sleep(DAY_S)
        try:
            await jobs.forget_old()
            await events.forget_old()
            await exports.sweep()
        except DomainError as error:
            log.error("what is old is not forgotten", extra={"reason": error.message})


async def _end_watches(health: HealthService, events: SqlEvents) -> None:
    """Who follows events would keep the server from stopping."""
    await health.stopping.wait()
    events.end_watches()


def _keep(opened: AsyncExitStack, *watches: Coroutine[None, None, None]) -> None:
    """Run until the product is closed."""
    for watch in watches:
        opened.push_async_callback(_cancelled, asyncio.create_task(watch))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
