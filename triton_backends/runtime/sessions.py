"""Opens ONNX files with onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.parameters import model_flag, model_parameter

SPINNING = "session.intra_op.allow_spinning"


def open_session(path: Path, options: Any) -> Any:
    """Raises: BrokenModel, in one line without the server's paths."""
    if not path.is_file():
        raise BrokenModel(f"{path.name} is missing from version {path.parent.name}")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0].replace(str(path), path.name)
        raise BrokenModel(f"{path.name} cannot be opened: {reason}") from None


def new_options(config: Mapping[str, Any]) -> Any:
    """What a model configuration can say of every session here; what it does not say is onnxruntime's default.

    Parameters: `enable_mem_arena`, as in the native backend; `session.intra_op.allow_spinning`, as in onnxruntime.
    Source: the README of triton-inference-server/onnxruntime_backend, "Model Config Options".
    Raises: InvalidParameter.
    """
    options = onnxruntime.SessionOptions()
    # onnxruntime's own warnings would go to Triton's log for every load.
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = model_flag(config, "enable_mem_arena", default=True)
    if SPINNING in config.get("parameters", {}):
        options.add_session_config_entry(SPINNING, str(int(model_flag(config, SPINNING, default=True))))
    return options


def sequential_options(config: Mapping[str, Any]) -> Any:
    """One operator at a time, each on as many threads as the parameter `threads` says (2; 0: one a core)."""
    options = new_options(config)
    options.intra_op_num_threads = model_parameter(config, "threads", 2)
    options.inter_op_num_threads = 1
    return options
