"""The search for layers to keep: it finds the few that are to blame, in no more tries than it may take."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from converters.onnx_graphs.sensitivity import Cost, Found, Names, Search, groups

KINDS = ("query", "value", "output", "up", "down")


def blocks(count: int) -> Names:
    return tuple(f"/layers.{block}/{kind}/MatMul" for block in range(count) for kind in KINDS)


def search(layers: Names, damages: Mapping[str, float], target: float = 0.99, tries_max: int = 20) -> Found:
    """Every layer that is quantized costs a little, those of `damages` more."""

    def measure(kept: Names) -> Cost:
        damage = sum(damages.get(name, 1e-5) for name in layers if name not in kept)
        return Cost(1 - min(1.0, damage), damage)

    return Search(layers, measure, target, tries_max).run()


def test_nothing_is_kept_where_nothing_hurts() -> None:
    assert search(blocks(4), {}) == Found((), Cost(pytest.approx(0.9998), pytest.approx(20e-5)), 1)


def test_each_layer_of_a_small_graph_is_tried_and_the_bad_ones_are_kept() -> None:
    layers = tuple("abcdefgh")
    found = search(layers, {"c": 0.3, "f": 0.05})
    assert found.kept == ("c", "f")
    assert found.tries == 1 + len(layers) + 3


@pytest.mark.parametrize("count", [6, 12, 40])
def test_one_bad_layer_among_many_is_found_by_what_and_where_it_is(count: int) -> None:
    layers = blocks(count)
    bad = f"/layers.{count // 2}/down/MatMul"
    found = search(layers, {bad: 0.3})
    assert bad in found.kept
    assert found.cost is not None
    assert found.cost.accuracy >= 0.99
    assert found.tries <= 20
    # Where several blocks share a group, their layers of the same kind are as suspect.
    assert len(found.kept) <= -(-count // (20 - 1 - 8 - len(KINDS)))


def test_layers_whose_names_tell_nothing_are_parted_by_their_places() -> None:
    layers = tuple(f"MatMul_{number}" for number in range(36))
    found = search(layers, {"MatMul_17": 0.3})
    assert found.kept[0] == "MatMul_17"
    assert found.tries <= 20


def test_as_many_are_kept_as_it_takes() -> None:
    layers = tuple("abcdefgh")
    found = search(layers, {name: 0.02 for name in "bdfh"}, target=0.97)
    assert set(found.kept) < set("bdfh")
    assert len(found.kept) == 3


def test_a_target_that_cannot_be_reached_is_told() -> None:
    found = search(tuple("abcd"), dict.fromkeys("abcd", 0.5))
    assert (found.kept, found.cost) == ((), None)


@pytest.mark.parametrize("tries", [2, 5, 9, 12, 13])
@pytest.mark.parametrize("layers", [blocks(1), blocks(6), blocks(50), tuple(map(str, range(30)))])
def test_groups_hold_every_layer_and_are_no_more_than_allowed(layers: Names, tries: int) -> None:
    parted = groups(layers, tries)
    assert sum(map(len, parted)) <= max(tries, 2)
    for grouping in parted:
        assert sorted(name for group in grouping for name in group) == sorted(layers)
