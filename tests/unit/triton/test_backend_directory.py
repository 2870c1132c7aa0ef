"""The folder of backends that Triton is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.gateways.triton.backend_directory import build_backend_directory
from control_plane.gateways.triton.installation import Installation


def installed(root: Path, library: bytes) -> Installation:
    backends = root / "backends"
    (backends / "python").mkdir(parents=True)
    (backends / "python" / "libtriton_python.so").write_bytes(library)
    (backends / "python" / "libtriton_python.so").chmod(0o444)
    stub = root / "stub"
    stub.touch()
    return Installation(root / "tritonserver", backends, root / "caches", stub, root)


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (b"a /tmp/python_env_XXXXXX b", b"a python_env/life_XXXXXX b"),
        (b"/tmp/python_env_\0Failed", b"python_env/life_\0Failed"),
        (b"/tmp/python_env_ /tmp/python_env_", b"/tmp/python_env_ /tmp/python_env_"),
        (b"/var/python_env_", b"/var/python_env_"),
    ],
)
def test_only_a_library_that_looks_as_expected_makes_its_folders_elsewhere(
    tmp_path: Path, library: bytes, expected: bytes
) -> None:
    installation = installed(tmp_path / "triton", library)
    build_backend_directory(tmp_path / "backends", installation)
    assert (tmp_path / "backends" / "python" / "libtriton_python.so").read_bytes() == expected
    assert (installation.backends / "python" / "libtriton_python.so").read_bytes() == library
