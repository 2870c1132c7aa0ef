"""Turns a model configuration into onnxruntime session options, by the names of the native backend.

Source: the README of triton-inference-server/onnxruntime_backend, "Model Config Options".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime

from triton_backends.runtime.parameters import InvalidParameter, integer, model_flag, model_parameter
from triton_backends.runtime.sessions import new_options

# optimization { graph { level } }: all optimizations where it is absent, and for 0.
_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_MODES = {0: onnxruntime.ExecutionMode.ORT_SEQUENTIAL, 1: onnxruntime.ExecutionMode.ORT_PARALLEL}


def session_options(config: Mapping[str, Any]) -> Any:
    """Raises: InvalidParameter."""
    options = new_options(config)
    options.intra_op_num_threads = model_parameter(config, "intra_op_thread_count", 0)
    options.inter_op_num_threads = model_parameter(config, "inter_op_thread_count", 0)
    mode = model_parameter(config, "execution_mode", 0)
    if mode not in _MODES:
        raise InvalidParameter(f"model parameter execution_mode must be 0 (sequential) or 1 (parallel), got {mode}")
    options.execution_mode = _MODES[mode]
    options.graph_optimization_level = _level(config)
    options.enable_mem_pattern = model_flag(config, "enable_mem_pattern", default=True)
    initializers = config.get("parameters", {}).get("session.use_device_allocator_for_initializers")
    if initializers is not None:
        options.add_session_config_entry("session.use_device_allocator_for_initializers", initializers["string_value"])
    return options


def _level(config: Mapping[str, Any]) -> Any:
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    all_of_them = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return _LEVELS.get(integer(-(2**31))("optimization graph level", level), all_of_them)
