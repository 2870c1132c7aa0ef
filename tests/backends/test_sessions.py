"""What a model configuration says of onnxruntime's sessions, by the names of the native backend and of onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest

from triton_backends.onnxruntime.session_options import session_options
from triton_backends.runtime.parameters import InvalidParameter
from triton_backends.runtime.sessions import SPINNING, sequential_options

ALL = pytest.mark.parametrize("read", [sequential_options, session_options])
Read = Callable[[dict[str, Any]], Any]


def config(**parameters: str) -> dict[str, Any]:
    return {"parameters": {name.replace("__", "."): {"string_value": value} for name, value in parameters.items()}}


def spinning(options: Any) -> str | None:
    try:
        return str(options.get_session_config_entry(SPINNING))
    except RuntimeError:
        return None


@ALL
def test_what_is_not_said_is_onnxruntime_s_default(read: Read) -> None:
    options = read({})
    assert spinning(options) is None
    assert options.enable_cpu_mem_arena is onnxruntime.SessionOptions().enable_cpu_mem_arena is True


@ALL
@pytest.mark.parametrize(("said", "expected"), [("0", "0"), ("1", "1"), ("false", "0"), ("true", "1")])
def test_spinning_and_the_arena_are_what_is_said(read: Read, said: str, expected: str) -> None:
    options = read(config(session__intra_op__allow_spinning=said, enable_mem_arena=said))
    assert spinning(options) == expected
    assert options.enable_cpu_mem_arena is (expected == "1")


@ALL
@pytest.mark.parametrize("name", ["session__intra_op__allow_spinning", "enable_mem_arena"])
def test_what_is_neither_true_nor_false_is_refused(read: Read, name: str) -> None:
    with pytest.raises(InvalidParameter, match="must be true or false, got 'maybe'"):
        read(config(**{name: "maybe"}))


def test_threads_have_a_name_of_their_own_in_each_backend() -> None:
    assert sequential_options({}).intra_op_num_threads == 2
    assert sequential_options(config(threads="3")).intra_op_num_threads == 3
    assert session_options({}).intra_op_num_threads == 0
    assert session_options(config(intra_op_thread_count="3")).intra_op_num_threads == 3
