"""The files of docker/ are linted by real tools, even where no container engine runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize("dockerfile", sorted((ROOT / "docker").glob("Dockerfile*")), ids=lambda path: path.name)
def test_hadolint_finds_nothing_in_a_dockerfile(dockerfile: Path) -> None:
    found = subprocess.run([TOOLS / "hadolint", dockerfile], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("compose", sorted((ROOT / "docker").glob("compose*.yaml")), ids=lambda path: path.name)
def test_a_compose_file_follows_the_compose_specification(compose: Path) -> None:
    command = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_every_path_that_a_dockerfile_copies_is_in_the_tree() -> None:
    for dockerfile in (ROOT / "docker").glob("Dockerfile*"):
        for line in dockerfile.read_text().splitlines():
            if line.startswith("COPY "):
                for source in line.split()[1:-1]:
                    assert (ROOT / source).exists(), f"{dockerfile.name} copies {source}, which is not there"


NATIVE = {"onnxruntime", "tensorrt"}  # the image's own, which serve the same repository


def test_the_image_beside_nvidias_triton_has_every_backend_that_is_not_its_own() -> None:
    ours = {model.parent.name for model in (ROOT / "triton_backends").glob("*/model.py")} - NATIVE
    recipe = (ROOT / "docker/Dockerfile.nvidia").read_text()
    linked = set(re.findall(r"/opt/tritonplane/triton_backends/(\w+) /opt/tritonserver/backends/(\w+)", recipe))
    assert linked == {(backend, backend) for backend in ours}
