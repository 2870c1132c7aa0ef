"""JSON values to Triton's bytes and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.tensors import WIDTHS, Tensor, pack, unpack

RANGES = {"UINT8": (0, 255), "INT8": (-128, 127), "UINT16": (0, 65535), "INT16": (-32768, 32767),
          "UINT32": (0, 2**32 - 1), "INT32": (-(2**31), 2**31 - 1), "UINT64": (0, 2**64 - 1),
          "INT64": (-(2**63), 2**63 - 1)}  # fmt: skip


@pytest.mark.parametrize("datatype", RANGES)
@given(data=st.data())
def test_integers_survive_the_round_trip(datatype: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(*RANGES[datatype]), max_size=20))
    assert unpack(pack("x", datatype, [len(values)], values)) == values


@given(st.lists(st.text(), max_size=10))
def test_texts_survive_the_round_trip(values: list[str]) -> None:
    assert unpack(pack("x", "BYTES", [len(values)], values)) == values


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_single_precision_survives_the_round_trip(values: list[float]) -> None:
    assert unpack(pack("x", "FP32", [len(values)], values)) == values


def test_booleans_and_halves_survive_the_round_trip() -> None:
    assert unpack(pack("x", "BOOL", [3], [True, False, True])) == [True, False, True]
    assert unpack(pack("x", "FP16", [2], [0.5, -2.0])) == [0.5, -2.0]


def test_nested_rows_are_row_major() -> None:
    assert unpack(pack("x", "INT32", [2, 2], [[1, 2], [3, 4]])) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("datatype", "shape", "values", "says"),
    [
        ("FP32", [3], [1, 2], "needs 3 values, got 2"),
        ("FP32", [-1], [1], "shape"),
        ("INT8", [1], [300], "does not fit"),
        ("INT32", [1], [1.5], "does not fit"),
        ("FP32", [1], ["a"], "does not fit"),
        ("FP32", [1], [1e39], "does not fit"),
        ("FP16", [1], [1e6], "does not fit"),
        ("BOOL", [1], [1], "not true or false"),
        ("BYTES", [1], [1], "does not fit"),
        ("BF16", [1], [1], "unknown datatype"),
        ("UINT64", [1], [-1], "does not fit"),
        ("INT64", [1], [None], "does not fit"),
    ],
)
def test_what_does_not_fit_is_said(datatype: str, shape: list[int], values: list[object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        pack("x", datatype, shape, values)


@pytest.mark.parametrize("tensor", [Tensor("y", "BF16", (1,), b"\0\0"), Tensor("y", "BYTES", (1,), b"\1\0\0\0\xff")])
def test_an_output_that_json_cannot_carry_is_said(tensor: Tensor) -> None:
    with pytest.raises(InvalidRequest, match=r"'y' .* JSON cannot carry it"):
        unpack(tensor)


def test_every_datatype_but_text_has_a_width() -> None:
    assert set(RANGES) | {"BOOL", "FP16", "FP32", "FP64"} == set(WIDTHS)
