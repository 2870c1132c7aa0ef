"""A graph that answers otherwise than its source is found out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.checks.results import Check, require_passed
from converters.checks.tensors import check_tensors
from converters.contract import ConversionRequest
from converters.recipe import OutOfTolerance, Refused
from tests.converters.graphs import artifact, rows, write_graph

IDENTITY = "g (float[batch, 4] x) => (float[batch, 4] y) { y = Identity(x) }"


def compare(tmp_path: Path, first: str, second: str, *, is_exact: bool = True, **asked: str) -> list[Check]:
    original, made = (
        artifact(write_graph(tmp_path / name, text)) for name, text in (("original", first), ("made", second))
    )
    return check_tensors(original, made, ConversionRequest("unused", **asked), is_exact=is_exact)


def half_off(of: str) -> str:
    return f"g (float[batch, 4] x) => (float[batch, 4] y) {{ c = Constant<value_float = {of}>() y = Mul(x, c) }}"


def test_the_same_graph_agrees_wholly(tmp_path: Path) -> None:
    found = compare(tmp_path, IDENTITY, IDENTITY)
    assert [(check.name, check.value, check.samples) for check in found] == [
        ("max_difference", 0.0, 20), ("tensor_agreement", 1.0, 20), ("top1_agreement", 1.0, 20)
    ]  # fmt: skip


def test_the_agreement_is_that_of_the_contract(tmp_path: Path) -> None:
    """0.4: 1 - min(1, |c - b| / |b|)."""
    found = {check.name: check for check in compare(tmp_path, IDENTITY, half_off("0.9"), is_exact=False)}
    assert found["tensor_agreement"].value == pytest.approx(0.9, abs=1e-6)
    assert found["tensor_agreement"].samples == 100  # with fewer it would be low evidence
    assert found["top1_agreement"].value == 1.0
    assert found["max_difference"].value == pytest.approx(0.1, abs=0.01)
    require_passed(list(found.values()))


def test_full_precision_must_be_kept(tmp_path: Path) -> None:
    with pytest.raises(OutOfTolerance, match=r"max_difference is 0\.1, at most 0\.001 was expected"):
        require_passed(compare(tmp_path, IDENTITY, half_off("0.9")))


def test_the_opposite_agrees_not_at_all(tmp_path: Path) -> None:
    found = {check.name: check.value for check in compare(tmp_path, IDENTITY, half_off("-1.0"), is_exact=False)}
    assert found["tensor_agreement"] == 0.0
    assert found["top1_agreement"] < 0.5


@pytest.mark.parametrize("is_exact", [True, False])
def test_what_is_not_finite_never_passes(tmp_path: Path, is_exact: bool) -> None:
    divided = "g (float[batch, 4] x) => (float[batch, 4] y) { z = Sub(x, x) y = Div(x, z) }"
    with pytest.raises(OutOfTolerance, match="not finite"):
        compare(tmp_path, IDENTITY, divided, is_exact=is_exact)


def test_infinity_that_the_source_gives_too_is_no_difference(tmp_path: Path) -> None:
    divided = "g (float[batch, 4] x) => (float[batch, 4] y) { z = Sub(x, x) y = Div(x, z) }"
    assert compare(tmp_path, divided, divided)[0].value == 0.0


def test_a_batch_that_was_baked_in_is_found(tmp_path: Path) -> None:
    fixed = (
        "g (float[batch, 4] x) => (float[batch, 4] y) "
        "{ s = Constant<value_ints = [1, 4]>() z = Reshape(x, s) y = Identity(z) }"
    )
    with pytest.raises(OutOfTolerance, match="refuses what its source takes"):
        compare(tmp_path, IDENTITY, fixed)


def test_other_shapes_are_found(tmp_path: Path) -> None:
    wider = "g (float[batch, 4] x) => (float[batch, n] y) { y = Concat<axis = 1>(x, x) }"
    with pytest.raises(OutOfTolerance, match="other shapes"):
        compare(tmp_path, IDENTITY, wider)


def test_the_callers_rows_are_used_where_they_are_given(tmp_path: Path) -> None:
    file = rows(tmp_path / "c.npz", x=np.ones((30, 4), np.float32))
    assert {check.samples for check in compare(tmp_path, IDENTITY, IDENTITY, calibration=file)} == {30}


def test_a_source_that_takes_no_random_values_asks_for_examples(tmp_path: Path) -> None:
    picky = "g (float[batch, 4] x) => (float[batch, 4] y) { s = Constant<value_ints = [7, 4]>() y = Reshape(x, s) }"
    with pytest.raises(Refused, match="the converter itself and give inputs that it takes with --calibration"):
        compare(tmp_path, picky, IDENTITY)


def test_whole_numbers_and_masks_have_sane_values(tmp_path: Path) -> None:
    """Ids of a vocabulary of two, and rows that attend to something."""
    text = (
        "g (int64[batch, length] ids, int64[batch, length] attention_mask) => (float[batch, length] y) {"
        " t = Constant<value_floats = [1.0, 2.0]>() e = Gather(t, ids) m = Cast<to = 1>(attention_mask)"
        " one = Constant<value_float = 1.0>() y = Div(e, m) }"
    )
    found = compare(tmp_path, text, text)
    assert found[0].value == 0.0
    assert found[1].value == 1.0
