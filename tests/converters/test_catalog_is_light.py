"""The catalog answers at once: nothing that is heavy is imported to read it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from converters.contract import Cataloged, from_line

ROOT = Path(__file__).parents[2]
# torch alone takes over a second; the rest takes its share of what a command line is waited for.
_HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "numpy", "tokenizers", "tensorrt", "tensorrt_rtx")


def test_the_catalog_is_read_without_the_heavy_libraries() -> None:
    script = (
        "import sys; from converters.__main__ import main; main(['catalog']); "
        f"loaded = [name for name in {_HEAVY!r} if name in sys.modules]; assert not loaded, loaded"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cataloged = from_line(done.stdout)
    assert isinstance(cataloged, Cataloged)
    names = {recipe.name for recipe in cataloged.recipes if recipe.available}
    assert names >= {
        "torch_to_onnx", "onnx_optimize", "onnx_dynamic_int8", "onnx_static_int8", "onnx_half", "onnx_to_tensorrt",
    }  # fmt: skip
