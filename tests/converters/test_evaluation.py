"""How alike two models answer: by the formulas of contract 0.4, on texts and numbers of known likeness."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converters.checks.decoder import Decoder
from converters.checks.measures import mean_cosine
from converters.checks.tensors import open_graph
from converters.checks.text_encoder import GraphEncoder
from converters.contract import Evaluated, EvaluationRequest, Failed, Progressed, evaluate_command, from_line
from converters.evaluation.compare import evaluate
from converters.evaluation.language_models import next_tokens
from converters.evaluation.tensors import tensors
from converters.evaluation.text_encoders import texts
from converters.recipe import OutOfTolerance, Refused
from converters.recognition import recognize
from converters.samples.texts import Part, sentences
from converters.text_encoders.files import read_facts
from tests.converters.graphs import perceptron, rows, write_graph

ROOT = Path(__file__).parents[2]
EMBEDDER, CLASSIFIER = (
    ROOT / f"tests/fixtures/tiny_text_encoders/{task}/1" for task in ("embedding", "classification")
)
LABELS = json.loads((CLASSIFIER / "encoder.json").read_text())["labels"]


def evaluated(baseline: Path, candidate: Path, folder: Path, data: str | Path | None = None) -> Evaluated:
    folder.mkdir(exist_ok=True)
    events: list[Progressed] = []
    request = EvaluationRequest(str(baseline), str(candidate), None if data is None else str(data))
    found = evaluate(request, folder, events.append)
    assert [event.fraction for event in events] == sorted(event.fraction for event in events)
    return found


def disturbed(model: Path, folder: Path, noise: float, seed: int = 0) -> Path:
    """The same model with noise on its largest weights, relative to how far they spread."""
    shutil.copytree(model, folder)
    graph = onnx.load(folder / "model.onnx")
    random = np.random.default_rng(seed)
    for tensor in graph.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim == 2:
            noisy = array + random.standard_normal(array.shape, np.float32) * array.std() * noise
            tensor.CopyFrom(numpy_helper.from_array(noisy, tensor.name))
    onnx.save(graph, folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perceptron(tmp_path_factory.mktemp("mlp"))


@pytest.mark.parametrize("kind", ["language", "embedder", "classifier", "tensors"])
def test_a_model_is_like_itself(kind: str, language_graph: Path, mlp: Path, tmp_path: Path) -> None:
    model = {"language": language_graph, "embedder": EMBEDDER, "classifier": CLASSIFIER, "tensors": mlp}[kind]
    found = evaluated(model, model, tmp_path)
    metrics = {"embedder": "mean_cosine", "tensors": "tensor_agreement"}
    assert found.metric == metrics.get(kind, "top1_agreement")
    assert found.value == pytest.approx(1.0, abs=1e-9)
    assert found.samples >= 100


def test_a_language_model_is_judged_by_the_next_tokens_of_the_texts(language_graph: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    given = ["The first of some texts, long enough for more than one window of the model's context. " * 8, "Two."]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in given))
    candidate = disturbed(language_graph, tmp_path / "candidate", 0.03)

    found = evaluated(language_graph, candidate, tmp_path / "work", data)

    windows = next_tokens(recognize(language_graph, tmp_path), data).windows
    before, after = Decoder(language_graph), Decoder(candidate)
    assert max(window.size for window in windows) == before.context_length
    same, losses = [], []
    for window in windows:
        logits = [decoder.logits(window)[:-1].astype(np.float64) for decoder in (before, after)]
        same += list(logits[0].argmax(1) == logits[1].argmax(1))
        chances = [np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in logits]
        losses.append([-np.log(one[np.arange(window.size - 1), window[1:]]) for one in chances])
    ratio = np.exp(np.mean(np.concatenate([one[1] for one in losses]) - np.concatenate([one[0] for one in losses])))
    assert 0.05 < found.value < 0.95
    assert (found.value, found.samples) == (pytest.approx(np.mean(same)), len(same))
    assert found.extra == {"perplexity_ratio": pytest.approx(ratio, rel=1e-6)}
    assert found.data == "next tokens of data.jsonl"


def test_an_embedder_is_judged_by_its_mean_cosine(tmp_path: Path) -> None:
    candidate = disturbed(EMBEDDER, tmp_path / "candidate", 0.3)
    found = evaluated(EMBEDDER, candidate, tmp_path / "work")

    baseline = recognize(EMBEDDER, tmp_path)
    facts, asked = read_facts(EMBEDDER), texts(baseline, None).texts
    answers = [
        np.concatenate([GraphEncoder(model, baseline, facts)([text]) for text in asked])
        for model in (baseline, recognize(candidate, tmp_path))
    ]
    assert found.value == pytest.approx(mean_cosine(*answers), abs=1e-5)
    assert found.value < 0.999
    assert found.samples == len(asked) >= 100


def test_a_classifier_with_labels_is_judged_by_its_share_of_hits(tmp_path: Path) -> None:
    candidate = disturbed(CLASSIFIER, tmp_path / "candidate", 2.0)
    asked = texts(recognize(CLASSIFIER, tmp_path), None).texts[:60]
    before, after = (_classes(model, asked) for model in (CLASSIFIER, candidate))
    # Two thirds of the baseline's own answers are right by these labels, given by name and by number.
    labels = [(one + (number % 3 == 0)) % len(LABELS) for number, one in enumerate(before)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(
        json.dumps({"text": text, "label": LABELS[label] if number % 2 else int(label)}) + "\n"
        for number, (text, label) in enumerate(zip(asked, labels, strict=True))
    ))  # fmt: skip

    found = evaluated(CLASSIFIER, candidate, tmp_path / "work", data)

    shares = [float(np.mean(np.array(one) == labels)) for one in (before, after)]
    assert shares[0] == pytest.approx(2 / 3)
    assert found.metric == "accuracy_ratio"
    assert found.value == pytest.approx(min(1.0, shares[1] / shares[0]))
    assert found.extra["accuracy_baseline"] == shares[0]
    assert found.extra["accuracy_candidate"] == shares[1]
    assert found.extra["top1_agreement"] == pytest.approx(np.mean(np.array(before) == after))


def _classes(model: Path, asked: tuple[str, ...]) -> list[int]:
    artifact = recognize(model, model)
    answers = [GraphEncoder(artifact, artifact, read_facts(model))([text]) for text in asked]
    return [int(one.argmax()) for one in answers]


def test_tensors_are_judged_by_their_distance(mlp: Path, tmp_path: Path) -> None:
    candidate = disturbed(mlp, tmp_path / "candidate", 0.3)
    found = evaluated(mlp, candidate, tmp_path / "work")

    inputs = tensors(recognize(mlp, tmp_path), None).inputs
    before, after = (_outputs(model, inputs) for model in (mlp, candidate))
    distance = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert found.value == pytest.approx(1 - distance)
    assert 0.1 < found.value < 0.99
    assert found.extra["top1_agreement"] == pytest.approx(np.mean(before.argmax(1) == after.argmax(1)))
    assert found.samples == len(before) == 128


def test_rows_with_labels_are_judged_by_their_share_of_hits(mlp: Path, tmp_path: Path) -> None:
    candidate = disturbed(mlp, tmp_path / "candidate", 1.0)
    x = np.random.default_rng(3).standard_normal((40, 16), np.float32)
    before, after = (_outputs(model, [{"x": x}]).argmax(1) for model in (mlp, candidate))
    found = evaluated(mlp, candidate, tmp_path / "work", rows(tmp_path / "data.npz", x=x, label=before))
    assert (found.metric, found.samples, found.data) == ("accuracy_ratio", 40, "rows of data.npz")
    assert found.value == pytest.approx(np.mean(before == after))
    assert found.value < 1


def _outputs(model: Path, inputs: Any) -> Any:
    run = open_graph(model / "model.onnx")
    return np.concatenate([run(arrays)[0] for arrays in inputs]).astype(np.float64)


def test_a_graph_of_one_row_at_a_time_is_asked_a_hundred_times(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "g", "g (float[1, 4] x) => (float[1, 4] y) { y = Relu(x) }")
    assert evaluated(graph, graph, tmp_path / "work").samples == 100


def test_the_baseline_is_asked_once_for_all_candidates(
    mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    first = evaluated(mlp, disturbed(mlp, tmp_path / "one", 0.3, seed=1), work)
    (file,) = (work / "answers").iterdir()
    written = file.stat().st_mtime_ns
    second = evaluated(mlp, disturbed(mlp, tmp_path / "two", 0.3, seed=2), work)
    assert first.value != second.value
    assert file.stat().st_mtime_ns == written

    file.write_bytes(file.read_bytes()[:100])  # the power failed
    assert evaluated(mlp, tmp_path / "two", work) == second
    # Other inputs, and another baseline, are other questions.
    x = np.ones((4, 16), np.float32)
    evaluated(mlp, tmp_path / "two", work, rows(tmp_path / "data.npz", x=x))
    evaluated(tmp_path / "one", tmp_path / "two", work)
    assert len(list((work / "answers").iterdir())) == 3


def test_nothing_is_judged_on_what_it_may_be_tuned_on(language_graph: Path, tmp_path: Path) -> None:
    tuning = " ".join(sentences(Part.TUNING))
    for text in texts(recognize(EMBEDDER, tmp_path), None).texts:
        assert text not in tuning or len(text) < 80
    windows = next_tokens(recognize(language_graph, tmp_path), None).windows
    assert sum(window.size - 1 for window in windows) >= 4_000


@pytest.mark.parametrize(
    ("model", "name", "content", "said"),
    [
        ("language", "data.jsonl", '{"text": "a b c", "label": 1}', "data.jsonl has labels, and a language model"),
        ("language", "data.txt", "a\nb", "data.txt has no text of two tokens or more"),
        ("embedder", "data.jsonl", '{"text": "a", "label": 1}', "data.jsonl has labels, and an embedding model has"),
        ("classifier", "data.jsonl", '{"text": "a", "label": 99}', "line 1: the model has no label 99; it has 0 to"),
        ("classifier", "data.jsonl", '{"text": "a", "label": "odd"}', "line 1: the model has no label 'odd'"),
        ("tensors", "data.jsonl", '{"text": "a"}', "the inputs of a tensor model are given in an .npz file"),
        ("tensors", "data.npz", "PK", "data.npz must be an .npz of arrays"),
        ("tensors", "data.npz", {"y": np.zeros((2, 16))}, "data.npz has no array 'x'; it has: y"),
        ("tensors", "data.npz", {"x": np.zeros((0, 16))}, "must have equally many rows, at least one; they have"),
        ("tensors", "data.npz", {"x": np.zeros((2, 7))}, "the array 'x' of data.npz has the shape"),
        ("tensors", "data.npz", {"x": np.zeros((2, 16)), "label": np.zeros(3, int)}, "whole numbers, one for each"),
        ("tensors", "data.npz", {"x": np.zeros((2, 16)), "label": np.array([0, 4])}, "the model has no label 4"),
    ],
)
def test_data_that_does_not_fit_the_model_is_refused(
    model: str, name: str, content: Any, said: str, language_graph: Path, mlp: Path, tmp_path: Path
) -> None:
    data = tmp_path / name
    data.write_text(content) if isinstance(content, str) else rows(data, **content)
    folder = {"language": language_graph, "embedder": EMBEDDER, "classifier": CLASSIFIER, "tensors": mlp}[model]
    with pytest.raises(Refused) as refused:
        evaluated(folder, folder, tmp_path / "work", data)
    assert said in str(refused.value)


def test_labels_of_another_model_are_told(mlp: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(3).standard_normal((8, 16), np.float32)
    wrong = (_outputs(mlp, [{"x": x}]).argmax(1) + 1) % 4
    with pytest.raises(Refused, match="the labels are of another model"):
        evaluated(mlp, mlp, tmp_path / "work", rows(tmp_path / "data.npz", x=x, label=wrong))


def test_a_candidate_that_gives_no_numbers_is_no_candidate(mlp: Path, language_graph: Path, tmp_path: Path) -> None:
    for model in (mlp, language_graph, EMBEDDER):
        candidate = disturbed(model, tmp_path / f"{model.parent.name}-nan", np.nan)
        with pytest.raises(OutOfTolerance, match="not finite"):
            evaluated(model, candidate, tmp_path / "work")


def test_models_of_two_kinds_are_not_compared(mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the candidate is text_encoder and the baseline onnx"):
        evaluated(mlp, EMBEDDER, tmp_path)


def test_the_command_tells_its_progress_and_one_answer(mlp: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"baseline": str(mlp), "candidate": str(mlp)}))
    *progress, last = command(job)
    assert all(isinstance(event, Progressed) for event in progress)
    assert isinstance(last, Evaluated)
    assert (last.metric, last.value) == ("tensor_agreement", 1.0)
    job.write_text(json.dumps({"baseline": str(mlp), "candidate": str(mlp), "data": str(tmp_path / "gone.npz")}))
    assert command(job) == [Failed("there is no file gone.npz")]


def command(job: Path) -> list[object]:
    done = subprocess.run(
        evaluate_command(sys.executable, job),
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return [from_line(line) for line in done.stdout.splitlines()]
