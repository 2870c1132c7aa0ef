"""TensorRT or TensorRT-RTX: two libraries with one Python API, as far as building an engine needs it."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from converters.recipe import Lacking

TENSORRT, RTX = "tensorrt", "tensorrt_rtx"
# What the driver of an NVIDIA GPU makes; TensorRT (not RTX) measures its kernels on the GPU that it builds for.
_DEVICE = Path("/dev/nvidiactl")


def has_gpu(device: Path = _DEVICE) -> bool:
    return device.exists()


def lacks() -> str | None:
    if find_spec(RTX) is not None or (find_spec(TENSORRT) is not None and has_gpu()):
        return None
    if find_spec(TENSORRT) is not None:
        return "tensorrt builds engines on an NVIDIA GPU only, and there is none; tensorrt-rtx builds them without"
    return "there is no TensorRT in the converter environment: tritonplane setup convert --with tensorrt-rtx adds one"


def open_library(asked: str) -> Any:
    """The module: `asked`, or for "auto" tensorrt where it and a GPU are, else tensorrt_rtx. Raises: Lacking."""
    if asked == "auto":
        asked = TENSORRT if find_spec(TENSORRT) is not None and has_gpu() else RTX
    if find_spec(asked) is None:
        raise Lacking(f"{asked} is not in the converter environment", requires=asked)
    if asked == TENSORRT and not has_gpu():
        raise Lacking("tensorrt builds engines on an NVIDIA GPU only, and there is none", requires="gpu")
    try:
        return importlib.import_module(asked)
    except (ImportError, OSError) as error:
        raise Lacking(f"{asked} cannot be imported: {error}", requires=asked) from error


def compute_capabilities(library: Any) -> list[str]:
    """What an engine can be built for without its GPU, as in SM89; empty: only for the GPU that is here."""
    known = getattr(library, "ComputeCapability", None)
    return [] if known is None else sorted(name for name in dir(known) if name.startswith("SM"))
