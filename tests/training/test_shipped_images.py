"""The image packages in the repository are the ones their cards describe, and draw digits that can be read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from training.images.sample import DIFFUSION, ENCODER, TEXT_TO_IMAGE, UNET, Pipeline

LIMIT_BYTES = 8_000_000
PACKAGES = (UNET, ENCODER, DIFFUSION, TEXT_TO_IMAGE)


@pytest.fixture(scope="module")
def figures(models: Path) -> dict[str, dict[str, Any]]:
    return {name: json.loads((models / name / "figures.json").read_text(encoding="utf-8")) for name in PACKAGES}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_small_and_whole(models: Path, name: str) -> None:
    files = {path.name: path.stat().st_size for path in (models / name).rglob("*") if path.is_file()}
    assert {"config.pbtxt", "tritonplane.json", "README.md", "LICENSE.txt", "figures.json"} <= set(files)
    assert sum(files.values()) <= LIMIT_BYTES


@pytest.mark.parametrize("name", [UNET, ENCODER])
def test_the_figures_are_of_the_shipped_weights(models: Path, figures: dict[str, dict[str, Any]], name: str) -> None:
    graph = models / name / "1" / "model.onnx"
    described = json.loads((models / name / "tritonplane.json").read_text(encoding="utf-8"))
    assert hashlib.sha256(graph.read_bytes()).hexdigest() == figures[name]["sha256"]
    assert graph.stat().st_size == figures[name]["bytes"]
    assert described["parameters"] == figures[name]["parameters"]
    assert described["internal"] is True


def test_the_unet_takes_and_gives_what_its_config_says(models: Path) -> None:
    graph = onnxruntime.InferenceSession(str(models / UNET / "1" / "model.onnx"))
    assert [(one.name, one.type, one.shape[1:]) for one in graph.get_inputs()] == [
        ("sample", "tensor(float)", [1, 32, 32]),
        ("timestep", "tensor(int64)", []),
        ("condition", "tensor(float)", [64]),
    ]
    given = {"sample": np.zeros((3, 1, 32, 32), np.float32), "timestep": np.array([0, 500, 999])}
    (noise,) = graph.run(["noise"], given | {"condition": np.zeros((3, 64), np.float32)})
    assert (noise.shape, noise.dtype) == ((3, 1, 32, 32), np.float32)


@pytest.mark.parametrize("name", [DIFFUSION, TEXT_TO_IMAGE])
def test_nine_in_ten_drawings_were_recognised(figures: dict[str, dict[str, Any]], name: str) -> None:
    assert figures[name]["recognised"]["all"] >= 0.9
    assert figures[name]["recognised"]["images"] == 500


def test_the_cards_tell_the_figures(models: Path, figures: dict[str, dict[str, Any]]) -> None:
    for name, rows in rows_of(figures).items():
        card = (models / name / "README.md").read_text(encoding="utf-8")
        assert [row for row in rows if row not in card] == [], name


def rows_of(figures: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Of each card what it says of the figures, as it says it."""
    unet, encoder, diffusion, hybrid = (figures[name] for name in PACKAGES)
    loss, calls, read = unet["loss"], unet["call_ms"], encoder["read_right"]
    judged = diffusion["judge_accuracy"]
    others = [*diffusion["by_steps"].values(), *diffusion["by_guidance"].values()]
    return {
        UNET: [
            f"all noise levels | {loss['fonts_trained_on']:.4f} | {loss['fonts_held_out']:.4f} |",
            f"one thread of ONNX Runtime | {' | '.join(f'{ms:.1f}' for ms in calls.values())} |",
        ],
        ENCODER: [
            f"| the digit, where there is one | {percent(read['digit'])} |",
            f"| that there is none | {percent(read['no_digit'])} |",
            f"| the style | {percent(read['style'])} |",
        ],
        DIFFUSION: [
            recognised_row(diffusion),
            f"| recognised | {' | '.join(map(percent, others))} |",
            f"takes {percent(judged['fonts_trained_on'])} of new drawings",
            f"and {percent(judged['fonts_held_out'])} of those of four families",
        ],
        TEXT_TO_IMAGE: [recognised_row(hybrid), *(style_row(*one) for one in hybrid["styles"].items())],
    }


def recognised_row(figures: dict[str, Any]) -> str:
    shares = figures["recognised"]["by_digit"].values()
    return f"| {percent(figures['recognised']['all'])} | {' | '.join(f'{share * 100:.0f}' for share in shares)} |"


def style_row(style: str, found: dict[str, float]) -> str:
    told = "no word" if style == "none" else style
    return f"| {told} | {found['stroke_pixels']:.2f} | {found['lean']:.2f} | {percent(found['recognised'])} |"


def percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def test_prompts_become_the_conditions_of_their_digits(models: Path) -> None:
    labelled, hybrid = Pipeline(models, DIFFUSION), Pipeline(models, TEXT_TO_IMAGE)
    prompts = {
        "a seven": 7,
        "the digit zero": 0,
        "7": 7,
        "draw me the number three": 3,
        "NINE": 9,
        "teh number eigth": 8,
    }
    for prompt, digit in prompts.items():
        distances = np.linalg.norm(labelled.facts.conditions - hybrid.read(prompt), axis=1)
        assert distances.argmin() == digit, prompt
    null = labelled.facts.null_condition_row
    for prompt in ("a cat on a sofa", "", "42", "hello there"):
        distances = np.linalg.norm(labelled.facts.conditions - hybrid.read(prompt), axis=1)
        assert distances.argmin() == null, prompt
