"""The folder of backends that Triton is given: NVIDIA's own, and ours that run as Python-based backends."""

from __future__ import annotations

import shutil
from pathlib import Path

from control_plane.gateways.triton.configuration import ENVIRONMENTS
from control_plane.gateways.triton.installation import STUB, Installation, package_folder

PYTHON_BACKEND = "python"
OURS = "triton_backends"
LIBRARY = "libtriton_python.so"
# The library makes a folder for each backend and removes it only when the server ends in peace, which one with a
# short exit timeout or a signal 9 does not: thousands would gather in /tmp. It takes the place from nowhere but its own
# text, so our copy is given one as long, below the directory that the server works in; the end of its life empties it.
_FIXED_PLACE, _OUR_PLACE = b"/tmp/python_env_", f"{ENVIRONMENTS}/life_".encode()


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
    _keep_folders_below_us(target / LIBRARY)


def _keep_folders_below_us(library: Path) -> None:
    """A library that does not look as expected stays as it is."""
    content = library.read_bytes()
    if content.count(_FIXED_PLACE) == 1 and len(_FIXED_PLACE) == len(_OUR_PLACE):
        library.unlink()  # the copy of a file that nobody may write, may not be written either
        library.write_bytes(content.replace(_FIXED_PLACE, _OUR_PLACE))


def _native(backends: Path) -> list[Path]:
    return sorted(folder for folder in backends.iterdir() if folder.is_dir() and folder.name != PYTHON_BACKEND)
