"""What a program said, as a client may read it: without addresses, hosts and paths of this machine."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\",)]+")
_HOST = re.compile(r"host='[^']*'")
_PATH = re.compile(r"(?<![\w.:/-])/(?:[^\s/'\",:;()]+/)+([^\s/'\",:;()]*)")
_LENGTH_MAX = 400


def scrubbed(text: str) -> str:
    """One line; of a path only its last part stays."""
    text = _HOST.sub("host=...", _ADDRESS.sub("...", text))
    return " ".join(_PATH.sub(lambda found: found[1], text).split())[:_LENGTH_MAX]
