"""Everything that runs as a job: imports, exports, optimizations, and what they are made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from control_plane.bootstrap.making import make_converter, make_profiler, make_scratch
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.jobs.durability import DbosDurability
from control_plane.gateways.machine import describe_machine
from control_plane.gateways.processes.workspaces import LocalWorkspaces
from control_plane.gateways.repository.exports import LocalExports
from control_plane.gateways.repository.repository import LocalRepository
from control_plane.gateways.state.events import SqlEvents
from control_plane.gateways.state.jobs import SqlJobStore
from control_plane.gateways.triton.scratch import LocalScratchTritons
from control_plane.services.catalog import Catalog
from control_plane.services.exports import Exports
from control_plane.services.imports import Imports
from control_plane.services.jobs import JobService
from control_plane.services.models import Models
from control_plane.services.optimizations import Optimizations
from control_plane.services.optimizing import Optimizer, Workshop
from control_plane.services.publishing import Publisher
from control_plane.settings import Settings

EXCHANGE = "exchange"  # the import root below the state directory, where none is set


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server lives."""

    settings: Settings
    state_dir: Path
    clock: SystemClock
    has_gpu: bool


@dataclass(frozen=True, slots=True)
class Shop:
    """The models that jobs work on, and who changes them."""

    catalog: Catalog
    models: Models
    publisher: Publisher
    repository: LocalRepository


@dataclass(frozen=True, slots=True)
class Work:
    """What is open to callers, and what is opened, swept and closed with it."""

    jobs: JobService
    imports: Imports
    exports: Exports
    optimizations: Optimizations
    durability: DbosDurability
    scratch: LocalScratchTritons


def make_work(place: Place, shop: Shop, store: SqlJobStore, events: SqlEvents) -> Work:
    settings, state_dir, clock = place.settings, place.state_dir, place.clock
    workspaces = LocalWorkspaces(state_dir)
    durability = DbosDurability(state_dir / "jobs.db", settings.max_concurrent_jobs)
    jobs = JobService(store, events, durability, workspaces, clock)
    converter = make_converter(settings, state_dir, has_gpu=place.has_gpu)
    scratch = make_scratch(settings, state_dir, clock)
    root = settings.import_root or state_dir / EXCHANGE
    catalog, models, publisher, repository = shop.catalog, shop.models, shop.publisher, shop.repository
    imports = Imports(jobs, models, publisher, repository, converter, workspaces, catalog, root)
    shelf = LocalExports(root)
    exports = Exports(jobs, catalog, repository, converter, workspaces, shelf, clock, has_gpu=place.has_gpu)
    machine = describe_machine(has_gpu=place.has_gpu)
    workshop = Workshop(converter, repository, scratch, make_profiler(settings), clock, machine, root)
    Optimizer(jobs, catalog, models, publisher, workshop)
    optimizations = Optimizations(jobs, catalog, publisher, converter, workspaces, root)
    return Work(jobs, imports, exports, optimizations, durability, scratch)
