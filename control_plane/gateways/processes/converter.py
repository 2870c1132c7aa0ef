"""Conversion children: the only place where a stranger's ONNX file is opened before Triton sees it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import converters
from control_plane.domain.errors import EngineFailed, InvalidRequest, TimedOut
from control_plane.domain.models import Signature, TensorSpec
from control_plane.gateways.processes.spawn import ChildResult, run_child
from control_plane.ports import OnnxModel
from converters.contract import BrokenStream, Event, Failed, Inspected, TensorFact, from_line, inspect_command

# What Triton may collect into one execution of a model that says nothing of it.
MAX_BATCH_SIZE = 32
_INSPECT_TIMEOUT_S = 120.0
# The child was killed for what it asked of the machine: the file's doing, not ours.
_RESOURCE_SIGNALS = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGXCPU, signal.SIGKILL, signal.SIGFPE}


class ConverterInspector:
    """Reads ONNX files in `python -m converters inspect`, a child with capped memory and CPU time."""

    def __init__(self, python: str = sys.executable, timeout_s: float = _INSPECT_TIMEOUT_S) -> None:
        self._python = python
        self._timeout_s = timeout_s

    async def inspect(self, path: Path) -> OnnxModel:
        """Raises InvalidRequest when the file is not a valid ONNX model."""
        command = inspect_command(self._python, path)
        try:
            result = await run_child(command, env=_environment(), timeout_s=self._timeout_s)
        except TimedOut as error:
            raise InvalidRequest(
                f"{path.name} cannot be used: opening it took over {self._timeout_s:g} s", file=path.name
            ) from error
        match _event(result, path.name):
            case Inspected() as inspected:
                return _to_model(inspected)
            case Failed(message):
                raise InvalidRequest(f"{path.name} cannot be used: {message}", file=path.name)
            case other:
                raise EngineFailed(f"the inspection of {path.name} answered {type(other).__name__.lower()}")


def _environment() -> Mapping[str, str]:
    """Nothing of ours but the way to the code: no key, no proxy, no home."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(Path(converters.__file__).parents[1])}


def _event(result: ChildResult, name: str) -> Event:
    if -result.returncode in _RESOURCE_SIGNALS:
        killed_by = signal.Signals(-result.returncode).name
        return Failed(f"the process that opened it was stopped by {killed_by}: too large for its limits, or malformed")
    try:
        return from_line(result.stdout.decode(errors="replace"))
    except BrokenStream as error:
        reason = result.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise EngineFailed(f"the inspection of {name} gave no answer: {' '.join(reason)[:300]}") from error


def _to_model(inspected: Inspected) -> OnnxModel:
    signature = Signature(
        inputs=_specs(inspected.inputs),
        outputs=_specs(inspected.outputs),
        max_batch_size=MAX_BATCH_SIZE if inspected.has_batch_axis else 0,
    )
    return OnnxModel(signature, inspected.parameters, inspected.dtype, inspected.opset)


def _specs(facts: tuple[TensorFact, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(fact.name, fact.datatype, fact.shape) for fact in facts)
