"""Versions of what decides the bytes and numbers of a conversion."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    *("torch", "transformers", "onnx", "onnxruntime", "onnxruntime-genai", "onnxscript", "tokenizers", "numpy"),
    *("tensorrt", "tensorrt_rtx_cu13"),
)


def tool_versions() -> dict[str, object]:
    """By name; what is not installed is left out."""
    versions: dict[str, object] = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
