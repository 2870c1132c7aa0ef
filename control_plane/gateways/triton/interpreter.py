"""The Python that Triton's stubs embed: they ignore PYTHONPATH and take the `python3` that is first on PATH."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.domain.errors import DomainError
from control_plane.gateways.processes.spawn import run_child
from control_plane.gateways.triton.installation import PYTHON

TIMEOUT_S = 30
NUMPY_REMEDY = f"{sys.executable} -m pip install 'numpy<2'"
_VIEW = "import json, sys, numpy; print(json.dumps([sys.version.split()[0], sys.prefix, numpy.__version__]))"


@dataclass(frozen=True, slots=True)
class InterpreterView:
    """What a stub would see; `fault` and `remedy` are "" where it is right."""

    told: str
    fault: str = ""
    remedy: str = ""


async def look(environment: Mapping[str, str]) -> InterpreterView:
    try:
        result = await run_child(["python3", "-I", "-c", _VIEW], env=environment, timeout_s=TIMEOUT_S)
        version, prefix, numpy = json.loads(result.stdout)
    except DomainError as error:
        return InterpreterView("", error.message, f"make the virtual environment of {sys.executable} anew")
    except ValueError:
        return InterpreterView("", f"numpy cannot be imported: {_last_line(result.stderr)}", NUMPY_REMEDY)
    told = f"Python {version} of {prefix} with numpy {numpy}"
    if prefix != sys.prefix or not version.startswith(f"{PYTHON}."):
        return InterpreterView(told, f"Triton's stub would use {told}", f"start the server with {sys.executable}")
    if int(numpy.split(".")[0]) >= 2:
        return InterpreterView(told, f"numpy {numpy} corrupts tensors in Triton's stub", NUMPY_REMEDY)
    return InterpreterView(told)


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "python3 gave no answer"
