"""What a child that opens a stranger's file may use of the machine."""

from __future__ import annotations

import resource

_MIB = 2**20
# Address space of Python with numpy and onnxruntime, before any file; threads reserve stacks and arenas.
_BASE_BYTES = 3072 * _MIB
# The bytes, the decoded message, onnxruntime's copy and its prepacked weights.
_COPIES = 5
_CPU_S = 60
_CPU_S_PER_GIB = 60
# It has nothing to write but its events, should stdout be a file.
_WRITTEN_BYTES = 8 * _MIB


def confine(file_bytes: int) -> None:
    """Cap memory and CPU time by the size of the input; no core dump, no large file. Cannot be undone."""
    cpu_s = _CPU_S + _CPU_S_PER_GIB * file_bytes // 2**30
    for limit, value in (
        (resource.RLIMIT_AS, _BASE_BYTES + _COPIES * file_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, _WRITTEN_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _lower(limit, value)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))
