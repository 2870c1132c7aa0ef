"""onnxruntime sessions for the checks: they share the machine with models that serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_session(graph: Path, **options: Any) -> Any:
    """On the CPU, with threads that sleep when they wait; `options` are those of `SessionOptions`.

    Raises: what onnxruntime raises.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    for name, value in options.items():
        setattr(settings, name, value)
    # Threads that spin for work take the cores from each other and from Triton: ten times slower on a busy machine.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
