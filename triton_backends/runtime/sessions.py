"""Opens ONNX files with onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from triton_backends.runtime.model_files import BrokenModel


def open_session(path: Path, options: Any) -> Any:
    """Raises: BrokenModel, in one line without the server's paths."""
    if not path.is_file():
        raise BrokenModel(f"{path.name} is missing from version {path.parent.name}")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0].replace(str(path), path.name)
        raise BrokenModel(f"{path.name} cannot be opened: {reason}") from None


def sequential_options(threads: int) -> Any:
    """One operator at a time, each on `threads` threads (0: one a core)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # onnxruntime's own warnings would go to Triton's log for every load.
    options.log_severity_level = 3
    return options
