"""All services on doubles of the ports: what a contract test of a dialect is served by."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.access import Claims, Principal, Role
from control_plane.domain.errors import DomainError, NotAuthenticated
from control_plane.domain.events import EventFilter
from control_plane.domain.jobs import JobKind
from control_plane.domain.models import ModelRecord, Revision
from control_plane.domain.references import STABLE
from control_plane.gateways.credentials import JwtConfig, LocalCredentials
from control_plane.gateways.gpu import NoGpu
from control_plane.services.access import Access
from control_plane.services.audit import Audit
from control_plane.services.audited import audited
from control_plane.services.catalog import Catalog
from control_plane.services.drawing import Drawings
from control_plane.services.exports import Exports
from control_plane.services.health import HealthService
from control_plane.services.idempotency import Idempotency
from control_plane.services.imports import Imports
from control_plane.services.inference import InferenceService
from control_plane.services.jobs import JobService
from control_plane.services.loading import Loader
from control_plane.services.metering import Meter
from control_plane.services.models import Machine, Models
from control_plane.services.monitoring import Monitoring
from control_plane.services.optimizations import Optimizations
from control_plane.services.probing import Prober
from control_plane.services.publishing import Publisher
from control_plane.services.reconciliation import Reconciler
from control_plane.services.registry import Services
from control_plane.services.serving import Serving
from tests.doubles.clock import FixedClock
from tests.doubles.converter import InMemoryConverter
from tests.doubles.durability import InMemoryDurability
from tests.doubles.exports import TemporaryExports
from tests.doubles.jobs import InMemoryEvents, InMemoryJobStore, TemporaryWorkspaces
from tests.doubles.lines import InMemoryLines
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.repository import CREATED_AT, InMemoryRepository
from tests.doubles.stores import InMemoryAnswerStore, InMemoryKeyStore, InMemoryMetricStore, InMemoryModelStore
from tests.doubles.triton import InMemoryTriton, InMemoryTritonServer

JWT_SECRET = "a secret that only the tests know, long enough"


class InMemoryDatabase:
    """`failure`: what a check raises."""

    failure: DomainError | None = None

    async def check(self) -> None:
        if self.failure is not None:
            raise self.failure


class CredentialsOfTheWorld(LocalCredentials):
    """The real ones, by the clock of the tests: its day is over some time, and their tokens with it."""

    def __init__(self, config: JwtConfig, clock: FixedClock) -> None:
        super().__init__(config)
        self._options["verify_exp"] = False
        self._clock = clock

    def verify(self, token: str) -> Principal:
        principal = super().verify(token)
        if principal.expires_at_s is not None and principal.expires_at_s <= self._clock.seconds():
            raise NotAuthenticated("the token has expired")
        return principal


@dataclass(frozen=True, slots=True)
class World:
    """The services and what stands behind them. The clock stands at 12:00:00 of 2026-11-21."""

    services: Services
    triton: InMemoryTriton
    server: InMemoryTritonServer
    database: InMemoryDatabase
    clock: FixedClock
    credentials: LocalCredentials
    keys: InMemoryKeyStore
    store: InMemoryModelStore
    metrics: InMemoryMetricStore
    events: InMemoryEvents
    workspaces: TemporaryWorkspaces
    converter: InMemoryConverter
    answers: InMemoryAnswerStore
    audit: InMemoryLines

    def token(self, role: Role, subject: str = "somebody") -> str:
        return self.credentials.sign(Claims(subject, role, self.clock.seconds() + 10**9))

    def told(self) -> list[tuple[str, str, str]]:
        """Each event's topic, subject and kind."""
        return [(event.topic.value, event.subject, event.kind) for event in self.events.recorded]

    async def heal(self) -> None:
        """Let the reconciler watch until it has healed a model."""
        watching = asyncio.create_task(self.services.inference.reconciler.watch(3600))
        async with asyncio.timeout(5):
            async for event in self.events.watch(EventFilter(), 0):
                if event.kind == "healed":
                    break
        watching.cancel()


async def make_world(
    *revisions: Revision,
    anonymous_role: Role | None = None,
    user_can_manage: bool = False,
    device_fallback: bool = False,
    auto_load: bool = False,
    stable: Mapping[str, int] | None = None,
    import_root: Path | None = None,
    has_gpu: bool = False,
) -> World:
    """A server that knows these revisions, none of them loaded, the first of each model as `stable` unless named."""
    clock, triton, keys, database = FixedClock(), InMemoryTriton(), InMemoryKeyStore(), InMemoryDatabase()
    server, store, catalog = InMemoryTritonServer(clock.now()), InMemoryModelStore(), Catalog()
    for name, number in {**_lowest(revisions), **(stable or {})}.items():
        await store.create(ModelRecord(name, CREATED_AT, CREATED_AT, is_builtin=True, aliases={STABLE: number}))
    for revision in revisions:
        await store.next_revision(revision.model)
    prober = Prober(triton, clock)
    events, workspaces = InMemoryEvents(clock), TemporaryWorkspaces()
    loader = Loader(catalog, store, triton, prober, clock, max_concurrent_loads=1)
    machine = Machine(has_gpu=has_gpu, device_fallback=device_fallback)
    repository = InMemoryRepository(*revisions)
    publisher = Publisher(catalog, store, repository, loader, server, clock)
    models = Models(catalog, store, repository, loader, server, publisher, clock, machine)
    await models.open()
    catalog.tell = events.publish
    jobs = JobService(InMemoryJobStore(events), events, InMemoryDurability(max_concurrent=100), workspaces, clock)
    converter = InMemoryConverter()
    imports = Imports(jobs, models, publisher, repository, converter, workspaces, catalog, import_root)
    shelf = TemporaryExports(import_root)
    exports = Exports(jobs, catalog, repository, converter, workspaces, shelf, clock, has_gpu=has_gpu)
    jobs.register(JobKind.OPTIMIZE, StubOptimizing())
    await jobs.open()
    credentials = CredentialsOfTheWorld(JwtConfig(secret=JWT_SECRET), clock)
    reconciler, metrics = Reconciler(catalog, loader, triton, server, prober, clock), InMemoryMetricStore()
    meter = Meter(clock.seconds)
    serving = Serving(catalog, models, reconciler, meter, auto_load=auto_load)
    inference = InferenceService(triton, serving)
    answers, audit = InMemoryAnswerStore(), InMemoryLines()
    services = Services(
        access=Access(credentials, keys, clock, anonymous_role, user_can_manage=user_can_manage),
        models=models,
        catalog=catalog,
        inference=inference,
        health=HealthService(server, database, catalog, clock, has_gpu=has_gpu),
        jobs=jobs,
        imports=imports,
        exports=exports,
        events=events,
        monitoring=Monitoring(meter, catalog, triton, metrics, clock, NoGpu()),
        optimizations=Optimizations(jobs, catalog, publisher, converter, workspaces, import_root),
        drawings=Drawings(triton, serving),
        idempotency=Idempotency(answers, clock),
        audit=Audit(audit, clock),
    )
    return World(
        audited(services),
        triton,
        server,
        database,
        clock,
        credentials,
        keys,
        store,
        metrics,
        events,
        workspaces,
        converter,
        answers,
        audit,
    )


def _lowest(revisions: tuple[Revision, ...]) -> dict[str, int]:
    lowest: dict[str, int] = {}
    for revision in revisions:
        lowest[revision.model] = min(revision.number, lowest.get(revision.model, revision.number))
    return lowest
