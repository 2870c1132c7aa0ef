"""The id of a request: the caller's own where it is a usable one, else a ULID made without a system call."""

from __future__ import annotations

import itertools
import os
import re
from time import time_ns

_USABLE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32; its digits up to F are those of base 16
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
# Unique without os.urandom per request, which cost 8 % of a lean request: randomness once per process, then a number.
_PROCESS, _NUMBERS = "".join(_ALPHABET[byte % 32] for byte in os.urandom(8)), itertools.count()


def request_id(given: str | None) -> str:
    return given if given is not None and _USABLE.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    """`req_` and a ULID: 48 bits of milliseconds, then what is unique; later ones of a process sort later."""
    at_ms, number = time_ns() // 1_000_000, next(_NUMBERS) & 0xFFFFFFFF
    time = "".join([_PAIRS[at_ms >> shift & 1023] for shift in (40, 30, 20, 10, 0)])
    return f"req_{time}{_PROCESS}{number:08X}"
