"""The levels' files: what ships is whole, and what is not is told when it is read."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from control_plane.domain.models import LoadOptions
from control_plane.domain.optimization import Level
from converters import ladder
from converters.contract import from_line, to_line
from converters.ladder import NAMES, BrokenLevel, catalog, levels

STEP = '[[candidates.steps]]\nrecipe = "onnx_optimize"\n'


def level(name: str = "basic", *candidates: str, head: str = "") -> str:
    return f'name = "{name}"\nsummary = "tries something"\n{head}\n' + "\n".join(candidates)


def candidate(name: str = "one", takes: str = '["onnx"]', rest: str = STEP) -> str:
    return f'[[candidates]]\nname = "{name}"\ntakes = {takes}\n{rest}'


def write(folder: Path, *files: str) -> Path:
    for number, content in enumerate(files, start=1):
        (folder / f"{number:02d}_level.toml").write_text(content)
    return folder


def test_both_sides_know_the_same_levels_in_the_same_order() -> None:
    assert tuple(Level) == NAMES


def test_the_files_that_ship_are_read_and_go_through_a_line() -> None:
    found = catalog()
    assert found.levels == levels()
    assert [one.name for one in found.levels] == list(Level)
    assert from_line(to_line(found)) == found


def test_the_settings_of_candidates_are_fields_of_load_options() -> None:
    known = {field.name for field in fields(LoadOptions)}
    for one in (one for level in levels() for one in level.candidates):
        assert set(one.settings) <= known, one.name


def test_a_level_says_what_it_adds(tmp_path: Path) -> None:
    (one,) = levels(write(tmp_path, level("basic", candidate(), head="min_accuracy = 0.5\n[search.proof]\nrounds = 5")))

    assert (one.min_accuracy, one.candidates_max, one.search) == (0.5, None, {"proof": {"rounds": 5}})
    assert (one.candidates[0].graph, one.candidates[0].takes, one.candidates[0].reason) == ("baseline", ("onnx",), None)
    assert one.candidates[0].steps[0].recipe == "onnx_optimize"


def test_what_needs_a_gpu_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, level("basic", candidate(rest='[[candidates.steps]]\nrecipe = "onnx_to_tensorrt"\n')))

    monkeypatch.setattr(ladder, "has_gpu", lambda: False)
    assert str(levels(folder)[0].candidates[0].reason).startswith("requires_gpu")
    monkeypatch.setattr(ladder, "has_gpu", lambda: True)
    assert not str(levels(folder)[0].candidates[0].reason).startswith("requires_gpu")


def test_as_many_candidates_as_a_level_allows_may_fit_each_format(tmp_path: Path) -> None:
    two = (candidate("one"), candidate("two", '["text_encoder"]'))
    assert len(levels(write(tmp_path, level("basic", *two, head="candidates_max = 1")))[0].candidates) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (level("grand"), "the levels are grand; they must be of and in the order basic, advanced"),
        (level("basic", candidate(), candidate()), "2 candidates are named 'one'"),
        (level("basic", head="min_accuracy = 1.5"), "min_accuracy must be in 0..1, got 1.5"),
        (level("basic", head="flavour = 3"), "a level has no 'flavour'; it has: candidates"),
        (level("basic", head="[search.gold]"), "search has no 'gold'"),
        (level("basic", candidate("a"), candidate("b"), head="candidates_max = 1"), "2 candidates fit one format"),
        (level("basic", candidate(rest="")).replace('takes = ["onnx"]', ""), "a candidate needs a 'takes'"),
        (level("basic", candidate(takes='["tensorrt"]')), "takes must be of onnx, text_encoder, text_generation"),
        (level("basic", candidate(rest='graph = "worst"')), "graph must be one of baseline, source, best"),
        (level("basic", candidate(rest='[[candidates.steps]]\nrecipe = "magic"')), "no recipe named 'magic'"),
        (level("basic", candidate(rest=STEP + "parameters = { level = 9 }")), "level must be one of"),
        (
            level("basic", candidate(takes='["text_generation"]', rest=STEP.replace("optimize", "static_int8"))),
            "recipe onnx_static_int8 does not take what is there of a text_generation model",
        ),
        ("name = ", "levels/01_level.toml: "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenLevel) as broken:
        levels(write(tmp_path, content))
    assert said in str(broken.value)


def test_levels_out_of_order_are_told(tmp_path: Path) -> None:
    with pytest.raises(BrokenLevel, match="the levels are advanced, basic"):
        levels(write(tmp_path, level("advanced"), level("basic")))
