"""What this machine's processor can do with 8-bit numbers."""

from __future__ import annotations

import platform
from pathlib import Path

from converters.recipe import Parameter

REDUCE_RANGE = Parameter(
    "auto",
    "7-bit weights, for processors that add 8-bit products in 16 bits; auto: what this one needs",
    ("auto", "yes", "no"),
)
_CPUINFO = Path("/proc/cpuinfo")
# Instructions that add products of 8-bit numbers in 32 bits.
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def reduces(choice: str) -> bool:
    """What a value of REDUCE_RANGE comes to on this machine."""
    return saturates() if choice == "auto" else choice == "yes"


def saturates(machine: str | None = None, cpuinfo: Path = _CPUINFO) -> bool:
    """Whether products of 8-bit numbers are added in 16 bits, which overflow unless weights keep to 7 bits."""
    if (machine or platform.machine()) not in ("x86_64", "AMD64"):
        return False
    try:
        flags = set(cpuinfo.read_text().split())
    except OSError:
        return True
    return not flags & _DOT_PRODUCTS
