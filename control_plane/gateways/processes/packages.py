"""What a converter environment must hold, and what one does hold, told by importing it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import TimedOut, Unsupported
from control_plane.gateways.processes.scrubbing import scrubbed
from control_plane.gateways.processes.spawn import run_child

IMPORTED = ("torch", "transformers", "onnx", "onnxruntime")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_IMPORT_TIMEOUT_S = 300.0  # torch from a cold, slow disk
_PROBE = """
import importlib, json, sys
from importlib.metadata import version
found = {"python": "%d.%d.%d" % sys.version_info[:3]}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        found[name] = version(name)
    except Exception as error:
        sys.exit(f"{name} cannot be imported: {type(error).__name__}: {error}")
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Requirements:
    """Pinned sets of packages: `requirements.txt`, and one file for each extra beside it."""

    folder: Path

    @property
    def main(self) -> Path:
        return self.folder / "requirements.txt"

    def of_extra(self, name: str) -> Path:
        return self.folder / f"requirements-{name}.txt"

    def extras(self) -> list[str]:
        return sorted(file.stem.removeprefix("requirements-") for file in self.folder.glob("requirements-*.txt"))

    def pins(self) -> dict[str, str]:
        """Versions by package."""
        return dict(_PIN.findall(self.main.read_text("utf-8")))

    def differences(self, found: Mapping[str, str]) -> list[str]:
        """What is not the version that was tested, in words. A build (`+cpu`) does not matter."""
        pins = self.pins()
        return [
            f"{name} {found[name]} (tested: {pins[name]})"
            for name in IMPORTED
            if name in pins and found[name].partition("+")[0] != pins[name].partition("+")[0]
        ]


async def imported_versions(python: str) -> dict[str, str]:
    """Import what every conversion needs; the versions by name, with `python` itself.

    Raises: Unsupported naming what cannot be imported.
    """
    ours = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **ours}
    command = [python, "-P", "-c", _PROBE, *IMPORTED]
    try:
        result = await run_child(command, env=environment, timeout_s=_IMPORT_TIMEOUT_S)
    except TimedOut as error:
        raise lacking(f"importing its packages took over {_IMPORT_TIMEOUT_S:g} s") from error
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        raise lacking(scrubbed(said[-1]) if said else f"its Python ended with code {result.returncode}")
    found: dict[str, str] = json.loads(result.stdout.decode().splitlines()[-1])
    return found


def lacking(reason: str) -> Unsupported:
    return Unsupported(
        f"there is no converter environment to work in: {reason}",
        requires=["converter_environment"],
        hint="tritonplane setup convert",
    )


def unmade(reason: str) -> Unsupported:
    return Unsupported(
        f"the converter environment could not be made: {reason}",
        requires=["converter_environment"],
        hint="tritonplane setup convert",
    )


def our_python() -> str:
    """The version that decides which wheels fit."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
