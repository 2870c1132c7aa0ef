"""A supervised Triton with a repository and the services over it, and the smallest models that draw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from control_plane.gateways.clock import SystemClock
from control_plane.gateways.processes.converter import ConverterInspector
from control_plane.gateways.repository.configuration import Abilities
from control_plane.gateways.repository.repository import LocalRepository
from control_plane.services.catalog import Catalog
from control_plane.services.drawing import Drawings
from control_plane.services.loading import Loader
from control_plane.services.metering import Meter
from control_plane.services.models import Machine, Models
from control_plane.services.probing import Prober
from control_plane.services.publishing import NewRevision, Publisher
from control_plane.services.reconciliation import Reconciler
from control_plane.services.serving import Serving
from tests.doubles.image_models import write_diffusion, write_encoder, write_hybrid, write_unet
from tests.doubles.stores import InMemoryModelStore
from tests.triton import RunningTriton, running_triton

BACKENDS = frozenset({"onnxruntime", "diffusion"})


@dataclass(frozen=True)
class Gallery:
    """`sources`: the model directories that were published, for more of them."""

    triton: RunningTriton
    catalog: Catalog
    models: Models
    drawings: Drawings
    reconciler: Reconciler
    sources: Path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gallery(tmp_path_factory: object) -> AsyncIterator[Gallery]:
    """The parts `unet` and `encoder`; `shapes` draws by label and `painter` by text with them. None is loaded."""
    folder: Path = tmp_path_factory.mktemp("pipelines")  # type: ignore[attr-defined]
    async with running_triton(folder / "state") as running:
        made = _made(running, folder)
        sources = folder / "sources"
        for source in (
            write_unet(sources / "unet"),
            write_encoder(sources / "encoder"),
            write_diffusion(sources / "shapes", "unet"),
            write_hybrid(sources / "painter", "unet", "encoder"),
        ):
            await made.models.add(NewRevision(source.name, source, "a test"))
        yield made


def _made(running: RunningTriton, folder: Path) -> Gallery:
    clock, catalog, store = SystemClock(), Catalog(), InMemoryModelStore()
    supervisor, prober = running.supervisor, Prober(running.stub, SystemClock())
    repository = LocalRepository(folder / "state", ConverterInspector(), clock, Abilities(BACKENDS))
    loader = Loader(catalog, store, running.control, prober, clock, max_concurrent_loads=1)
    publisher = Publisher(catalog, store, repository, loader, supervisor, clock)
    machine = Machine(has_gpu=False, device_fallback=False)
    models = Models(catalog, store, repository, loader, supervisor, publisher, clock, machine)
    reconciler = Reconciler(catalog, loader, running.control, supervisor, prober, clock)
    serving = Serving(catalog, models, reconciler, Meter(clock.seconds), auto_load=False)

    def on_model_died(directory: str) -> None:
        died = catalog.by_directory(directory)
        assert died is not None
        reconciler.suspect(died)

    supervisor.on_started, supervisor.on_model_died = reconciler.reconcile, on_model_died
    return Gallery(running, catalog, models, Drawings(running.stub, serving), reconciler, folder / "sources")
