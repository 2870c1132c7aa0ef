"""The folder of backends that Triton is given: NVIDIA's own, and ours that run as Python-based backends."""

from __future__ import annotations

import shutil
from pathlib import Path

from control_plane.gateways.triton.installation import STUB, Installation, package_folder

PYTHON_BACKEND = "python"
OURS = "triton_backends"


def build_backend_directory(target: Path, installation: Installation) -> None:
    """Made anew for every life of the server, so that an upgrade of any package is seen."""
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    _python_backend(fresh / PYTHON_BACKEND, installation)
    for source in [*_native(installation.backends), *our_backends()]:
        link = fresh / source.name
        if not link.exists():  # a native backend of the same name wins, as inside Triton
            link.symlink_to(source.resolve())
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def our_backends() -> list[Path]:
    """The folders of the installed `triton_backends` that Triton can load."""
    package = package_folder(OURS)
    return [] if package is None else sorted(model.parent for model in package.glob("*/model.py"))


def _python_backend(target: Path, installation: Installation) -> None:
    # Copies: Triton refuses a linked libtriton_python.so for Python-based backends ("escapes backend directory").
    # The stub is a link: its RPATH is relative to where it lies.
    target.mkdir(parents=True)
    for source in (installation.backends / PYTHON_BACKEND).iterdir():
        if source.is_file() and source.name != STUB:
            shutil.copy2(source, target / source.name)
    (target / STUB).symlink_to(installation.stub.resolve())


def _native(backends: Path) -> list[Path]:
    return sorted(folder for folder in backends.iterdir() if folder.is_dir() and folder.name != PYTHON_BACKEND)
