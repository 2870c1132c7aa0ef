"""What this machine is, for who reads a figure that was measured on it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

# What decides how fast low-precision arithmetic is.
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "f16c", "fma")
_TELLING_PACKAGES = ("tritonplane", "nvidia-pytriton", "onnxruntime", "tritonclient", "numpy")


def describe_machine(*, has_gpu: bool) -> dict[str, object]:
    """CPU, cores that we may use, memory, device, versions. Units: bytes."""
    processor, flags = _processor()
    return {
        "cpu": processor,
        "cpu_flags": [flag for flag in _TELLING_FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "device": "cuda" if has_gpu else "cpu",
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _TELLING_PACKAGES if (version := _version(name))},
    }


def _processor() -> tuple[str, frozenset[str]]:
    """The name and the flags of the first core; Linux only, as Triton is."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    return facts.get("model name", platform.machine()), frozenset(facts.get("flags", "").split())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
