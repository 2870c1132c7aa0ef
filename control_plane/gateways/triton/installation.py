"""Where this machine has Triton: the server, its Python backend, the stub and libpython of our interpreter."""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import Unsupported

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
STUB = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True)
class Installation:
    """`backends` holds the backends that came with the server; `python_libraries` is where libpython lies."""

    server: Path
    backends: Path
    caches: Path
    stub: Path
    python_libraries: Path


def find_installation(binary: Path | None = None) -> Installation:
    """The server of the pytriton wheel, or a named one with NVIDIA's folder layout around it.

    Raises: Unsupported, with what to install.
    """
    return _bundled() if binary is None else _around(binary)


def library_directory() -> Path:
    """The folder of the libpython that belongs to our interpreter; a stub with another one sees other packages."""
    name = str(sysconfig.get_config_var("INSTSONAME"))
    if ".so" not in name:
        raise Unsupported(
            f"this Python {PYTHON} is linked statically ({name}); Triton's stub needs a shared libpython",
            requires=f"a Python {PYTHON} built with --enable-shared",
        )
    library = Path(str(sysconfig.get_config_var("LIBDIR")))
    places = [library, Path(sys.base_prefix, "lib"), library / str(sysconfig.get_config_var("MULTIARCH"))]
    for place in places:
        if (place / name).exists():
            return place
    raise Unsupported(f"{name} is not installed", requires=libpython_remedy())


def libpython_remedy() -> str:
    return f"apt-get install -y libpython{PYTHON}"


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    places = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(places))) if places else None


def _bundled() -> Installation:
    package = package_folder("pytriton")
    if package is None:
        raise Unsupported("the Python package nvidia-pytriton is not installed", requires="nvidia-pytriton")
    root = package / "tritonserver"
    return Installation(
        server=_existing(root / "bin" / "tritonserver"),
        backends=root / "backends",
        caches=root / "caches",
        stub=_existing(root / "python_backend_stubs" / PYTHON / STUB),
        python_libraries=library_directory(),
    )


def _around(binary: Path) -> Installation:
    root = _existing(binary).resolve().parent.parent
    return Installation(
        server=binary.resolve(),
        backends=root / "backends",
        caches=root / "caches",
        stub=_matching_stub(root / "backends" / "python" / STUB),
        python_libraries=library_directory(),
    )


def _matching_stub(stub: Path) -> Path:
    """A stub embeds one Python version; with another it would run, and see other packages than ours."""
    found = re.search(rb"libpython(3\.\d+)", _existing(stub).read_bytes())
    version = found.group(1).decode() if found else "an unknown version"
    if version != PYTHON:
        raise Unsupported(f"the stub of this Triton is built for Python {version}, we run on {PYTHON}", requires=PYTHON)
    return stub


def _existing(path: Path) -> Path:
    if not path.exists():
        raise Unsupported(f"Triton is not complete: {path.name} is missing for Python {PYTHON}", requires=path.name)
    return path
