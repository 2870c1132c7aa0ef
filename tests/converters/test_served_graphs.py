"""A graph that is served already can be where a conversion begins, and is left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from converters.contract import Converted, Facts, StepRequest
from converters.formats import GRAPH, Artifact, Format
from converters.recipe import Refused
from converters.recognition import recognize
from tests.converters.conversions import checks, convert, model_file
from tests.converters.graphs import perceptron
from tests.converters.tiny_encoders import change

ROOT = Path(__file__).parents[2]
ENCODERS = ROOT / "tests/fixtures/tiny_text_encoders"


@pytest.fixture(scope="module", params=["language", "embedding", "classification", "tensors"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    match request.param:
        case "language":
            folder: Path = request.getfixturevalue("language_graph")
            return folder
        case "tensors":
            return perceptron(tmp_path_factory.mktemp("mlp"))
        case name:
            return ENCODERS / name / "1"


def test_what_it_is_is_told_from_the_files_beside_it(language_graph: Path, tmp_path: Path) -> None:
    language = recognize(language_graph, tmp_path)
    assert language.format is Format.TEXT_GENERATION
    assert (language.facts.kind, language.facts.context_length, language.facts.dtype) == ("transformer", 128, "float32")
    assert language.facts.parameters
    classifier = recognize(ENCODERS / "classification" / "1", tmp_path)
    assert classifier.format is Format.TEXT_ENCODER
    assert classifier.facts.tasks == ("classification",)
    assert recognize(perceptron(tmp_path / "mlp"), tmp_path) == Artifact(Format.ONNX, tmp_path / "mlp", Facts())


def test_it_is_optimized_and_compared_with_itself(served: Path, tmp_path: Path) -> None:
    before = digests(served)
    made = convert(served, tmp_path / "work", StepRequest("onnx_optimize", {"level": "extended"}))

    assert digests(served) == before
    assert {*before} == {path.name for path in model_file(made).parent.iterdir()}
    assert model_file(made).read_bytes() != (served / GRAPH).read_bytes()
    assert checks(made)["max_difference"] < 1e-3


def test_without_steps_it_is_copied_untouched_and_can_be_reproduced(served: Path, tmp_path: Path) -> None:
    before = digests(served)
    made = convert(served, tmp_path / "work", steps=())

    assert digests(served) == digests(Path(made.directory) / "1") == before
    assert {path.name for path in Path(made.directory).iterdir()} == {"1"}
    assert made.record["checks"] == []
    assert reproduce(made, served, tmp_path / "again").endswith("OK\n")


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("generation.json", {"vocab_size": "many"}, "generation.json of the language model: vocab_size must be"),
        ("generation.json", {"eos_token_ids": 3}, "generation.json of the language model cannot be read"),
        ("encoder.json", {"task": "poetry"}, "encoder.json of the text encoder: task must be"),
        ("encoder.json", {"max_tokens": None}, "encoder.json of the text encoder: max_tokens"),
    ],
)
def test_files_beside_it_that_say_nonsense_are_refused(
    name: str, fields: dict[str, object], said: str, language_graph: Path, tmp_path: Path
) -> None:
    source = language_graph if name == "generation.json" else ENCODERS / "classification" / "1"
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path / name, **fields)
    with pytest.raises(Refused, match=said):
        recognize(tmp_path, tmp_path)


def digests(folder: Path) -> dict[str, str]:
    return Artifact(Format.ONNX, folder, Facts()).digests()


def reproduce(made: Converted, source: Path, folder: Path) -> str:
    done = subprocess.run(
        ["sh", str(Path(made.directory).parent / "reproduce.sh"), str(source), str(folder)],
        env={**os.environ, "TRITONPLANE_CONVERTER_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
