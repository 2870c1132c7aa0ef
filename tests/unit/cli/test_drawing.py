"""`tritonplane infer` with models that draw: files, progress, figures, and what it refuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.doubles.plane import Miniature
from tests.doubles.plane_images import DRAWN_SEED, output
from tests.unit.cli.conftest import Command


@pytest.fixture
def drawing(plane: Miniature) -> Miniature:
    plane.models |= {"digits": "loaded", "painter": "loaded"}
    plane.kinds |= {"digits": "diffusion", "painter": "hybrid"}
    return plane


def files(asked: dict[str, object]) -> list[bytes]:
    return [base64.b64decode(image) for image in output(asked)["images"]]


def test_images_are_written_into_a_folder_and_their_paths_printed(
    command: Command, drawing: Miniature, tmp_path: Path
) -> None:
    options = ("--steps", "3", "--images", "2", "--seed", "7", "--label", "4", "--guidance", "2.5")
    result = command("infer", "digits", *options, "-o", str(tmp_path))

    asked = {"num_steps": 3, "num_images": 2, "seed": 7, "label": "4", "guidance": 2.5}
    assert drawing.seen[-1].json == {"model_id": "digits", "input_data": asked, "stream": True}
    places = [Path(line) for line in result.stdout.splitlines()]
    assert places == [tmp_path / "digits-7-1.png", tmp_path / "digits-7-2.png"]
    assert [place.read_bytes() for place in places] == files(asked)
    assert result.stderr.startswith("2 images of 8 x 8, 3 steps in ")
    assert result.stderr.endswith("steps/s), seed 7\n")


def test_a_prompt_is_drawn_into_a_file_of_the_callers_name(
    command: Command, drawing: Miniature, tmp_path: Path
) -> None:
    result = command("infer", "painter", "a seven", "--output", str(tmp_path / "seven.png"), "-q", "--no-stream")
    assert (result.stdout, result.stderr) == (f"{tmp_path / 'seven.png'}\n", "")
    assert drawing.seen[-1].path == "/v1/inference"
    assert [(tmp_path / "seven.png").read_bytes()] == files({"text": "a seven"})
    command("infer", "painter", "-", "--images", "3", "-o", str(tmp_path / "many.png"), stdin="a two")
    assert sorted(place.name for place in tmp_path.glob("many*")) == ["many-1.png", "many-2.png", "many-3.png"]


def test_without_a_place_images_go_into_the_folder_one_is_in(
    command: Command, drawing: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawing.models["digits:2"], drawing.kinds["digits:2"] = "loaded", "diffusion"
    assert command("infer", "digits:2").stdout == f"digits-2-{DRAWN_SEED}-1.png\n"
    assert (tmp_path / f"digits-2-{DRAWN_SEED}-1.png").exists()


def test_json_is_the_servers_own_and_files_are_written_only_where_a_place_is_given(
    command: Command, drawing: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("infer", "painter", "a seven", "--json")
    assert json.loads(result.stdout) == drawing.said[-1]
    assert list(tmp_path.glob("*.png")) == []
    command("infer", "painter", "a seven", "--json", "-o", "seven.png")
    assert [place.name for place in tmp_path.glob("*.png")] == ["seven.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digits", "--temperature", "0"), "--temperature means nothing to it"),
        (("digits", "--stop", "x"), "--stop means nothing to it"),
        (("digits", "-o", "nowhere/at/all.png"), "there is no folder 'nowhere/at'"),
        (("digits", "-o", "nowhere"), "there is no folder 'nowhere'"),
        (("coder", "x", "--steps", "3"), "--steps means nothing to it"),
        (("coder", "x", "-o", "here.png"), "--output means nothing to it"),
        (("coder",), "coder needs a PROMPT"),
    ],
)
def test_what_a_model_has_no_use_for_is_wrong_usage_and_nothing_is_drawn(
    command: Command, drawing: Miniature, arguments: tuple[str, ...], said: str
) -> None:
    result = command("infer", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert [seen.method for seen in drawing.seen] == ["GET"]


def test_a_stream_that_ends_without_its_images_writes_nothing(
    command: Command, drawing: Miniature, tmp_path: Path
) -> None:
    result = command("infer", "digits", "--label", "cut", "-o", str(tmp_path / "cut.png"))
    assert result.exit_code == 1
    assert "the stream ended before" in result.stderr
    assert not (tmp_path / "cut.png").exists()
