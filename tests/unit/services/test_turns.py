"""What counts as one item of a request."""

from __future__ import annotations

import pytest

from control_plane.domain.tensors import Tensor, pack
from control_plane.services.turns import rows_of


def zeros(*shape: int) -> Tensor:
    size = 1
    for axis in shape:
        size *= axis
    return pack("x", "FP32", list(shape), [0.0] * size)


@pytest.mark.parametrize(
    ("request_", "asked", "rows"),
    [
        ((zeros(8, 3),), 8, 8),
        ((zeros(4, 3),), 1, 4),  # the graph's first axis is fixed
        ((zeros(1), zeros(8, 3)), 8, 8),  # beside the rows, an input that has none
        ((zeros(),), 8, 1),
    ],
)
def test_a_request_has_the_rows_that_its_tensors_have(request_: tuple[Tensor, ...], asked: int, rows: int) -> None:
    assert rows_of(request_, asked) == rows
