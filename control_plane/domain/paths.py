"""Which paths of ours Triton can be given: it puts them unquoted into the shell command that starts a model."""

from __future__ import annotations

import re
from pathlib import Path

_SAFE = re.compile(r"[A-Za-z0-9_./-]+")


def is_safe_path(path: Path | str) -> bool:
    return _SAFE.fullmatch(str(path)) is not None
