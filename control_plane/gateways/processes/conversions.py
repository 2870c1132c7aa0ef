"""Conversions, and what an optimization asks of models, each in a child process of the converter environment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import converters
from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JsonObject
from control_plane.domain.optimization import Accuracy
from control_plane.domain.tensors import Tensor
from control_plane.gateways.processes.children import ConverterChildren, Ended, Task
from control_plane.gateways.processes.environment import Environment, Interpreter
from control_plane.gateways.processes.outcomes import accuracy_of, catalog_of, conversion_of, samples_of
from control_plane.ports import Conversion, ConverterCatalog, Report
from converters.contract import BrokenStream, catalog_command, evaluate_command, run_command, sample_command

_CATALOG_TIMEOUT_S = 60.0


class ConverterRunner:
    """Runs `python -m converters`. `code` is the folder of the package `converters`; `way_to_it` a folder of ours."""

    def __init__(
        self, environment: Environment, way_to_it: Path, code: Path = Path(converters.__file__).parent
    ) -> None:
        self._environment, self._children = environment, ConverterChildren(way_to_it, code)
        self._catalog: tuple[Interpreter | None, ConverterCatalog] | None = None

    async def prepare(self, report: Report) -> None:
        await self._environment.prepare(report)

    async def convert(self, workspace: Path, request: JsonObject, report: Report) -> Conversion:
        return conversion_of(await self._run("conversion", run_command, (workspace, request), report), workspace)

    async def sample(self, workspace: Path, request: JsonObject, report: Report) -> Sequence[tuple[Tensor, ...]]:
        ended = await self._run("sampling", sample_command, (workspace, request), report)
        return await asyncio.to_thread(samples_of, ended, workspace)

    async def evaluate(self, workspace: Path, request: JsonObject, report: Report) -> Accuracy:
        """What the baseline answers is kept in the workspace: give all candidates of one baseline the same."""
        return accuracy_of(await self._run("evaluation", evaluate_command, (workspace, request), report), workspace)

    async def _run(
        self, name: str, command: Callable[[str, Path], list[str]], asked: tuple[Path, JsonObject], report: Report
    ) -> Ended:
        await self.prepare(report)
        with self._environment.in_use() as interpreter:
            return await self._children.run(interpreter.python, Task(name, command, *asked), report)

    async def catalog(self) -> ConverterCatalog:
        """Without an environment our own Python is asked: it lacks much, and says so of each recipe."""
        interpreter = self._environment.current()
        if self._catalog is None or self._catalog[0] != interpreter:
            found = await self._ask_catalog(interpreter.python if interpreter else sys.executable)
            self._catalog = (interpreter, found)
        return self._catalog[1]

    async def _ask_catalog(self, python: str) -> ConverterCatalog:
        try:
            return catalog_of(await self._children.ask(python, catalog_command(python), _CATALOG_TIMEOUT_S))
        except BrokenStream as error:
            raise EngineFailed("the catalog of conversions cannot be read") from error
