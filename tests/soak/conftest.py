"""What a soak needs: one state directory through all of it, with the core dumps that Triton may leave there."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.imports.conftest import Sources, sources
from tests.product import ServerProcess
from tests.survival.plane import Plane, close
from tests.survival.sources import Source, archive, llama, module

__all__ = ["sources"]  # a fixture
log = logging.getLogger(__name__)
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.fixture(scope="session")
def kinds(sources: Sources) -> tuple[Source, ...]:
    return llama(sources.expected), module(sources.expected), archive()


@pytest.fixture(scope="session")
def plane(sources: Sources, kinds: tuple[Source, ...]) -> Iterator[Plane]:
    """In a folder that stays: pytest deletes its own after a few more sessions."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request
    folder = Path(tempfile.mkdtemp(prefix="tritonplane-soak-"))
    state = folder / "state"
    log.info("state and log are in %s; core dumps of Triton would be %s in %s", folder, _core_name(), state)
    plane = Plane(ServerProcess(state, {"IMPORT_ROOT": str(sources.folder)}))
    plane.start()
    for source in kinds:
        plane.learn(source)
        log.info("an undisturbed import of %s takes %.1f s", source.name, plane.duration_s(source))
    yield plane
    close(plane)


def _core_name() -> str:
    return CORE_PATTERN.read_text().strip() if CORE_PATTERN.exists() else "core"
