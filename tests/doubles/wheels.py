"""Wheels small enough to be made by a test, for a pip that is real."""

from __future__ import annotations

import zipfile
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, code: str = "") -> Path:
    """A pure Python package of one module."""
    module = name.replace("-", "_")
    prefix = f"{module}-{version}"
    files = {
        f"{module}.py": code,
        f"{prefix}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{prefix}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{prefix}.dist-info/RECORD"])
    wheel = folder / f"{prefix}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**files, f"{prefix}.dist-info/RECORD": record}.items():
            archive.writestr(path, content)
    return wheel
